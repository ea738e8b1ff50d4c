import { createHash } from 'node:crypto';
import type { TenantConfig } from '../config/config.ts';

const CHARACTERS = 32;
const salts = new Map<string, string>();

/** Whose prefix cache a tenant may use: its own, or its trust group's. */
export const cacheScopeOf = ({ name, trustGroup }: TenantConfig): string =>
  trustGroup === undefined ? `tenant ${name}` : `group ${trustGroup}`;

/**
 * The salt under which a tenant's, or its trust group's, prefixes are cached: hex, which every engine takes. The same
 * in every replica and after a restart, or caches would be lost. It is no secret: clients cannot set the field.
 */
export function cacheSaltOf(tenant: TenantConfig): string {
  const who = cacheScopeOf(tenant);
  let salt = salts.get(who);
  if (salt === undefined) {
    salt = createHash('sha256').update(`fairlane cache salt, ${who}`).digest('hex').slice(0, CHARACTERS);
    salts.set(who, salt);
  }
  return salt;
}
