/** One call of the rate limit service, from its descriptors to its answer. */
import type { CallSettings } from '../config/rate-limit.ts';
import type { BucketRequest, LimitStore, Taken } from '../limit/store.ts';
import { dynamicMetadata } from './dynamic-metadata.ts';
import { type HeaderList, limitHeaders, NO_HEADERS, type ShownLimit, unitHeaders } from './limit-headers.ts';
import type { Domains, Rate, RateLimit } from './limits-config.ts';
import { type Descriptor, isOverrideUsable, type Match, matchDescriptor } from './match.ts';
import { nearHits } from './near-limit.ts';
import { QuotaGroups } from './quota-groups.ts';
import type { Struct } from './struct.ts';

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
  /** For the client. */
  readonly headers: HeaderList;
  /** For the upstream. */
  readonly requestHeaders: HeaderList;
  /** For Envoy. */
  readonly metadata: Struct | undefined;
}

export interface CountedHit {
  readonly domain: string;
  readonly metricKey: string;
  readonly hits: number;
  readonly outcome: 'within' | 'over' | 'shadow';
  /** Of the hits, those near the limit. */
  readonly near: number;
}

/** What is wrong with a call, by the label that dashboards know. */
export type CallProblem = 'invalid_call' | 'unknown_domain' | 'override_unit';

export interface DecideContext {
  readonly domains: Domains;
  readonly store: LimitStore;
  readonly settings: CallSettings;
  readonly onHit: (hit: CountedHit) => void;
  readonly onProblem: (problem: CallProblem) => void;
  readonly unixMs: () => number;
}

export type Decision =
  | { readonly kind: 'answer'; readonly answer: RateLimitAnswer }
  /** A call that cannot be answered; the reference service's words. */
  | { readonly kind: 'error'; readonly message: string };

const UNLIMITED_REMAINING = 4_294_967_295;

interface Counted {
  readonly at: number;
  readonly descriptor: Descriptor;
  readonly match: Match;
  readonly rate: Rate;
  /** Less than 0: given back. */
  readonly hits: number;
}

/** A call with what its limits were asked for. */
interface Asked {
  readonly call: RateLimitCall;
  readonly matches: readonly (Match | undefined)[];
  readonly counted: readonly Counted[];
  readonly context: DecideContext;
}

interface Verdict {
  /** After the shadow mode of all. */
  readonly over: boolean;
  /** Index of the limit that headers are about; -1: there is none. */
  readonly shown: number;
  readonly quotas: QuotaGroups | undefined;
}

/** Limits that another one of the request names in `replaces` do not count. */
function replaced(matches: readonly (Match | undefined)[]): (limit: RateLimit) => boolean {
  const names = new Set(matches.flatMap((match) => match?.limit.replaces ?? []));
  return (limit) => limit.name !== '' && names.has(limit.name);
}

/** What gives back is never too much. */
const isBeyond = ({ descriptor }: Counted, taken: Taken): boolean => !(descriptor.negative || taken.granted);

const remainingOf = (one: Counted, taken: Taken): number => (isBeyond(one, taken) ? 0 : taken.remaining);

const isUnlimited = (match: Match | undefined): boolean =>
  match !== undefined && match.limit.rate === undefined;

/** Headers are about the last limit that refuses, else the first of those with the least left. */
function judge({ call, matches, counted, context }: Asked, taken: readonly Taken[]): Verdict {
  const { shadowMode, quotaMode } = context.settings;
  let isRefused = false;
  let quotas: QuotaGroups | undefined;
  let shown = -1;
  let least = UNLIMITED_REMAINING;
  counted.forEach((one, i) => {
    const got = taken[i];
    if (got === undefined) return;
    const { limit } = one.match;
    const over = isBeyond(one, got) && !limit.shadowMode;
    const remaining = remainingOf(one, got);
    if (remaining < least) {
      shown = i;
      least = remaining;
    }
    if (quotaMode || limit.quotaMode) {
      quotas ??= new QuotaGroups();
      quotas.add(one.at, one.descriptor, over);
    } else if (over) {
      isRefused = true;
      shown = i;
      least = 0;
    }
  });
  if (quotaMode) {
    // A descriptor without a limit has room, too.
    quotas ??= new QuotaGroups();
    const limited = new Set(counted.map(({ at }) => at));
    for (const [at, descriptor] of call.descriptors.entries()) {
      if (!limited.has(at) && !isUnlimited(matches[at])) quotas.add(at, descriptor, false);
    }
  }
  return { over: !shadowMode && (isRefused || quotas?.isOver === true), shown, quotas };
}

/** The end of the reference's window: of a limit of 0 nothing is ever there again. */
function windowEndMs(unitMs: number, unixMs: number): number {
  const unit = unitMs / 1_000;
  return (unit - (Math.floor(unixMs / 1_000) % unit)) * 1_000;
}

const resetOf = ({ rate }: Counted, taken: Taken, { unixMs }: DecideContext): number =>
  rate.requestsPerUnit === 0 ? windowEndMs(rate.stored.unitMs, unixMs()) : taken.resetMs;

function count({ call, counted, context }: Asked, taken: readonly Taken[]): void {
  const { shadowMode, nearLimitRatio } = context.settings;
  counted.forEach((one, i) => {
    const got = taken[i];
    if (got === undefined) return;
    const { hits, match, rate } = one;
    const isOver = isBeyond(one, got);
    const wasCharged = hits > 0 && (got.granted || hits > 1);
    context.onHit({
      domain: call.domain,
      metricKey: match.metricKey,
      hits: Math.abs(hits),
      outcome: isOver ? (match.limit.shadowMode || shadowMode ? 'shadow' : 'over') : 'within',
      near:
        wasCharged && got.used !== undefined
          ? nearHits(rate.requestsPerUnit, nearLimitRatio, got.used, hits)
          : 0,
    });
  });
}

function statusesOf(
  { matches, counted, context }: Asked,
  taken: readonly Taken[],
): readonly DescriptorStatus[] {
  const statuses: DescriptorStatus[] = matches.map((match) => ({
    over: false,
    remaining: isUnlimited(match) ? UNLIMITED_REMAINING : 0,
  }));
  counted.forEach((one, i) => {
    const got = taken[i];
    if (got === undefined) return;
    const { limit } = one.match;
    statuses[one.at] = {
      over: isBeyond(one, got) && !limit.shadowMode,
      rate: one.rate,
      ...(limit.name !== '' && { name: limit.name }),
      remaining: remainingOf(one, got),
      resetMs: resetOf(one, got, context),
    };
  });
  return statuses;
}

function shownOf(asked: Asked, taken: readonly Taken[], i: number): ShownLimit | undefined {
  const one = asked.counted[i];
  const got = taken[i];
  if (one === undefined || got === undefined) return undefined;
  const { requestsPerUnit, unit } = one.rate;
  const remaining = remainingOf(one, got);
  return { requestsPerUnit, unit, remaining, resetMs: resetOf(one, got, asked.context) };
}

function headersOf(asked: Asked, taken: readonly Taken[], shown: ShownLimit | undefined): HeaderList {
  const { responseHeaders: names, unitHeaders: unitNames } = asked.context.settings;
  const headers = names === undefined || shown === undefined ? NO_HEADERS : limitHeaders(names, shown);
  if (unitNames === undefined) return headers;
  const limits = asked.counted.flatMap((_, i) => shownOf(asked, taken, i) ?? []);
  return [...unitHeaders(unitNames, limits), ...headers];
}

function metadataOf(
  { call, matches, counted, context }: Asked,
  statuses: readonly DescriptorStatus[],
  quotas: QuotaGroups | undefined,
): Struct | undefined {
  const mode = context.settings.dynamicMetadata;
  if (mode === 'off') return undefined;
  if (mode === 'auto' && !counted.some(({ match }) => match.limit.metadata !== undefined)) return undefined;
  const passed = [...statuses.keys()].filter(
    (at) => statuses[at]?.over === false && !isUnlimited(matches[at]),
  );
  // A call may have tens of thousands of descriptors: nothing is looked for in all of them for each.
  const metadata = new Map(counted.map(({ at, match }) => [at, match.limit.metadata]));
  return dynamicMetadata(call, passed, (at) => metadata.get(at), quotas);
}

function answerOf(asked: Asked, taken: readonly Taken[], { over, shown: at, quotas }: Verdict): Decision {
  const statuses = statusesOf(asked, taken);
  const shown = at < 0 ? undefined : shownOf(asked, taken, at);
  const { requestHeaders } = asked.context.settings;
  const answer = {
    over,
    statuses,
    headers: headersOf(asked, taken, shown),
    requestHeaders:
      requestHeaders === undefined || shown === undefined ? NO_HEADERS : limitHeaders(requestHeaders, shown),
    metadata: metadataOf(asked, statuses, quotas),
  };
  return { kind: 'answer', answer };
}

/** Gives back what limits with room were charged for a call that is refused. @returns what limits have then. */
function giveBack(
  { counted, context }: Asked,
  taken: readonly Taken[],
  nowMs: number,
): readonly Taken[] | Promise<readonly Taken[]> {
  const requests: BucketRequest[] = [];
  /** Where the answer to what was given back of a limit is. */
  const places = counted.map(({ match, rate, hits }, i) => {
    if (hits <= 0 || taken[i]?.granted !== true) return -1;
    return requests.push({ key: match.bucketKey, limit: rate.stored, hits: -hits }) - 1;
  });
  if (requests.length === 0) return taken;
  const back = context.store.take(requests, nowMs);
  const finish = (given: readonly Taken[]): readonly Taken[] =>
    taken.map((one, i) => {
      const now = given[places[i] ?? -1];
      // It had room, whether or not another call has used that up.
      return now === undefined ? one : { ...now, granted: true };
    });
  return 'then' in back ? back.then(finish) : finish(back);
}

function settle(asked: Asked, taken: readonly Taken[], nowMs: number): Decision | Promise<Decision> {
  count(asked, taken);
  const verdict = judge(asked, taken);
  if (!verdict.over || asked.context.settings.chargeRefused) return answerOf(asked, taken, verdict);
  const back = giveBack(asked, taken, nowMs);
  return 'then' in back ? back.then((now) => answerOf(asked, now, verdict)) : answerOf(asked, back, verdict);
}

const invalid = ({ onProblem }: DecideContext, message: string): Decision => {
  onProblem('invalid_call');
  return { kind: 'error', message };
};

function matchesOf(call: RateLimitCall, context: DecideContext): readonly (Match | undefined)[] {
  const { domains, onProblem } = context;
  if (!domains.has(call.domain)) {
    onProblem('unknown_domain');
    return call.descriptors.map(() => undefined);
  }
  return call.descriptors.map((descriptor) => {
    if (!isOverrideUsable(descriptor)) onProblem('override_unit');
    return matchDescriptor(domains, call.domain, descriptor);
  });
}

export function decide(
  call: RateLimitCall,
  context: DecideContext,
  nowMs: number,
): Decision | Promise<Decision> {
  if (call.domain === '') return invalid(context, 'rate limit domain must not be empty');
  if (call.descriptors.length === 0) {
    return invalid(context, 'rate limit descriptor list must not be empty');
  }
  const matches = matchesOf(call, context);
  const isReplaced = replaced(matches);
  const counted: Counted[] = [];
  matches.forEach((match, at) => {
    const descriptor = call.descriptors[at];
    if (match?.limit.rate === undefined || descriptor === undefined || isReplaced(match.limit)) return;
    // 0 of a descriptor only checks; 0 of the request is the default of the wire and means 1.
    const hits = descriptor.hits ?? (call.hits === 0 ? 1 : call.hits);
    const { rate } = match.limit;
    counted.push({ at, descriptor, match, rate, hits: descriptor.negative ? -hits : hits });
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
  const asked = { call, matches, counted, context };
  const taken = context.store.take(requests, nowMs);
  return 'then' in taken ? taken.then((result) => settle(asked, result, nowMs)) : settle(asked, taken, nowMs);
}
