/** Where tenants are kept that are made while the service runs, and their copy on this machine. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Config, RedisConfig } from '../config/config.ts';
import type { Database } from '../database/database.ts';
import { type DatabaseTarget, openDatabase } from '../database/open-database.ts';
import { messageOf } from '../domain/text-of.ts';
import { readOwnFile, replaceOwnFile, requireOwnFolder } from '../files/fs-own.ts';
import { createRedisTenants } from '../limit/redis-tenants.ts';
import { SharedTenantStore } from '../tenant/shared-tenant-store.ts';
import { stateFromJson, stateToJson } from '../tenant/stored-json.ts';
import {
  storeErrorOf,
  TableTenantStore,
  TENANT_FEATURE,
  TENANT_MIGRATIONS,
} from '../tenant/table-tenant-store.ts';
import { type TenantStore, TenantStoreError } from '../tenant/tenant-store.ts';
import { openRedis } from './redis-runtime.ts';
import type { RuntimeTenantsOptions, TenantCopy } from './runtime-tenants.ts';

const COPY_FILE = 'tenants.json';
const DATABASE_FILE = 'tenants.db';
const DIRECTORY_MODE = 0o700;
/** A hundred thousand keys take about thirty. */
const MAX_COPY_BYTES = 256 * 1024 ** 2;
/** A change may wait longer than a request. */
const REDIS_WAIT_MS = 2_000;
const REDIS_LOOK_MS = 10;
const DATABASE_WAIT_MS = 5_000;

/** @throws when the folder cannot be used: a start without it would lose what is made. */
export function tenantPlaceOf(config: Config, now: () => number): RuntimeTenantsOptions | undefined {
  const { admin, redis } = config;
  if (admin === undefined) return undefined;
  const { directory } = admin;
  requireFolder(directory, 'admin.directory');
  const place = storeOf(config, redis, directory, now);
  return { ...place, copy: copyIn(directory), unixMs: Date.now };
}

/** @throws when it cannot be used. */
function requireFolder(directory: string, setting: string): void {
  try {
    mkdirSync(directory, { recursive: true, mode: DIRECTORY_MODE });
    requireOwnFolder(directory);
  } catch (error) {
    const reason = messageOf(error);
    throw new Error(
      `${setting}: cannot use ${directory}: ${reason}; choose a folder that this user, and nobody else, may write to`,
      { cause: error },
    );
  }
}

function storeOf(
  config: Config,
  redis: RedisConfig | undefined,
  directory: string,
  now: () => number,
): Pick<RuntimeTenantsOptions, 'open' | 'shown'> {
  const { ledger } = config;
  if (ledger?.target.kind !== 'postgresql' && redis !== undefined) {
    return { shown: 'Redis', open: () => openShared(redis, now) };
  }
  if (ledger?.target.kind === 'sqlite') requireFolder(ledger.directory, 'ledger.directory');
  const target: DatabaseTarget = ledger?.target ?? { kind: 'sqlite', path: join(directory, DATABASE_FILE) };
  const database = openDatabase(target, { timeoutMs: DATABASE_WAIT_MS });
  return { shown: database.shown, open: () => openTables(database) };
}

async function openTables(database: Database): Promise<TenantStore> {
  try {
    await database.migrate(TENANT_FEATURE, TENANT_MIGRATIONS);
  } catch (error) {
    throw storeErrorOf(error);
  }
  return new TableTenantStore(database);
}

/** A connection of its own: what is asked here waits for no request, and no request for it. */
async function openShared(redis: RedisConfig, now: () => number): Promise<TenantStore> {
  const connection = openRedis(redis, now, () => undefined);
  const { scripts } = connection;
  const fields = createRedisTenants({
    scripts,
    isUp: (key) => connection.isUp(key),
    keyPrefix: redis.keyPrefix,
    maxWaitMs: REDIS_WAIT_MS,
  });
  const giveUpMs = now() + REDIS_WAIT_MS;
  while (!connection.status().connected) {
    if (now() >= giveUpMs) {
      await connection.close();
      throw new TenantStoreError('away', 'Redis does not answer');
    }
    await new Promise((resolve) => setTimeout(resolve, REDIS_LOOK_MS));
  }
  return new SharedTenantStore('Redis', fields, () => connection.close());
}

function copyIn(directory: string): TenantCopy {
  const path = join(directory, COPY_FILE);
  return {
    path,
    read() {
      try {
        return stateFromJson(readOwnFile(path, MAX_COPY_BYTES));
      } catch {
        // None yet, or one that somebody else may have written: the store has it all.
        return undefined;
      }
    },
    write: (state) => replaceOwnFile(path, stateToJson(state)),
  };
}
