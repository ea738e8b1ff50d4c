/** Limits of a part of what a tenant does: what is asked with one key, or of one model. */
import type * as z from 'zod';
import { model, named, section } from './dsl.ts';

/** Of a tenant's limits, those that a part of it may have; the rest are of the queue, where a tenant is one. */
const PART_KEYS = [
  'requestsPerMinute',
  'requestBurst',
  'tokensPerMinute',
  'tokenBurst',
  'tokensPerMonth',
  'budgetPerMonth',
  'onBudgetSpent',
  'budgetAlerts',
  'raises',
  'maxContext',
] as const;

export type LimitShape = Readonly<Record<string, z.ZodType>>;
type PartKey<T> = Extract<keyof T, (typeof PART_KEYS)[number]>;

/** Most models with limits of their own: each may have a bucket of each kind. */
const MOST_MODELS = 256;

function partOf<T extends LimitShape>(limits: T): Pick<T, PartKey<T>> {
  const part = PART_KEYS.filter((key) => key in limits).map((key) => [key, limits[key]]);
  return Object.fromEntries(part) as Pick<T, PartKey<T>>;
}

/** @param limits the keys that a tenant's limits have. */
export const modelLimitsOf = <T extends LimitShape>(limits: T, description: string) =>
  named(
    model('A model or an adapter, by its own name.'),
    section(partOf(limits), 'Limits of what is asked of the model.'),
    [0, MOST_MODELS],
    'models',
    description,
  ).optional();

/** Of a key in `keys`. */
export const keyLimitsOf = <T extends LimitShape>(limits: T) =>
  section(
    partOf(limits),
    'Limits of what is asked with the key, within the tenant’s. Default: none.',
  ).optional();
