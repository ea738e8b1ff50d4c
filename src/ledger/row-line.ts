/** A row as a line of text: a JSON list of its columns' values, in this order, which is format 1 of the spool. */
import type { LedgerRow } from './ledger-row.ts';

/** Columns whose values are whole numbers. */
type NumberKey = {
  [K in keyof LedgerRow]: LedgerRow[K] extends number | bigint | null ? K : never;
}[keyof LedgerRow];

/** Only added to at the end, with another format. */
export const COLUMNS: readonly (keyof LedgerRow)[] = [
  'id',
  'endedMs',
  'tenant',
  'tier',
  'keyId',
  'tag',
  'requestId',
  'clientRequestId',
  'route',
  'model',
  'modelAsked',
  'adapter',
  'pool',
  'endpoint',
  'engine',
  'lane',
  'stream',
  'outcome',
  'reason',
  'status',
  'queueMs',
  'ttftMs',
  'prefillMs',
  'decodeMs',
  'durationMs',
  'promptTokens',
  'cachedTokens',
  'completionTokens',
  'reasoningTokens',
  'audioMs',
  'images',
  'usageSource',
  'retries',
  'preemptions',
  'kvTokenMs',
  'gpuUs',
  'costPico',
  'costCurrency',
  'pricePico',
  'priceCurrency',
];

const NUMBERS: ReadonlySet<keyof LedgerRow> = new Set<NumberKey>([
  'endedMs',
  'stream',
  'status',
  'queueMs',
  'ttftMs',
  'prefillMs',
  'decodeMs',
  'durationMs',
  'promptTokens',
  'cachedTokens',
  'completionTokens',
  'reasoningTokens',
  'audioMs',
  'images',
  'retries',
  'preemptions',
  'kvTokenMs',
  'gpuUs',
  'costPico',
  'pricePico',
]);

export const isNumber = (key: keyof LedgerRow): boolean => NUMBERS.has(key);

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
