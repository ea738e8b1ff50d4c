/** The ledger's tables. */
import type { Migration } from '../database/database.ts';
import { COUNTS } from './counts.ts';

/** What sums are kept by; empty text where there is none, so that equal ones meet. */
const DIMENSIONS = `
  start_ms BIGINT NOT NULL, tenant TEXT NOT NULL, key_id TEXT NOT NULL, tag TEXT NOT NULL, model TEXT NOT NULL,
  adapter TEXT NOT NULL, pool TEXT NOT NULL, cost_currency TEXT NOT NULL, price_currency TEXT NOT NULL`;
const KEY = 'start_ms, tenant, key_id, tag, model, adapter, pool, cost_currency, price_currency';

/** Money is in two columns: 10^-6 of the currency's unit, and the rest, 0 to 999,999 of 10^-12. One alone could overflow. */
export const SUMS = [
  ...COUNTS,
  'audio_ms',
  'queue_ms',
  'duration_ms',
  'kv_token_ms',
  'gpu_us',
  'cost_micro',
  'cost_pico',
  'price_micro',
  'price_pico',
] as const;

/** 10^-12 in one of 10^-6. */
export const PICO_IN_MICRO = 1_000_000n;

export const LEDGER_TABLES = ['request', 'usage_hour', 'usage_day', 'usage_month'] as const;

const rollup = (name: string): { readonly sqlite: string; readonly postgresql: string } => {
  const columns = `${DIMENSIONS}, ${SUMS.map((sum) => `${sum} BIGINT NOT NULL`).join(', ')}`;
  return {
    sqlite: `CREATE TABLE ${name} (${columns}, PRIMARY KEY (${KEY})) WITHOUT ROWID, STRICT`.replaceAll(
      'BIGINT',
      'INTEGER',
    ),
    postgresql: `CREATE TABLE ${name} (${columns}, PRIMARY KEY (${KEY}))`,
  };
};

const REQUEST = `
  id TEXT NOT NULL PRIMARY KEY, ended_ms BIGINT NOT NULL, tenant TEXT NOT NULL, tier TEXT, key_id TEXT, tag TEXT,
  request_id TEXT NOT NULL, client_request_id TEXT, route TEXT NOT NULL, model TEXT, model_asked TEXT, adapter TEXT,
  pool TEXT, endpoint TEXT, engine TEXT, lane TEXT, stream BIGINT NOT NULL, outcome TEXT NOT NULL, reason TEXT,
  status BIGINT, queue_ms BIGINT NOT NULL, ttft_ms BIGINT, prefill_ms BIGINT, decode_ms BIGINT,
  duration_ms BIGINT NOT NULL, prompt_tokens BIGINT NOT NULL, cached_tokens BIGINT NOT NULL,
  completion_tokens BIGINT NOT NULL, reasoning_tokens BIGINT NOT NULL, audio_ms BIGINT NOT NULL, images BIGINT NOT NULL,
  usage_source TEXT NOT NULL, retries BIGINT NOT NULL, preemptions BIGINT, kv_token_ms BIGINT NOT NULL,
  gpu_us BIGINT NOT NULL, cost_pico BIGINT NOT NULL, cost_currency TEXT, price_pico BIGINT NOT NULL, price_currency TEXT`;

/** Rows by request; sums by hour, day and month (UTC). Names of the columns are those of LedgerRow in snake_case. */
export const LEDGER_MIGRATIONS: readonly Migration[] = [
  {
    number: 1,
    statements: [
      {
        // Numbered by SQLite in the order in which they come: insertRows goes by it.
        sqlite: `CREATE TABLE request (${REQUEST}) STRICT`.replaceAll('BIGINT', 'INTEGER'),
        postgresql: `CREATE TABLE request (${REQUEST})`,
      },
      'CREATE INDEX request_by_time ON request (ended_ms)',
      rollup('usage_hour'),
      rollup('usage_day'),
      rollup('usage_month'),
    ],
  },
];
