/** The limits of single models and keys, from a configuration that has been checked. */
import type { Limits } from './config.ts';
import type { WrittenConfig } from './schema/schema.ts';

type WrittenTier = WrittenConfig['tiers'][string];
type WrittenModels = WrittenTier['modelLimits'];
type Merge = (tier: WrittenTier, own: WrittenTier) => Limits;

/** What bounds nothing by itself. */
const BOUNDS_NOTHING: ReadonlySet<string> = new Set(['weight', 'maxOutputs', 'maxQueued', 'maxHeldBytes']);

const boundsAnything = (limits: Limits): boolean =>
  Object.keys(limits).some((key) => !BOUNDS_NOTHING.has(key));

/** As they are written. */
interface WrittenParts {
  readonly tier: WrittenModels;
  readonly own: WrittenModels;
  /** By the ids of keys. */
  readonly keys: readonly (readonly [id: string, limits: WrittenTier])[] | undefined;
}

/**
 * A tenant's limits with those of its models and keys: none where they bound nothing.
 *
 * @param merge of a tenant's own limits over its tier's.
 */
export function withParts(
  limits: Limits,
  { tier = {}, own = {}, keys = [] }: WrittenParts,
  merge: Merge,
): Limits {
  const names = new Set([...Object.keys(tier), ...Object.keys(own)]);
  const byModel = bounding([...names].map((name) => [name, merge(tier[name] ?? {}, own[name] ?? {})]));
  const byKey = bounding(keys.map(([id, written]) => [id, merge({}, written)]));
  return {
    ...limits,
    ...(byModel.size > 0 && { byModel }),
    ...(byKey.size > 0 && { byKey }),
  };
}

const bounding = (parts: readonly (readonly [string, Limits])[]): ReadonlyMap<string, Limits> =>
  new Map(parts.filter(([, limits]) => boundsAnything(limits)));
