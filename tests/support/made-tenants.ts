/** Made tenants in memory, as a service has them, and the admin API over them. */
import { type AdminAnswer, answerAdmin } from '../../src/admin/tenant-api.ts';
import type { Config } from '../../src/config/config.ts';
import { RuntimeTenants } from '../../src/service/runtime-tenants.ts';
import type { ServiceEvent } from '../../src/telemetry/telemetry.ts';
import {
  type AuditEntry,
  changedState,
  NOTHING_STORED,
  type StoredState,
  type TenantStore,
  TenantStoreError,
} from '../../src/tenant/tenant-store.ts';

export const TOKEN = 'token-that-may-write-0123456789abcdef';
export const READ_TOKEN = 'token-that-may-read-0123456789abcdef0';

export class MemoryTenantStore implements TenantStore {
  readonly shown = 'memory';
  state: StoredState = NOTHING_STORED;
  readonly entries: AuditEntry[] = [];
  isAway = false;

  readonly #here = (): void => {
    if (this.isAway) throw new TenantStoreError('away', 'no connection');
  };

  async version(): Promise<number> {
    this.#here();
    return this.state.version;
  }

  async read(): Promise<StoredState> {
    this.#here();
    return this.state;
  }

  async write(change: Parameters<TenantStore['write']>[0]): Promise<'ok' | 'conflict'> {
    this.#here();
    if (change.base !== this.state.version) return 'conflict';
    this.state = changedState(this.state, change);
    this.entries.unshift({ version: change.base + 1, ...change.audit });
    return 'ok';
  }

  async used(times: ReadonlyMap<string, number>): Promise<void> {
    this.#here();
    const keys = new Map(this.state.keys);
    for (const [id, usedMs] of times) {
      const key = keys.get(id);
      if (key !== undefined) keys.set(id, { ...key, usedMs });
    }
    this.state = { ...this.state, keys };
  }

  async audit({ before = Number.POSITIVE_INFINITY, tenant, limit }: Parameters<TenantStore['audit']>[0]) {
    this.#here();
    return this.entries
      .filter((entry) => entry.version < before && (tenant === undefined || entry.tenant === tenant))
      .slice(0, limit);
  }

  async close(): Promise<void> {}
}

export interface AdminCall {
  readonly method: string;
  readonly url: string;
  readonly body?: unknown;
  readonly token?: string | null;
  readonly headers?: Readonly<Record<string, string>>;
}

/** @param copy what a copy on the disk has. */
export async function madeWorld(files: Config, store = new MemoryTenantStore(), copy?: StoredState) {
  const clock = { ms: Date.UTC(2026, 10, 29, 12) };
  const events: ServiceEvent[] = [];
  const written: StoredState[] = [];
  const inUse = { config: files, retakes: 0 };
  const made = new RuntimeTenants({
    open: async () => {
      await store.version();
      return store;
    },
    shown: 'memory',
    copy: { path: '/state/tenants.json', read: () => copy, write: (state) => written.push(state) },
    unixMs: () => clock.ms,
  });
  await made.open();
  inUse.config = made.merge(files);
  made.follow({
    tell: (event) => events.push(event),
    async retake() {
      inUse.retakes += 1;
      inUse.config = made.merge(files);
    },
  });
  const call = ({ method, url, body, token = TOKEN, headers = {} }: AdminCall): Promise<AdminAnswer> =>
    answerAdmin(
      {
        method,
        url,
        headers: {
          host: '127.0.0.1:9465',
          ...(token !== null && { authorization: `Bearer ${token}` }),
          ...(body !== undefined && { 'content-type': 'application/json' }),
          ...headers,
        },
        body: async () => (body === undefined ? '' : typeof body === 'string' ? body : JSON.stringify(body)),
      },
      {
        made,
        admin: () => {
          const { admin } = inUse.config;
          if (admin === undefined) throw new Error('no admin section');
          return admin;
        },
        host: '127.0.0.1',
        unixMs: () => clock.ms,
      },
    );
  return { made, store, clock, events, written, inUse, call };
}
