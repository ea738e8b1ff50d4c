/** What is stored of tenants and keys, as JSON: of a store that replicas share, and of the copy on a disk. What is no such thing is refused. */
import * as z from 'zod';
import type { AuditEntry, StoredKey, StoredState, StoredTenant } from './tenant-store.ts';
import { AUDIT_ACTIONS } from './tenant-store.ts';

const time = z.int().min(0);

const tenant = z.object({
  name: z.string(),
  settings: z.record(z.string(), z.unknown()),
  isDisabled: z.boolean(),
  createdMs: time,
  changedMs: time,
  version: time,
});

const key = z.object({
  id: z.string(),
  tenant: z.string(),
  digest: z.string().regex(/^[0-9a-f]{64}$/),
  name: z.string().exactOptional(),
  models: z.array(z.string()).exactOptional(),
  routes: z.array(z.string()).exactOptional(),
  limits: z.record(z.string(), z.unknown()).exactOptional(),
  originId: z.string().exactOptional(),
  createdMs: time,
  expiresMs: time.exactOptional(),
  revokedMs: time.exactOptional(),
  usedMs: time.exactOptional(),
});

const entry = z.object({
  version: time,
  atMs: time,
  actor: z.string(),
  action: z.enum(AUDIT_ACTIONS),
  tenant: z.string(),
  keyId: z.string().exactOptional(),
  before: z.unknown().optional(),
  after: z.unknown().optional(),
});

const state = z.object({ version: time, tenants: z.array(tenant), keys: z.array(key) });

/** @throws when it is none. */
export const tenantFromJson = (text: string): StoredTenant => tenant.parse(JSON.parse(text));
/** @throws when it is none. */
export const keyFromJson = (text: string): StoredKey => key.parse(JSON.parse(text));
/** @throws when it is none. */
export const entryFromJson = (text: string): AuditEntry => entry.parse(JSON.parse(text));

export const stateToJson = ({ version, tenants, keys }: StoredState): string =>
  JSON.stringify({ version, tenants: [...tenants.values()], keys: [...keys.values()] });

/** @throws when it is none. */
export function stateFromJson(text: string): StoredState {
  const { version, tenants, keys } = state.parse(JSON.parse(text));
  return {
    version,
    tenants: new Map(tenants.map((one) => [one.name, one])),
    keys: new Map(keys.map((one) => [one.id, one])),
  };
}
