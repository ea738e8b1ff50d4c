/** What the data say, in words. Pure. */
import type { RequestLine } from '../admin/console-feed.ts';
import type { StatusReport, TenantStatus } from '../admin/status.ts';
import { countText, durationText, percentText } from './numbers.ts';

/** A piece of a sentence; names are others' text, kept apart so that they cannot turn the line around. */
export interface Piece {
  readonly text: string;
  readonly name?: boolean;
}

const say = (text: string): Piece => ({ text });
const call = (text: string): Piece => ({ text, name: true });

/** Factors of ten and more are said whole. */
export const timesText = (times: number): string => (times < 9.95 ? times.toFixed(1) : countText(times));

/** Below this a tenant's part of the requests is near enough its share not to be spoken of. */
export const OVER_SHARE = 1.15;
/** Two medians that differ by less are said once. */
const APART = 1.5;

export interface Fullness {
  readonly sequences: number;
  readonly limit: number;
  /** Slots that are kept free for tenants below their fair share. */
  readonly headroom: number;
  readonly endpoints: number;
}

/** How full the engines are, without those that get copies only. */
export function fullness(status: StatusReport): Fullness {
  const pools = status.pools.filter(({ mirror }) => !mirror);
  const sum = (read: (pool: StatusReport['pools'][number]) => number): number =>
    pools.reduce((total, pool) => total + read(pool), 0);
  return {
    sequences: sum(({ sequences }) => sequences),
    limit: sum(({ concurrencyLimit }) => concurrencyLimit),
    headroom: sum(({ headroom }) => headroom),
    endpoints: sum(({ serving }) => serving),
  };
}

/** Why there is no slot; undefined: there are some. Replicas that share Redis divide a limit among those that have requests. */
export function slotless(status: StatusReport): string | undefined {
  const { limit, endpoints } = fullness(status);
  if (endpoints === 0) return 'No engine serves now.';
  return limit > 0 ? undefined : 'This replica has no part of the engines’ slots now.';
}

/**
 * How many times its fair share of the slots a tenant holds or waits for. Who asked for something in the last seconds has a share
 * too: with a quiet tenant that comes and goes the factor would jump.
 *
 * @returns undefined where its weight, or the limit, is not known.
 */
export function timesItsShare(tenant: TenantStatus, status: StatusReport): number | undefined {
  const asking = status.tenants.rows.filter(
    ({ inFlight, waiting, requestsPerSecond, weight }) =>
      (inFlight + waiting > 0 || requestsPerSecond > 0) && weight !== undefined,
  );
  const weights = asking.reduce((sum, { weight = 0 }) => sum + weight, 0);
  const { limit } = fullness(status);
  if (tenant.weight === undefined || weights === 0 || limit === 0) return undefined;
  return (tenant.inFlight + tenant.waiting) / ((limit * tenant.weight) / weights);
}

function waitingWords(tenant: TenantStatus, status: StatusReport): readonly Piece[] {
  const times = timesItsShare(tenant, status);
  const why =
    tenant.waiting > 0 && times !== undefined && times >= OVER_SHARE
      ? `: it asks for ${timesText(times)} times its share. `
      : '. ';
  return [call(tenant.name), say(` waits ${durationText(tenant.ttftP50Ms)} for its first token${why}`)];
}

/** One or two tenants against each other, and how full the engines are. */
export function headline(status: StatusReport): readonly Piece[] {
  const known = status.tenants.rows
    .filter(({ ttftP50Ms }) => ttftP50Ms !== undefined)
    .sort((a, b) => (a.ttftP50Ms ?? 0) - (b.ttftP50Ms ?? 0));
  const [fastest] = known;
  const slowest = known.at(-1);
  const { sequences, limit, endpoints } = fullness(status);
  const engines = endpoints === 1 ? 'The engine is' : `The ${endpoints} engines are`;
  const full = say(slotless(status) ?? `${engines} ${percentText(sequences / limit)} full.`);
  if (fastest === undefined || slowest === undefined)
    return [say('No stream ended in the last minute. '), full];
  const apart = (slowest.ttftP50Ms ?? 0) >= APART * (fastest.ttftP50Ms ?? 0);
  if (slowest === fastest) return [...waitingWords(fastest, status), full];
  if (apart) return [...waitingWords(fastest, status), ...waitingWords(slowest, status), full];
  return [
    say(`All ${known.length} tenants wait about ${durationText(slowest.ttftP50Ms)} for their first token. `),
    full,
  ];
}

/** By the reason, as records have it; others are shown as they are. */
const REFUSALS: ReadonlyMap<string, string> = new Map([
  ['requests_per_minute', 'requests of the minute used up'],
  ['tokens_per_minute', 'tokens of the minute used up'],
  ['insufficient_quota', 'tokens or budget of the month used up'],
  ['tenant_queue_full', 'too many of its requests wait already'],
  ['queue_full', 'the queue is full'],
  ['queue_timeout', 'no slot became free in time'],
  ['invalid_api_key', 'no such key'],
  ['model_not_found', 'no such model'],
]);

/** Why something is refused, in words. @param code as records and errors have it. */
export const refusalText = (code: string): string => REFUSALS.get(code) ?? code.replaceAll('_', ' ');

/** Waits that are shorter are no waits: a turn of the program. */
const NO_WAIT_MS = 2;

/** What was decided about a request that has ended. */
export function decisionText(line: RequestLine): string {
  const { outcome, reason, queueMs, lane, quiet } = line;
  if (outcome === 'refused') {
    return `refused: ${refusalText(reason ?? 'no reason known')}`;
  }
  const where = lane === undefined ? '' : ` in lane ${lane}`;
  if (outcome === 'aborted' && reason === 'queued') return `left after ${durationText(queueMs)}${where}`;
  const turn = quiet
    ? 'passed the queue: below its fair share'
    : queueMs < NO_WAIT_MS
      ? 'a slot was free'
      : `waited ${durationText(queueMs)}${where}`;
  if (outcome === 'completed') return turn;
  const end = outcome === 'failed' ? 'failed' : 'aborted';
  return `${turn}; ${end}${reason === undefined ? '' : `: ${reason.replaceAll(/[-_]/g, ' ')}`}`;
}

export interface Phase {
  readonly name: 'queue' | 'prefill' | 'decode' | 'rest';
  readonly ms: number;
}

/** A request's time in parts that sum to its duration. */
export function phasesOf({
  queueMs,
  prefillMs = 0,
  decodeMs = 0,
  durationMs,
}: RequestLine): readonly Phase[] {
  const parts = [Math.min(queueMs, durationMs)];
  for (const ms of [prefillMs, decodeMs]) {
    const left = durationMs - parts.reduce((sum, part) => sum + part, 0);
    parts.push(Math.max(0, Math.min(ms, left)));
  }
  const [queue = 0, prefill = 0, decode = 0] = parts;
  return [
    { name: 'queue', ms: queue },
    { name: 'prefill', ms: prefill },
    { name: 'decode', ms: decode },
    { name: 'rest', ms: Math.max(0, durationMs - queue - prefill - decode) },
  ];
}
