/** Rows of the ledger's sums, made by hand, as the ledger writes them. */
import type { Database, SqlValue, Statement } from '../../src/database/database.ts';

const DAY_MS = 86_400_000;

export interface SumsRow {
  readonly startMs: number;
  readonly tenant: string;
  readonly key_id: string;
  readonly tag: string;
  readonly model: string;
  readonly adapter: string;
  readonly pool: string;
  readonly cost_currency: string;
  readonly price_currency: string;
  readonly requests: number;
  readonly completed: number;
  readonly refused: number;
  readonly aborted: number;
  readonly failed: number;
  readonly estimated: number;
  readonly prompt_tokens: number;
  readonly cached_tokens: number;
  readonly completion_tokens: number;
  readonly reasoning_tokens: number;
  readonly images: number;
  readonly audio_ms: number;
  readonly queue_ms: number;
  readonly duration_ms: number;
  readonly kv_token_ms: bigint;
  readonly gpu_us: number;
  readonly cost_pico: bigint;
  readonly price_pico: bigint;
}

const NOTHING: SumsRow = {
  startMs: 0,
  tenant: 'alice',
  key_id: '',
  tag: '',
  model: 'llama',
  adapter: '',
  pool: 'main',
  cost_currency: '',
  price_currency: '',
  requests: 1,
  completed: 1,
  refused: 0,
  aborted: 0,
  failed: 0,
  estimated: 0,
  prompt_tokens: 0,
  cached_tokens: 0,
  completion_tokens: 0,
  reasoning_tokens: 0,
  images: 0,
  audio_ms: 0,
  queue_ms: 0,
  duration_ms: 0,
  kv_token_ms: 0n,
  gpu_us: 0,
  cost_pico: 0n,
  price_pico: 0n,
};

export const sumsRow = (row: Partial<SumsRow>): SumsRow => ({ ...NOTHING, ...row });

const MICRO = 1_000_000n;

const insert = (table: string, row: SumsRow): Statement => {
  const { startMs, cost_pico: cost, price_pico: price, ...rest } = row;
  const own = Object.entries({
    ...rest,
    cost_micro: cost / MICRO,
    cost_pico: cost % MICRO,
    price_micro: price / MICRO,
    price_pico: price % MICRO,
  });
  const columns = ['start_ms', ...own.map(([name]) => name)];
  const values: readonly SqlValue[] = [startMs, ...own.map(([, value]) => value as SqlValue)];
  return {
    sql: `INSERT INTO ${table} (${columns.join(', ')}) VALUES (${columns.map(() => '?').join(', ')})`,
    values,
  };
};

const monthStart = (ms: number): number => {
  const date = new Date(ms);
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth());
};

/** One row for each beginning and names: the sum of those that have them. */
function added(rows: readonly SumsRow[], startOf: (ms: number) => number): readonly SumsRow[] {
  const sums = new Map<string, SumsRow>();
  for (const row of rows) {
    const startMs = startOf(row.startMs);
    const own = Object.entries(row).filter(([name]) => name !== 'startMs');
    const key = JSON.stringify([
      startMs,
      ...own.map(([, value]) => value).filter((v) => typeof v === 'string'),
    ]);
    const before = Object.entries(sums.get(key) ?? {});
    const sum = own.map(([name, value]) => {
      const [, other] = before.find(([known]) => known === name) ?? [];
      if (typeof value === 'number') return [name, value + Number(other ?? 0)];
      return [name, typeof value === 'bigint' ? value + ((other as bigint | undefined) ?? 0n) : value];
    });
    sums.set(key, { ...Object.fromEntries(sum), startMs } as SumsRow);
  }
  return [...sums.values()];
}

/** Into the sums by hour, day and month. @param rows of hours. */
export const insertSums = (database: Database, rows: readonly SumsRow[]): Promise<unknown> =>
  database.batch([
    ...added(rows, (ms) => ms).map((row) => insert('usage_hour', row)),
    ...added(rows, (ms) => ms - (ms % DAY_MS)).map((row) => insert('usage_day', row)),
    ...added(rows, monthStart).map((row) => insert('usage_month', row)),
  ]);

/** A row of `request`, of which reports of estimates are made. */
export function requestStatement(row: {
  readonly id: string;
  readonly endedMs: number;
  readonly tenant: string;
  readonly model: string | null;
  readonly usageSource: string;
}): Statement {
  return {
    sql: `INSERT INTO request (id, ended_ms, tenant, request_id, route, model, stream, outcome, queue_ms, duration_ms,
      prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens, audio_ms, images, usage_source, retries,
      kv_token_ms, gpu_us, cost_pico, price_pico, price_currency)
      VALUES (?, ?, ?, 'r', 'chat.completions', ?, 0, 'aborted', 0, 0, 11, 0, 7, 0, 0, 0, ?, 0, 0, 0, 0, ?, 'EUR')`,
    values: [row.id, row.endedMs, row.tenant, row.model, row.usageSource, 1_500_000_000n],
  };
}
