/** A tenant's key by its id. */
import type { TenantKey } from './tenant-key.ts';

/** So few are looked through, and need no table. */
const FEW = 8;

/** By list: it lasts as long as the configuration that the list is of, and is made for tenants that come. */
const tables = new WeakMap<readonly TenantKey[], ReadonlyMap<string, TenantKey>>();

/** Takes the same time whatever the number of keys. Undefined: the tenant has none of that id. */
export function findKey(keys: readonly TenantKey[], id: string): TenantKey | undefined {
  if (keys.length <= FEW) return keys.find((key) => key.id === id);
  let table = tables.get(keys);
  if (table === undefined) {
    table = new Map(keys.map((key) => [key.id, key]));
    tables.set(keys, table);
  }
  return table.get(id);
}

/** @param unixMs in milliseconds. */
export const isExpired = ({ expiresMs }: Pick<TenantKey, 'expiresMs'>, unixMs: number): boolean =>
  expiresMs !== undefined && unixMs >= expiresMs;

/** Whether less may be done with it than its tenant may do, or only until some day. */
export const isBounded = ({ expiresMs, models, routes }: TenantKey): boolean =>
  (expiresMs ?? models ?? routes) !== undefined;
