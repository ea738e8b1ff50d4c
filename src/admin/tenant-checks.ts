/** What of a request's body the store's own checks do not see: names that are set back, and models that a key is bounded to. */
import type { KnownNames } from '../config/admin.ts';
import { didYouMean, quote } from '../config/report.ts';
import { runtimeSettings } from '../config/tenant-settings.ts';
import { at, isMapping, type Mapping } from '../config/written-data.ts';

/** A mapping's nulls as what is not set, which only an unknown name is refused for. */
const unset = (value: unknown): unknown => {
  if (value === null) return undefined;
  if (!isMapping(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, unset(inner)]));
};

/**
 * Names of settings that a patch sets back and that there are none of: a slip, which would change nothing and be told as done.
 *
 * @param before what is stored: a name that it has may always be set back.
 */
export function unknownUnset(patch: Mapping, before: unknown): string | undefined {
  const { error } = runtimeSettings.safeParse(unset(patch));
  for (const issue of error?.issues ?? []) {
    if (issue.code !== 'unrecognized_keys') continue;
    const path = issue.path.map(String);
    for (const key of issue.keys) {
      if (at(patch, ...path, key) !== null || at(before, ...path, key) !== undefined) continue;
      const there = at(before, ...path);
      const names = isMapping(there) ? Object.keys(there) : [];
      const text = quote([...path, key].join('.')).slice(1, -1);
      return `${text}: unknown setting, which cannot be set back${didYouMean(key, names)}`;
    }
  }
  return undefined;
}

/** While an engine may announce models, any name may be one of its. */
export function unknownModel(
  models: readonly string[],
  { usable, hasModels, discovering }: KnownNames,
): string | undefined {
  if (!hasModels || discovering) return undefined;
  const i = models.findIndex((model) => !usable.has(model));
  const model = models[i];
  if (model === undefined) return undefined;
  return `models.${i}: there is no model ${quote(model)}${didYouMean(model, [...usable])}`;
}
