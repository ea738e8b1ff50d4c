/** The limits of single models and keys, from a configuration that has been checked. */
import type { Limits } from './config.ts';
import type { WrittenConfig } from './schema/schema.ts';

type WrittenTier = WrittenConfig['tiers'][string];
type WrittenModels = WrittenTier['modelLimits'];
type Merge = (tier: WrittenTier, own: WrittenTier) => Limits;

/** What bounds a part of what a tenant does. */
const BOUNDS = [
  'requestsPerMinute',
  'tokensPerMinute',
  'tokensPerMonth',
  'budgetPerMonth',
  'maxContext',
] as const satisfies readonly (keyof Limits)[];

const boundsAnything = (limits: Limits): boolean => BOUNDS.some((key) => limits[key] !== undefined);

/** Of a key. */
export interface WrittenKeyLimits {
  readonly id: string;
  readonly limits: WrittenTier;
  /** What its buckets are called where that is not its id. */
  readonly bucketsOf?: string;
}

/** As they are written. */
interface WrittenParts {
  readonly tier: WrittenModels;
  readonly own: WrittenModels;
  readonly keys: readonly WrittenKeyLimits[] | undefined;
}

/**
 * A tenant's limits with those of its models and keys: none where they bound nothing.
 *
 * @param merge of a tenant's own limits over its tier's.
 */
export function withParts<T extends Partial<Limits>>(
  limits: T,
  { tier = {}, own = {}, keys = [] }: WrittenParts,
  merge: Merge,
): T & Pick<Limits, 'byKey' | 'byModel'> {
  const names = new Set([...Object.keys(tier), ...Object.keys(own)]);
  const byModel = bounding([...names].map((name) => [name, merge(tier[name] ?? {}, own[name] ?? {})]));
  const byKey = bounding(
    keys.map(({ id, limits: written, bucketsOf }) => {
      const ofKey = merge({}, written);
      return [id, bucketsOf === undefined ? ofKey : { ...ofKey, bucketsOf }];
    }),
  );
  return {
    ...limits,
    ...(byModel.size > 0 && { byModel }),
    ...(byKey.size > 0 && { byKey }),
  };
}

const bounding = (parts: readonly (readonly [string, Limits])[]): ReadonlyMap<string, Limits> =>
  new Map(parts.filter(([, limits]) => boundsAnything(limits)));
