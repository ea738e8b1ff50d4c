/** A usage record as a row of the ledger: the one place where one becomes the other. */
import type { UsageRecord } from '../usage/usage-record.ts';
import type { LedgerRow } from './ledger-row.ts';

/** Longer texts of others are cut. */
const LONGEST_TEXT = 256;
/** What no database takes as text, or no reader of JSON. */
const UNSTORABLE = /[\0\p{Surrogate}]/gu;
const MOST_PICO = 10n ** 18n;
const MS_PER_SECOND = 1_000;
const US_PER_SECOND = 1_000_000;

const text = (value: string): string => {
  const short = value.length > LONGEST_TEXT ? value.slice(0, LONGEST_TEXT) : value;
  return UNSTORABLE.test(short) ? short.replace(UNSTORABLE, '\uFFFD') : short;
};
const textOrNull = (value: string | undefined): string | null => (value === undefined ? null : text(value));

/** The end of the year 9999: no database knows a month behind it. */
const LAST_MS = 253_402_300_799_999;
/** Of a count, which engines may lie about: nine million of these are a sum still. */
const MOST = 1e12;
/** Of tokens × milliseconds: 100,000 tokens for a day are a hundredth. */
const MOST_TOKEN_MS = 1e15;

/** Whole, not negative, and small enough for sums. */
const whole = (value: number, most = MOST): number => (value > 0 ? Math.min(Math.round(value), most) : 0);
const wholeOrNull = (value: number | undefined): number | null => (value === undefined ? null : whole(value));

const pico = (value: bigint): bigint =>
  value > MOST_PICO ? MOST_PICO : value < -MOST_PICO ? -MOST_PICO : value;

/** @param unixMs now, where the record does not say when it ended. */
export function ledgerRowOf(record: UsageRecord, unixMs: number): LedgerRow {
  const { id = '', cost, price } = record;
  return {
    // Envoy's own id is one of a kind, too, as long as no client may choose it.
    id: id === '' ? text(record.requestId) : id,
    endedMs: whole(record.endedMs ?? unixMs, LAST_MS),
    tenant: text(record.tenant),
    tier: textOrNull(record.tier),
    keyId: textOrNull(record.keyId),
    tag: textOrNull(record.tag),
    requestId: text(record.requestId),
    clientRequestId: textOrNull(record.clientRequestId),
    route: text(record.customRoute ?? record.route),
    model: textOrNull(record.model),
    modelAsked: textOrNull(record.modelAsked),
    adapter: textOrNull(record.adapter),
    pool: textOrNull(record.pool),
    endpoint: textOrNull(record.endpoint),
    engine: textOrNull(record.engine),
    lane: textOrNull(record.lane),
    stream: record.stream ? 1 : 0,
    outcome: record.outcome,
    reason: textOrNull(record.reason),
    status: wholeOrNull(record.status),
    queueMs: whole(record.queueMs),
    ttftMs: wholeOrNull(record.ttftMs),
    prefillMs: wholeOrNull(record.prefillMs),
    decodeMs: wholeOrNull(record.decodeMs),
    durationMs: whole(record.durationMs),
    promptTokens: whole(record.promptTokens),
    cachedTokens: whole(record.cachedTokens),
    completionTokens: whole(record.completionTokens),
    reasoningTokens: whole(record.reasoningTokens ?? 0),
    audioMs: whole((record.audioSeconds ?? 0) * MS_PER_SECOND),
    images: whole(record.images ?? 0),
    usageSource: record.usageSource,
    retries: whole(record.retries ?? 0),
    preemptions: wholeOrNull(record.preemptions),
    kvTokenMs: whole((record.kvTokenSeconds ?? 0) * MS_PER_SECOND, MOST_TOKEN_MS),
    gpuUs: whole((record.gpuSeconds ?? 0) * US_PER_SECOND),
    costPico: pico(cost?.pico ?? 0n),
    costCurrency: cost?.currency ?? null,
    pricePico: pico(price?.pico ?? 0n),
    priceCurrency: price?.currency ?? null,
  };
}
