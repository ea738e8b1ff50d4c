/** What every store of made tenants does, and what several replicas on one do together. */
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { openDatabase } from '../../src/database/open-database.ts';
import { createRedisLeaseStore } from '../../src/limit/redis-lease-store.ts';
import { createRedisTenants } from '../../src/limit/redis-tenants.ts';
import { makeKey } from '../../src/tenant/made-key.ts';
import { SharedTenantStore } from '../../src/tenant/shared-tenant-store.ts';
import { TableTenantStore, TENANT_FEATURE, TENANT_MIGRATIONS } from '../../src/tenant/table-tenant-store.ts';
import {
  changedState,
  NOTHING_STORED,
  type StoreChange,
  type StoredKey,
  type StoredTenant,
  type TenantStore,
  TenantStoreError,
} from '../../src/tenant/tenant-store.ts';
import { eventually } from '../support/eventually.ts';
import { startPostgresql, type TestPostgresql } from '../support/postgresql.ts';
import { anyRedis, startRedis, type TestRedis } from '../support/redis.ts';

let redis: Pick<TestRedis, 'url' | 'client' | 'close'>;
let postgresql: TestPostgresql;
const folder = mkdtempSync(join(tmpdir(), 'fairlane-tenants-'));
const open: TenantStore[] = [];

beforeAll(async () => {
  [redis, postgresql] = await Promise.all([anyRedis(), startPostgresql()]);
}, 120_000);
afterEach(async () => {
  await Promise.all(open.splice(0).map((store) => store.close()));
});
afterAll(async () => {
  await Promise.all([redis.close(), postgresql.close()]);
  rmSync(folder, { recursive: true, force: true });
});

async function tables(target: Parameters<typeof openDatabase>[0]): Promise<TenantStore> {
  const database = openDatabase(target);
  await database.migrate(TENANT_FEATURE, TENANT_MIGRATIONS);
  const store = new TableTenantStore(database);
  open.push(store);
  return store;
}

async function hash(keyPrefix: string, url = redis.url, maxWaitMs = 5_000): Promise<TenantStore> {
  const connection = createRedisLeaseStore({ redis: url, keyPrefix, waitMs: 5_000 });
  await eventually(() => connection.status().connected, Boolean);
  const fields = createRedisTenants({
    scripts: connection.scripts,
    isUp: (key) => connection.isUp(key),
    keyPrefix,
    maxWaitMs,
  });
  const store = new SharedTenantStore('Redis', fields, () => connection.close());
  open.push(store);
  return store;
}

/** Of a place that is empty: each call opens it for another replica. */
const PLACES: readonly (readonly [string, () => Promise<() => Promise<TenantStore>>])[] = [
  [
    'SQLite',
    async () => {
      const path = join(folder, `${randomUUID()}.db`);
      return () => tables({ kind: 'sqlite', path });
    },
  ],
  [
    'PostgreSQL',
    async () => {
      const url = await postgresql.createDatabase(`t${randomUUID().replaceAll('-', '')}`);
      return () => tables({ kind: 'postgresql', url });
    },
  ],
  [
    'Redis',
    async () => {
      const prefix = `${randomUUID()}:`;
      return () => hash(prefix);
    },
  ],
];

const tenant = (name: string, version: number, more: Partial<StoredTenant> = {}): StoredTenant => ({
  name,
  settings: { tier: 'gold', models: ['a', 'größer/模型'], limits: { requestsPerMinute: 60 } },
  isDisabled: false,
  createdMs: 1_790_000_000_000,
  changedMs: 1_790_000_000_000,
  version,
  ...more,
});

const key = (owner: string, more: Partial<StoredKey> = {}): StoredKey => {
  const { id, digest } = makeKey();
  return { id, digest, tenant: owner, createdMs: 1_790_000_000_000, ...more };
};

const change = (base: number, more: Partial<StoreChange> = {}): StoreChange => ({
  base,
  tenants: [],
  keys: [],
  removed: [],
  audit: { atMs: 1_790_000_000_000 + base, actor: 'admin', action: 'tenant.set', tenant: 'acme' },
  ...more,
});

describe.each(PLACES)('%s keeps made tenants', (_, place) => {
  it('as they were, with all or only what they must have', async () => {
    const store = await (await place())();
    expect([await store.version(), await store.read()]).toEqual([0, NOTHING_STORED]);
    const full = key('acme', {
      name: 'CI; DROP TABLE tenant --',
      models: ['a'],
      routes: ['embeddings'],
      expiresMs: 1_800_000_000_000,
      revokedMs: 1_799_000_000_000,
    });
    const first = change(0, {
      tenants: [tenant('acme', 1)],
      keys: [full, key('acme', { createdMs: 1_790_000_000_001 })],
    });
    expect(await store.write(first)).toBe('ok');
    expect(await store.read()).toEqual(changedState(NOTHING_STORED, first));
    const second = change(1, {
      tenants: [tenant('acme', 2, { isDisabled: true, settings: {} }), tenant('b', 2)],
      removed: [full.id],
    });
    expect(await store.write(second)).toBe('ok');
    expect(await store.read()).toEqual(changedState(changedState(NOTHING_STORED, first), second));
    expect(await store.version()).toBe(2);
  });

  it('and carries out no change that was decided on another version, whichever replica it is of', async () => {
    const at = await place();
    const [one, other] = await Promise.all([at(), at()]);
    expect(await one.write(change(0, { tenants: [tenant('acme', 1)] }))).toBe('ok');
    const late = change(0, { tenants: [tenant('late', 1)], keys: [key('late')] });
    expect(await other.write(late)).toBe('conflict');
    expect(await other.write({ ...late, base: 7 })).toBe('conflict');
    const { version, tenants, keys } = await other.read();
    expect([version, [...tenants.keys()], keys.size]).toEqual([1, ['acme'], 0]);
    expect(await one.audit({ limit: 10 })).toHaveLength(1);
  });

  it('none of many that are made at once is lost or done twice', async () => {
    const at = await place();
    const stores = await Promise.all([at(), at(), at()]);
    const put = async (store: TenantStore, name: string): Promise<void> => {
      for (;;) {
        const base = await store.version();
        const wish = change(base, {
          tenants: [tenant(name, base + 1)],
          audit: { atMs: 1, actor: 'admin', action: 'tenant.create', tenant: name },
        });
        if ((await store.write(wish)) === 'ok') return;
      }
    };
    const names = Array.from({ length: 24 }, (_unused, i) => `t${i}`);
    await Promise.all(names.map((name, i) => put(stores[i % 3] as TenantStore, name)));
    const store = stores[0];
    const { version, tenants } = await store.read();
    expect([version, tenants.size]).toEqual([24, 24]);
    const audit = await store.audit({ limit: 100 });
    expect(audit.map((entry) => entry.version)).toEqual(Array.from({ length: 24 }, (_unused, i) => 24 - i));
    expect(new Set(audit.map((entry) => entry.tenant)).size).toBe(24);
  });

  it('the audit log by pages, and of one tenant', async () => {
    const store = await (await place())();
    for (let base = 0; base < 7; base += 1) {
      const owner = base % 2 === 0 ? 'acme' : 'b';
      const audit = {
        atMs: base,
        actor: 'admin',
        action: 'key.create',
        tenant: owner,
        keyId: `key_${base}`,
        before: null,
        after: { name: `é"'${base}` },
      } as const;
      expect(await store.write(change(base, { audit }))).toBe('ok');
    }
    const versions = async (page: Parameters<TenantStore['audit']>[0]): Promise<readonly number[]> =>
      (await store.audit(page)).map(({ version }) => version);
    expect(await versions({ limit: 3 })).toEqual([7, 6, 5]);
    expect(await versions({ limit: 3, before: 5 })).toEqual([4, 3, 2]);
    expect(await versions({ limit: 3, before: 1 })).toEqual([]);
    expect(await versions({ limit: 9, tenant: 'b' })).toEqual([6, 4, 2]);
    expect(await versions({ limit: 9, tenant: "b' OR 1=1 --" })).toEqual([]);
    expect((await store.audit({ limit: 1 }))[0]).toEqual({
      version: 7,
      atMs: 6,
      actor: 'admin',
      action: 'key.create',
      tenant: 'acme',
      keyId: 'key_6',
      before: null,
      after: { name: 'é"\'6' },
    });
  });

  it('when keys were used, which makes no version', async () => {
    const store = await (await place())();
    const [a, b] = [key('acme'), key('acme')];
    await store.write(change(0, { keys: [a, b] }));
    await store.used(
      new Map([
        [a.id, 1_795_000_000_000],
        ['key_unknown', 5],
      ]),
    );
    await store.used(new Map());
    const { version, keys } = await store.read();
    expect([version, keys.get(a.id)?.usedMs, keys.get(b.id)?.usedMs]).toEqual([
      1,
      1_795_000_000_000,
      undefined,
    ]);
    // A change of the key leaves it.
    await store.write(change(1, { keys: [{ ...a, revokedMs: 1_796_000_000_000 }] }));
    expect((await store.read()).keys.get(a.id)).toMatchObject({
      usedMs: 1_795_000_000_000,
      revokedMs: 1_796_000_000_000,
    });
  });

  it('a thousand keys over a hundred tenants, read within a second', async () => {
    const store = await (await place())();
    const names = Array.from({ length: 100 }, (_unused, i) => `t${i}`);
    const keys = names.flatMap((name) => Array.from({ length: 10 }, () => key(name)));
    await store.write(change(0, { tenants: names.map((name) => tenant(name, 1)), keys }));
    const began = performance.now();
    const state = await store.read();
    expect(performance.now() - began).toBeLessThan(1_000);
    expect([state.tenants.size, state.keys.size]).toEqual([100, 1_000]);
  });
});

describe('a store that is away', () => {
  it('says so: PostgreSQL, and is there again', async () => {
    const server = await startPostgresql();
    try {
      const store = await tables({ kind: 'postgresql', url: server.url });
      await store.write(change(0, { tenants: [tenant('acme', 1)] }));
      await server.kill();
      await expect(store.version()).rejects.toThrow(TenantStoreError);
      await server.restart();
      const version = await eventually(
        () => store.version().catch(() => 0),
        (found) => found === 1,
        20_000,
      );
      expect(version).toBe(1);
    } finally {
      await server.close();
    }
  }, 60_000);

  it('says so: Redis, within the time that it may take', async () => {
    const server = await startRedis([]);
    try {
      const store = await hash('p:', server.url, 300);
      await store.write(change(0, { tenants: [tenant('acme', 1)] }));
      await server.kill();
      const began = performance.now();
      await expect(store.read()).rejects.toThrow(TenantStoreError);
      expect(performance.now() - began).toBeLessThan(2_000);
    } finally {
      await server.close();
    }
  }, 30_000);
});
