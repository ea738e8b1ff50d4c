/** Reading in data as it was written, of which nothing is known: every step may lead nowhere. */

export type Mapping = Readonly<Record<string, unknown>>;

export const isMapping = (value: unknown): value is Mapping =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

export function at(value: unknown, ...path: readonly string[]): unknown {
  let here = value;
  for (const step of path) here = isMapping(here) && Object.hasOwn(here, step) ? here[step] : undefined;
  return here;
}

/** The entries of the mapping at `path`; none if there is none. */
export const entriesAt = (
  value: unknown,
  ...path: readonly string[]
): readonly (readonly [string, unknown])[] => {
  const found = at(value, ...path);
  return isMapping(found) ? Object.entries(found) : [];
};

/** The strings of the list at `path`, each with its index. */
export const textsAt = (
  value: unknown,
  ...path: readonly string[]
): readonly (readonly [number, string])[] => {
  const found = at(value, ...path);
  if (!Array.isArray(found)) return [];
  return found.flatMap((item: unknown, i) => (typeof item === 'string' ? [[i, item] as const] : []));
};

/** Top-level keys that are the user's own, as compose files have them: a place for anchors. */
export const EXTENSION = /^x-/;

/** Without the sections that are nobody's setting. */
export const withoutExtensions = (root: unknown): unknown =>
  isMapping(root) ? Object.fromEntries(Object.entries(root).filter(([key]) => !EXTENSION.test(key))) : root;
