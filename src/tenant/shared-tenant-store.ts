/** Tenants and keys in a hash that replicas share: a field for each, and one for when a key was used. */
import { randomUUID } from 'node:crypto';
import { messageOf } from '../domain/text-of.ts';
import type { SharedHash } from '../limit/shared-hash.ts';
import { entryFromJson, keyFromJson, tenantFromJson } from './stored-json.ts';
import {
  type AuditEntry,
  type AuditPage,
  type StoreChange,
  type StoredKey,
  type StoredState,
  type StoredTenant,
  type TenantStore,
  TenantStoreError,
} from './tenant-store.ts';

/** First letters of fields. */
const TENANT = 't:';
const KEY = 'k:';
const USED = 'u:';
/** Entries that are read at once, and at most, to find those of one tenant. */
const LOOK = 500;
const MOST_LOOKS = 40;

export class SharedTenantStore implements TenantStore {
  readonly shown: string;
  readonly #fields: SharedHash;
  readonly #close: () => Promise<void>;

  /** @param close of the connection. */
  constructor(shown: string, fields: SharedHash, close: () => Promise<void>) {
    this.shown = shown;
    this.#fields = fields;
    this.#close = close;
  }

  version(): Promise<number> {
    return answered(this.#fields.version());
  }

  async read(): Promise<StoredState> {
    const { version, fields } = await answered(this.#fields.read());
    const tenants = new Map<string, StoredTenant>();
    const keys: StoredKey[] = [];
    try {
      for (const [field, text] of fields) {
        if (field.startsWith(TENANT)) tenants.set(field.slice(TENANT.length), tenantFromJson(text));
        else if (field.startsWith(KEY)) keys.push(withUse(keyFromJson(text), fields));
      }
    } catch (error) {
      throw new TenantStoreError('refused', `what ${this.shown} holds of tenants is not Fairlane's`, {
        cause: error,
      });
    }
    keys.sort((a, b) => a.createdMs - b.createdMs || (a.id < b.id ? -1 : 1));
    return {
      version,
      tenants: new Map([...tenants].sort(([a], [b]) => (a < b ? -1 : 1))),
      keys: new Map(keys.map((one) => [one.id, one])),
    };
  }

  async write({ base, tenants, keys, removed, audit }: StoreChange): Promise<'ok' | 'conflict'> {
    const put = new Map<string, string>();
    for (const one of tenants) put.set(`${TENANT}${one.name}`, JSON.stringify(one));
    for (const { usedMs: _, ...one } of keys) put.set(`${KEY}${one.id}`, JSON.stringify(one));
    const gone = removed.flatMap((id) => [`${KEY}${id}`, `${USED}${id}`]);
    // By the id a change that is sent twice is known.
    const entry = JSON.stringify({ version: base + 1, id: randomUUID(), ...audit });
    const send = (): Promise<boolean> => this.#fields.write(base, put, gone, entry);
    // The answer may have got lost: the second time tells.
    return (await answered(send().catch(send))) ? 'ok' : 'conflict';
  }

  async used(times: ReadonlyMap<string, number>): Promise<void> {
    await answered(this.#fields.note(new Map([...times].map(([id, ms]) => [`${USED}${id}`, String(ms)]))));
  }

  async audit({ before, tenant, limit }: AuditPage): Promise<readonly AuditEntry[]> {
    const found: AuditEntry[] = [];
    let end = Math.min((before ?? Number.MAX_SAFE_INTEGER) - 1, await this.version());
    for (let looks = 0; end > 0 && found.length < limit && looks < MOST_LOOKS; looks += 1) {
      const start = Math.max(0, end - LOOK);
      const texts = await answered(this.#fields.changes(start, end - 1));
      for (let i = texts.length - 1; i >= 0; i -= 1) {
        const entry = entryFromJson(texts[i] ?? '');
        if ((tenant === undefined || entry.tenant === tenant) && found.length < limit) found.push(entry);
      }
      end = start;
    }
    return found;
  }

  close(): Promise<void> {
    return this.#close();
  }
}

function withUse(key: StoredKey, fields: ReadonlyMap<string, string>): StoredKey {
  const usedMs = Number(fields.get(`${USED}${key.id}`));
  return usedMs > 0 ? { ...key, usedMs } : key;
}

async function answered<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    const message = messageOf(error);
    throw new TenantStoreError('away', message, { cause: error });
  }
}
