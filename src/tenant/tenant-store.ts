/**
 * Where tenants and keys are kept that are made while Fairlane runs: the port, and what is in it. Implementations:
 * table-tenant-store.ts over SQLite and PostgreSQL, shared-tenant-store.ts over a hash that replicas share.
 *
 * Invariants: each change has one entry in the audit log, and the number of that entry is the version that the change made; a change
 * that was decided on another version than the store has is not carried out. So no change is lost, and none is without its entry.
 */

/** As it was made: settings are those of `tenants.NAME` without keys, as JSON has them. */
export interface StoredTenant {
  readonly name: string;
  readonly settings: Readonly<Record<string, unknown>>;
  readonly isDisabled: boolean;
  readonly createdMs: number;
  readonly changedMs: number;
  /** That its last change made. */
  readonly version: number;
}

/** A key without itself: nobody gets it back from its digest. Times are Unix times. */
export interface StoredKey {
  readonly id: string;
  readonly tenant: string;
  /** SHA-256 in hexadecimal digits. */
  readonly digest: string;
  readonly name?: string;
  readonly models?: readonly string[];
  readonly routes?: readonly string[];
  /** Those of `keys[].limits`, as JSON has them. */
  readonly limits?: Readonly<Record<string, unknown>>;
  /** Of one with limits that was made in place of another: the first of that line. What was used of them goes on. */
  readonly originId?: string;
  readonly createdMs: number;
  readonly expiresMs?: number;
  readonly revokedMs?: number;
  /** About when a request came with it last: told at most each minute. */
  readonly usedMs?: number;
}

export interface StoredState {
  /** Of the last change; 0: there was none. */
  readonly version: number;
  readonly tenants: ReadonlyMap<string, StoredTenant>;
  /** By id. */
  readonly keys: ReadonlyMap<string, StoredKey>;
}

export const NOTHING_STORED: StoredState = { version: 0, tenants: new Map(), keys: new Map() };

export const AUDIT_ACTIONS = [
  'tenant.create',
  'tenant.set',
  'tenant.disable',
  'tenant.enable',
  'key.create',
  'key.rotate',
  'key.revoke',
] as const;
export type AuditAction = (typeof AUDIT_ACTIONS)[number];

/** Who did what, and what there was before and after. A key is in none, nor its digest. */
export interface AuditEntry {
  /** The number of the change. */
  readonly version: number;
  readonly atMs: number;
  /** The name of the token. */
  readonly actor: string;
  readonly action: AuditAction;
  readonly tenant: string;
  readonly keyId?: string;
  readonly before?: unknown;
  readonly after?: unknown;
}

/** What is put in place of what there is, by name and id. */
export interface StoreChange {
  /** The version that it was decided on. */
  readonly base: number;
  readonly tenants: readonly StoredTenant[];
  readonly keys: readonly StoredKey[];
  /** Of keys, ids. */
  readonly removed: readonly string[];
  readonly audit: Omit<AuditEntry, 'version'>;
}

export interface AuditPage {
  /** Entries before this version; absent: the last ones. */
  readonly before?: number;
  readonly tenant?: string;
  readonly limit: number;
}

/** Each throws TenantStoreError. */
export interface TenantStore {
  /** For messages. */
  readonly shown: string;
  /** Asked four times a second: it costs little. */
  version(): Promise<number>;
  read(): Promise<StoredState>;
  /** One transaction with the audit log. `conflict`: somebody has changed something since; read again. */
  write(change: StoreChange): Promise<'ok' | 'conflict'>;
  /** When keys were used, by id. No change: it makes no version. */
  used(times: ReadonlyMap<string, number>): Promise<void>;
  /** Last ones first. */
  audit(page: AuditPage): Promise<readonly AuditEntry[]>;
  close(): Promise<void>;
}

/** `away`: it may come back by itself; `refused`: somebody has to do something. */
export class TenantStoreError extends Error {
  readonly kind: 'away' | 'refused';

  constructor(kind: TenantStoreError['kind'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }
}

/** A change that is stored, and that this replica could not take over: it goes on trying. */
export class NotInForceError extends Error {}

/** The state that a change makes. */
export function changedState(state: StoredState, change: StoreChange): StoredState {
  const tenants = new Map(state.tenants);
  for (const tenant of change.tenants) tenants.set(tenant.name, tenant);
  const keys = new Map(state.keys);
  for (const key of change.keys) keys.set(key.id, key);
  for (const id of change.removed) keys.delete(id);
  return { version: change.base + 1, tenants, keys };
}
