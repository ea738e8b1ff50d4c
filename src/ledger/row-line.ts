/** A row as a line of text: a JSON list of its columns' values, in this order, which is format 1 of the spool. */
import type { LedgerRow } from './ledger-row.ts';

type Kinds = {
  readonly [Key in keyof LedgerRow]: LedgerRow[Key] extends number | bigint | null ? 'number' : 'text';
};

/** What is in each column, in their order. Only added to at the end, with another format. */
const KINDS: Kinds = {
  id: 'text',
  endedMs: 'number',
  tenant: 'text',
  tier: 'text',
  keyId: 'text',
  tag: 'text',
  requestId: 'text',
  clientRequestId: 'text',
  route: 'text',
  model: 'text',
  modelAsked: 'text',
  adapter: 'text',
  pool: 'text',
  endpoint: 'text',
  engine: 'text',
  lane: 'text',
  stream: 'number',
  outcome: 'text',
  reason: 'text',
  status: 'number',
  queueMs: 'number',
  ttftMs: 'number',
  prefillMs: 'number',
  decodeMs: 'number',
  durationMs: 'number',
  promptTokens: 'number',
  cachedTokens: 'number',
  completionTokens: 'number',
  reasoningTokens: 'number',
  audioMs: 'number',
  images: 'number',
  usageSource: 'text',
  retries: 'number',
  preemptions: 'number',
  kvTokenMs: 'number',
  gpuUs: 'number',
  costPico: 'number',
  costCurrency: 'text',
  pricePico: 'number',
  priceCurrency: 'text',
};

export const COLUMNS = Object.keys(KINDS) as readonly (keyof LedgerRow)[];

/** Whole numbers. */
export const isNumber = (key: keyof LedgerRow): boolean => KINDS[key] === 'number';

/** `gpuUs` → `gpu_us`. */
export const columnOf = (key: keyof LedgerRow): string =>
  key.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

export const COLUMN_NAMES = COLUMNS.map(columnOf);

/** Without a line feed: amounts of money are digits in quotes. One by one: it is done for every request, and a loop takes twice as long. */
export const lineOf = (row: LedgerRow): string =>
  JSON.stringify([
    row.id,
    row.endedMs,
    row.tenant,
    row.tier,
    row.keyId,
    row.tag,
    row.requestId,
    row.clientRequestId,
    row.route,
    row.model,
    row.modelAsked,
    row.adapter,
    row.pool,
    row.endpoint,
    row.engine,
    row.lane,
    row.stream,
    row.outcome,
    row.reason,
    row.status,
    row.queueMs,
    row.ttftMs,
    row.prefillMs,
    row.decodeMs,
    row.durationMs,
    row.promptTokens,
    row.cachedTokens,
    row.completionTokens,
    row.reasoningTokens,
    row.audioMs,
    row.images,
    row.usageSource,
    row.retries,
    row.preemptions,
    row.kvTokenMs,
    row.gpuUs,
    row.costPico.toString(),
    row.costCurrency,
    row.pricePico.toString(),
    row.priceCurrency,
  ]);

/** Whether a line of the spool is whole: a crash may have cut the last one. */
export function isLine(line: string): boolean {
  if (!line.startsWith('["') || !line.endsWith(']')) return false;
  try {
    const values: unknown = JSON.parse(line);
    return Array.isArray(values) && values.length === COLUMNS.length;
  } catch {
    return false;
  }
}
