/** Tenants and keys in tables of a relational database. */
import { randomUUID } from 'node:crypto';
import {
  type Database,
  DatabaseError,
  type Migration,
  type SqlRow,
  type SqlValue,
  type Statement,
  type StatementResult,
} from '../database/database.ts';
import { messageOf } from '../domain/text-of.ts';
import {
  AUDIT_ACTIONS,
  type AuditEntry,
  type AuditPage,
  type StoreChange,
  type StoredKey,
  type StoredState,
  type StoredTenant,
  type TenantStore,
  TenantStoreError,
} from './tenant-store.ts';

const table = (name: string, columns: string) => ({
  sqlite: `CREATE TABLE ${name} (${columns}) STRICT`.replaceAll('BIGINT', 'INTEGER'),
  postgresql: `CREATE TABLE ${name} (${columns})`,
});

export const TENANT_FEATURE = 'tenants';

/** `change_id` tells whose an entry is: two who change the same version at once both want its number. */
export const TENANT_MIGRATIONS: readonly Migration[] = [
  {
    number: 1,
    statements: [
      table(
        'tenant',
        'name TEXT NOT NULL PRIMARY KEY, settings TEXT NOT NULL, disabled BIGINT NOT NULL, created_ms BIGINT NOT NULL, changed_ms BIGINT NOT NULL, version BIGINT NOT NULL',
      ),
      table(
        'tenant_key',
        'id TEXT NOT NULL PRIMARY KEY, tenant TEXT NOT NULL, digest TEXT NOT NULL UNIQUE, name TEXT, models TEXT, routes TEXT, created_ms BIGINT NOT NULL, expires_ms BIGINT, revoked_ms BIGINT, used_ms BIGINT',
      ),
      table(
        'tenant_audit',
        'version BIGINT NOT NULL PRIMARY KEY, change_id TEXT NOT NULL, at_ms BIGINT NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL, tenant TEXT NOT NULL, key_id TEXT, before_json TEXT, after_json TEXT',
      ),
    ],
  },
  {
    number: 2,
    statements: ['limits', 'origin_id'].map((column) => {
      const added = `ALTER TABLE tenant_key ADD COLUMN ${column} TEXT`;
      return { sqlite: added, postgresql: added };
    }),
  },
];

/** Statements that change something do so only where the entry of this change is there. */
const IF_OURS = 'WHERE EXISTS (SELECT 1 FROM tenant_audit WHERE version = ? AND change_id = ?)';

/** PostgreSQL has to be told what a value is that is selected and not inserted. */
const selected = (
  columns: readonly (readonly [name: string, type: 'TEXT' | 'BIGINT'])[],
  condition = IF_OURS,
): string =>
  `(${columns.map(([name]) => name).join(', ')}) SELECT ${columns.map(([, type]) => `CAST(? AS ${type})`).join(', ')} ${condition}`;

const TENANT_COLUMNS = [
  ['name', 'TEXT'],
  ['settings', 'TEXT'],
  ['disabled', 'BIGINT'],
  ['created_ms', 'BIGINT'],
  ['changed_ms', 'BIGINT'],
  ['version', 'BIGINT'],
] as const;
const KEY_COLUMNS = [
  ['id', 'TEXT'],
  ['tenant', 'TEXT'],
  ['digest', 'TEXT'],
  ['name', 'TEXT'],
  ['models', 'TEXT'],
  ['routes', 'TEXT'],
  ['created_ms', 'BIGINT'],
  ['expires_ms', 'BIGINT'],
  ['revoked_ms', 'BIGINT'],
  ['limits', 'TEXT'],
  ['origin_id', 'TEXT'],
] as const;

const overwritten = (columns: readonly (readonly [name: string, type: string])[]): string =>
  columns
    .slice(1)
    .map(([name]) => `${name} = excluded.${name}`)
    .join(', ');

const PUT_TENANT = `INSERT INTO tenant ${selected(TENANT_COLUMNS)} ON CONFLICT (name) DO UPDATE SET ${overwritten(TENANT_COLUMNS)}`;
const PUT_KEY = `INSERT INTO tenant_key ${selected(KEY_COLUMNS)} ON CONFLICT (id) DO UPDATE SET ${overwritten(KEY_COLUMNS)}`;
const REMOVE_KEY = `DELETE FROM tenant_key ${IF_OURS} AND id = ?`;
const ENTRY_COLUMNS = [
  ['version', 'BIGINT'],
  ['change_id', 'TEXT'],
  ['at_ms', 'BIGINT'],
  ['actor', 'TEXT'],
  ['action', 'TEXT'],
  ['tenant', 'TEXT'],
  ['key_id', 'TEXT'],
  ['before_json', 'TEXT'],
  ['after_json', 'TEXT'],
] as const;
/** Of two that see the same version at once one waits for the other, and then does nothing. */
const ADD_ENTRY = `INSERT INTO tenant_audit ${selected(ENTRY_COLUMNS, 'WHERE (SELECT COALESCE(MAX(version), 0) FROM tenant_audit) = ?')} ON CONFLICT (version) DO NOTHING`;
const VERSION = 'SELECT COALESCE(MAX(version), 0) AS version FROM tenant_audit';
const OWN_ENTRY = 'SELECT change_id FROM tenant_audit WHERE version = ?';
const USED = 'UPDATE tenant_key SET used_ms = ? WHERE id = ? AND (used_ms IS NULL OR used_ms < ?)';
const ENTRY = 'version, at_ms, actor, action, tenant, key_id, before_json, after_json';

/** Its tables have been brought to their last step. */
export class TableTenantStore implements TenantStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  get shown(): string {
    return this.#database.shown;
  }

  async version(): Promise<number> {
    const [result] = await this.#batch([{ sql: VERSION }]);
    return numberOf(result?.rows[0]?.['version']);
  }

  async read(): Promise<StoredState> {
    const [version, tenants, keys] = await this.#batch([
      { sql: VERSION },
      { sql: 'SELECT * FROM tenant ORDER BY name' },
      { sql: 'SELECT * FROM tenant_key ORDER BY created_ms, id' },
    ]);
    return {
      version: numberOf(version?.rows[0]?.['version']),
      tenants: new Map((tenants?.rows ?? []).map(tenantOf).map((one) => [one.name, one])),
      keys: new Map((keys?.rows ?? []).map(keyOf).map((one) => [one.id, one])),
    };
  }

  async write(change: StoreChange): Promise<'ok' | 'conflict'> {
    const version = change.base + 1;
    const changeId = randomUUID();
    const ours = [version, changeId];
    const { atMs, actor, action, tenant, keyId, before, after } = change.audit;
    const statements: readonly Statement[] = [
      {
        sql: ADD_ENTRY,
        values: [
          ...ours,
          atMs,
          actor,
          action,
          tenant,
          keyId ?? null,
          jsonOf(before),
          jsonOf(after),
          change.base,
        ],
      },
      ...change.tenants.map((one) => ({ sql: PUT_TENANT, values: [...tenantValues(one), ...ours] })),
      ...change.keys.map((one) => ({ sql: PUT_KEY, values: [...keyValues(one), ...ours] })),
      ...change.removed.map((id) => ({ sql: REMOVE_KEY, values: [...ours, id] })),
    ];
    try {
      const [entry] = await this.#batch(statements);
      return entry?.changed === 1 ? 'ok' : 'conflict';
    } catch (error) {
      // It may have been carried out all the same: the answer got lost.
      const [entry] = await this.#batch([{ sql: OWN_ENTRY, values: [version] }]).catch(() => []);
      if (entry?.rows[0]?.['change_id'] === changeId) return 'ok';
      throw error;
    }
  }

  async used(times: ReadonlyMap<string, number>): Promise<void> {
    if (times.size === 0) return;
    await this.#batch([...times].map(([id, ms]) => ({ sql: USED, values: [ms, id, ms] })));
  }

  async audit({ before, tenant, limit }: AuditPage): Promise<readonly AuditEntry[]> {
    const conditions: string[] = [];
    const values: SqlValue[] = [];
    if (before !== undefined) {
      conditions.push('version < ?');
      values.push(before);
    }
    if (tenant !== undefined) {
      conditions.push('tenant = ?');
      values.push(tenant);
    }
    const where = conditions.length === 0 ? '' : `WHERE ${conditions.join(' AND ')}`;
    const sql = `SELECT ${ENTRY} FROM tenant_audit ${where} ORDER BY version DESC LIMIT ?`;
    const [result] = await this.#batch([{ sql, values: [...values, limit] }]);
    return (result?.rows ?? []).map(entryOf);
  }

  close(): Promise<void> {
    return this.#database.close();
  }

  async #batch(statements: readonly Statement[]): Promise<readonly StatementResult[]> {
    try {
      return await this.#database.batch(statements);
    } catch (error) {
      throw storeErrorOf(error);
    }
  }
}

/** @returns what a feature that uses a database says of it. */
export function storeErrorOf(error: unknown): TenantStoreError {
  const message = messageOf(error);
  const kind = error instanceof DatabaseError ? error.kind : 'away';
  return new TenantStoreError(kind, message, { cause: error });
}

type Cell = SqlRow[string] | undefined;

const numberOf = (cell: Cell): number => Number(cell ?? 0);
const textOf = (cell: Cell): string => String(cell ?? '');
const jsonOf = (value: unknown): string | null => (value === undefined ? null : JSON.stringify(value));
const parsed = (cell: Cell): unknown => JSON.parse(textOf(cell)) as unknown;
const isThere = (cell: Cell): boolean => cell !== null && cell !== undefined;

const tenantValues = (one: StoredTenant): readonly SqlValue[] => [
  one.name,
  JSON.stringify(one.settings),
  one.isDisabled ? 1 : 0,
  one.createdMs,
  one.changedMs,
  one.version,
];

const tenantOf = (row: SqlRow): StoredTenant => ({
  name: textOf(row['name']),
  settings: parsed(row['settings']) as StoredTenant['settings'],
  isDisabled: numberOf(row['disabled']) !== 0,
  createdMs: numberOf(row['created_ms']),
  changedMs: numberOf(row['changed_ms']),
  version: numberOf(row['version']),
});

const keyValues = (one: StoredKey): readonly SqlValue[] => [
  one.id,
  one.tenant,
  one.digest,
  one.name ?? null,
  jsonOf(one.models),
  jsonOf(one.routes),
  one.createdMs,
  one.expiresMs ?? null,
  one.revokedMs ?? null,
  jsonOf(one.limits),
  one.originId ?? null,
];

const keyOf = (row: SqlRow): StoredKey => ({
  id: textOf(row['id']),
  tenant: textOf(row['tenant']),
  digest: textOf(row['digest']),
  ...(isThere(row['name']) && { name: textOf(row['name']) }),
  ...(isThere(row['models']) && { models: parsed(row['models']) as readonly string[] }),
  ...(isThere(row['routes']) && { routes: parsed(row['routes']) as readonly string[] }),
  ...(isThere(row['limits']) && { limits: parsed(row['limits']) as NonNullable<StoredKey['limits']> }),
  ...(isThere(row['origin_id']) && { originId: textOf(row['origin_id']) }),
  createdMs: numberOf(row['created_ms']),
  ...(isThere(row['expires_ms']) && { expiresMs: numberOf(row['expires_ms']) }),
  ...(isThere(row['revoked_ms']) && { revokedMs: numberOf(row['revoked_ms']) }),
  ...(isThere(row['used_ms']) && { usedMs: numberOf(row['used_ms']) }),
});

function entryOf(row: SqlRow): AuditEntry {
  const action = AUDIT_ACTIONS.find((known) => known === row['action']);
  if (action === undefined) throw new TenantStoreError('refused', `an entry of the audit log is of no kind`);
  return {
    version: numberOf(row['version']),
    atMs: numberOf(row['at_ms']),
    actor: textOf(row['actor']),
    action,
    tenant: textOf(row['tenant']),
    ...(isThere(row['key_id']) && { keyId: textOf(row['key_id']) }),
    ...(isThere(row['before_json']) && { before: parsed(row['before_json']) }),
    ...(isThere(row['after_json']) && { after: parsed(row['after_json']) }),
  };
}
