/**
 * Keys that have another name now. The old name goes on working, with one warning a key. To rename a key: change it in
 * schema/, and add a line here; loading, problems, suggestions, the JSON schema and the reference go by this table.
 */
import type { Report } from './report.ts';
import { isMapping } from './written-data.ts';
import type { Path } from './yaml-source.ts';

export interface RenamedKey {
  /** The mapping that has the key; `*` stands for any name. */
  readonly within: readonly string[];
  readonly old: string;
  readonly now: string;
}

export const RENAMED_KEYS: readonly RenamedKey[] = [
  { within: ['pools', '*'], old: 'windowPerEndpoint', now: 'concurrencyLimit' },
  { within: ['pools', '*'], old: 'reserve', now: 'headroom' },
  { within: ['pools', '*'], old: 'engineHelp', now: 'engineCapabilities' },
  { within: ['models', '*'], old: 'shadow', now: 'mirror' },
  { within: ['rateLimit'], old: 'shadow', now: 'shadowMode' },
  { within: ['lanes', '*'], old: 'share', now: 'weight' },
];

/** Whether a key at `path` (of a mapping; names as `*`, or as they are) is within the mapping of a renamed one. */
const isWithin = ({ within }: RenamedKey, path: readonly PropertyKey[]): boolean =>
  within.length === path.length && within.every((step, i) => step === '*' || step === path[i]);

/** Old names of keys of the mapping at `path`, and what each is called now. */
export const renamedIn = (path: readonly PropertyKey[]): ReadonlyMap<string, string> =>
  new Map(RENAMED_KEYS.filter((key) => isWithin(key, path)).map(({ old, now }) => [old, now]));

/** Places where an old name was found, all of one key. */
interface Found {
  readonly key: RenamedKey;
  readonly paths: Path[];
}

export interface CurrentKeys {
  /** A copy with the names of now where there are old ones. */
  readonly value: unknown;
  /** A path as the user wrote it, from one in the names of now. */
  readonly asWritten: (path: Path) => Path;
  /** Says one warning for each old name, and a problem where both names are given. */
  readonly tell: (report: Pick<Report, 'problem' | 'warning'>, lineOf: (path: Path) => number) => void;
}

/** @param root what was written, as plain data. It is not changed. */
export function withCurrentKeys(root: unknown): CurrentKeys {
  const found: Found[] = [];
  const both: { readonly key: RenamedKey; readonly path: Path }[] = [];
  /** Written names, by paths in the names of now. */
  const written = new Map<string, string>();
  let value = root;
  for (const key of RENAMED_KEYS) {
    const paths: Path[] = [];
    value = renameWithin(value, key, [], (path, isTwice) => {
      if (isTwice) both.push({ key, path });
      else {
        paths.push([...path, key.old]);
        written.set(JSON.stringify([...path, key.now]), key.old);
      }
    });
    if (paths.length > 0) found.push({ key, paths });
  }
  return {
    value,
    asWritten: (path) =>
      written.size === 0
        ? path
        : path.map((step, i) => written.get(JSON.stringify(path.slice(0, i + 1))) ?? step),
    tell(report, lineOf) {
      for (const { key, path } of both) {
        const old = [...path, key.old];
        const lines = `lines ${lineOf(old)} and ${lineOf([...path, key.now])}`;
        const message = `is the old name of ${key.now}, which is given too (${lines}); remove one of them`;
        report.problem(old, message, 'key');
      }
      for (const { key, paths } of found) {
        const [first = [], ...others] = paths;
        report.warning(
          first,
          `is now called ${key.now}; rename it${elsewhere(first, others, lineOf)}`,
          'key',
        );
      }
    },
  };
}

/** More lines tell nothing more. */
const SHOWN_LINES = 5;

function elsewhere(first: Path, paths: readonly Path[], lineOf: (path: Path) => number): string {
  const others = new Set(paths.slice(0, SHOWN_LINES).map(lineOf));
  // A mapping that several keys share by an anchor is in one line.
  others.delete(lineOf(first));
  if (others.size === 0) return '';
  const lines = [...others].join(', ');
  const rest = paths.length > SHOWN_LINES ? ` and ${paths.length - SHOWN_LINES} more` : '';
  return `, also in line ${lines}${rest}`;
}

/** @param tell of each mapping that has the old name; `isTwice`: it has the new one too, which is kept. */
function renameWithin(
  value: unknown,
  key: RenamedKey,
  path: Path,
  tell: (path: Path, isTwice: boolean) => void,
): unknown {
  if (!isMapping(value)) return value;
  const step = key.within[path.length];
  if (step === undefined) {
    if (!Object.hasOwn(value, key.old)) return value;
    const isTwice = Object.hasOwn(value, key.now);
    tell(path, isTwice);
    const entries = Object.entries(value);
    return Object.fromEntries(
      isTwice
        ? entries.filter(([name]) => name !== key.old)
        : entries.map(([name, inner]) => [name === key.old ? key.now : name, inner]),
    );
  }
  const names = step === '*' ? Object.keys(value) : Object.hasOwn(value, step) ? [step] : [];
  let copy: Record<string, unknown> | undefined;
  for (const name of names) {
    const inner = value[name];
    const renamed = renameWithin(inner, key, [...path, name], tell);
    if (renamed === inner) continue;
    copy ??= Object.fromEntries(Object.entries(value));
    copy[name] = renamed;
  }
  return copy ?? value;
}
