/** One call of the rate limit service, from its descriptors to its answer. */
import type { BucketRequest, LimitStore, Taken } from '../limit/store.ts';
import type { Domains, Rate, RateLimit } from './limits-config.ts';
import { type Descriptor, type Match, matchDescriptor } from './match.ts';

export interface RateLimitCall {
  readonly domain: string;
  readonly descriptors: readonly Descriptor[];
  /** For descriptors that say nothing; 0 counts as 1. */
  readonly hits: number;
}

export interface DescriptorStatus {
  readonly over: boolean;
  readonly rate?: Rate;
  readonly name?: string;
  readonly remaining: number;
  readonly resetMs?: number;
}

export interface RateLimitAnswer {
  readonly over: boolean;
  readonly statuses: readonly DescriptorStatus[];
  /** `RateLimit-*` of the tightest limit; empty without any. */
  readonly headers: readonly (readonly [name: string, value: string])[];
}

export interface CountedHit {
  readonly domain: string;
  readonly metricKey: string;
  readonly hits: number;
  readonly outcome: 'within' | 'over' | 'shadow';
}

export interface DecideContext {
  readonly domains: Domains;
  readonly store: LimitStore;
  /** Counts everything and refuses nothing. */
  readonly shadowMode: boolean;
  readonly onHit: (hit: CountedHit) => void;
}

export type Decision =
  | { readonly kind: 'answer'; readonly answer: RateLimitAnswer }
  /** A call that cannot be answered; the reference service's words. */
  | { readonly kind: 'error'; readonly message: string };

const UNLIMITED_REMAINING = 4_294_967_295;

interface Counted {
  readonly at: number;
  readonly match: Match;
  readonly rate: Rate;
  readonly hits: number;
}

/** Limits that another one of the request names in `replaces` do not count. */
function replaced(matches: readonly (Match | undefined)[]): (limit: RateLimit) => boolean {
  const names = new Set(matches.flatMap((match) => match?.limit.replaces ?? []));
  return (limit) => limit.name !== '' && names.has(limit.name);
}

function headersOf(counted: readonly Counted[], taken: readonly Taken[]): RateLimitAnswer['headers'] {
  let tightest: { rate: Rate; taken: Taken } | undefined;
  counted.forEach(({ rate }, i) => {
    const one = taken[i];
    if (one === undefined) return;
    if (tightest === undefined || one.remaining < tightest.taken.remaining) tightest = { rate, taken: one };
  });
  if (tightest === undefined) return [];
  return [
    ['RateLimit-Limit', String(tightest.rate.requestsPerUnit)],
    ['RateLimit-Remaining', String(tightest.taken.remaining)],
    ['RateLimit-Reset', String(Math.ceil(tightest.taken.resetMs / 1_000))],
  ];
}

function answerOf(
  call: RateLimitCall,
  matches: readonly (Match | undefined)[],
  counted: readonly Counted[],
  taken: readonly Taken[],
  { shadowMode, onHit }: DecideContext,
): RateLimitAnswer {
  const statuses: DescriptorStatus[] = matches.map((match) =>
    match !== undefined && match.limit.rate === undefined
      ? { over: false, remaining: UNLIMITED_REMAINING }
      : { over: false, remaining: 0 },
  );
  let over = false;
  let quotas = 0;
  let quotasOver = 0;
  counted.forEach(({ at, match, rate, hits }, i) => {
    const one = taken[i];
    if (one === undefined) return;
    const { limit, metricKey } = match;
    // What gives back is never too much.
    const isOver = hits >= 0 && !one.granted;
    const counts = isOver && !limit.shadowMode && !shadowMode;
    if (limit.quotaMode) {
      quotas += 1;
      if (counts) quotasOver += 1;
    } else if (counts) over = true;
    onHit({
      domain: call.domain,
      metricKey,
      hits: Math.abs(hits),
      outcome: counts ? 'over' : isOver ? 'shadow' : 'within',
    });
    statuses[at] = {
      over: counts,
      rate,
      ...(limit.name !== '' && { name: limit.name }),
      remaining: one.remaining,
      resetMs: one.resetMs,
    };
  });
  return {
    over: over || (quotas > 0 && quotasOver === quotas),
    statuses,
    headers: headersOf(counted, taken),
  };
}

export function decide(
  call: RateLimitCall,
  context: DecideContext,
  nowMs: number,
): Decision | Promise<Decision> {
  if (call.domain === '') return { kind: 'error', message: 'rate limit domain must not be empty' };
  if (call.descriptors.length === 0) {
    return { kind: 'error', message: 'rate limit descriptor list must not be empty' };
  }
  const matches = call.descriptors.map((descriptor) =>
    matchDescriptor(context.domains, call.domain, descriptor),
  );
  const isReplaced = replaced(matches);
  const counted: Counted[] = [];
  matches.forEach((match, at) => {
    const descriptor = call.descriptors[at];
    if (match?.limit.rate === undefined || descriptor === undefined || isReplaced(match.limit)) return;
    // 0 of a descriptor only checks; 0 of the request is the default of the wire and means 1.
    const hits = descriptor.hits ?? (call.hits === 0 ? 1 : call.hits);
    counted.push({ at, match, rate: match.limit.rate, hits: descriptor.negative ? -hits : hits });
  });
  const requests = counted.map(
    ({ match, rate, hits }): BucketRequest => ({
      key: match.bucketKey,
      limit: rate.stored,
      hits,
      // More than one: the report of something that has been used, such as tokens.
      mode: hits > 1 ? 'charge' : 'take',
    }),
  );
  const taken = context.store.take(requests, nowMs);
  const finish = (result: readonly Taken[]): Decision => ({
    kind: 'answer',
    answer: answerOf(call, matches, counted, result, context),
  });
  return 'then' in taken ? taken.then(finish) : finish(taken);
}
