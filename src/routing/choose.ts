/**
 * The choice: filters, then the weighted sum of the scores, the highest first.
 *
 * Of equal sums the endpoint with the fewest sequences wins, of those the first from `turn` on, so that an idle pool is used
 * all round. The same arguments give the same choice.
 *
 * What only the owner of an endpoint can say (room, an open breaker) is asked for last, and only of endpoints that would be
 * better than the best so far: of a thousand in any order about seven. When nothing is chosen, every endpoint that passes
 * the other filters was asked for room.
 *
 * This is the hot path: filters and scorers that most requests need are called by name in a few passes, so that they are
 * inlined, and nothing is allocated for an endpoint. The others are called from their lists (filters.ts, scorers.ts). explain.ts
 * goes by the lists alone; a property test holds the two together. `npm run bench:routing` has the time.
 */

import type { Weights } from '../domain/routing-profiles.ts';
import { attractionLimitOf, attracts, prefillScaleOf } from './attraction.ts';
import {
  type Candidate,
  type ChoiceRequest,
  type EndpointQueries,
  type Filter,
  ISOLATED,
  type Scorer,
  type ScoringContext,
} from './candidate.ts';
import { adapter, takesAdapter } from './filters/adapter.ts';
import { breaker, isPermitted } from './filters/breaker.ts';
import { draining, takesRequests } from './filters/draining.ts';
import { healthy, isHealthy } from './filters/healthy.ts';
import { isOnItsSide, isolation } from './filters/isolation.ts';
import { hasRoom, room } from './filters/room.ts';
import { isInSubset, subset } from './filters/subset.ts';
import { ALL_FILTERS } from './filters.ts';
import { adapter as adapterScorer, scoreAdapter } from './scorers/adapter.ts';
import { kvRoom, scoreKvRoom } from './scorers/kv-room.ts';
import { load, scoreLoad } from './scorers/load.ts';
import { matchedTokens, prefix, scorePrefix } from './scorers/prefix.ts';
import { queue, scoreQueue } from './scorers/queue.ts';
import { scoreSession, session } from './scorers/session.ts';
import { scoreSlowClients, slowClients } from './scorers/slow-clients.ts';
import { ALL_SCORERS } from './scorers.ts';

/** Called by name below. */
const NAMED_FILTERS: ReadonlySet<Filter> = new Set([
  healthy,
  draining,
  isolation,
  subset,
  adapter,
  breaker,
  room,
]);
const NAMED_SCORERS: ReadonlySet<Scorer> = new Set([
  load,
  queue,
  kvRoom,
  prefix,
  session,
  adapterScorer,
  slowClients,
]);
const OTHER_FILTERS = ALL_FILTERS.filter((filter) => !NAMED_FILTERS.has(filter));
const OTHER_SCORERS = ALL_SCORERS.filter((scorer) => !NAMED_SCORERS.has(scorer));

/** Endpoints of a choice, with the chosen one. */
const MOST_ADDRESSES = 4;
const NO_ROOM_YET = -1;

export interface RoutingDecision {
  readonly candidate: Candidate;
  /** For retries, the best first: they pass every filter but `room`. At most three. */
  readonly fallbacks: readonly Candidate[];
  /** Prompt tokens that the chosen endpoint is thought to have cached. */
  readonly matchedTokens: number;
}

/** What is known of the request's past. */
export interface Memory {
  readonly matchedBytes: Uint32Array;
  readonly matchedEverywhere: number;
  readonly sessionCandidate: number;
}

/** Slow clients and others are apart as long as this request's side has an endpoint in the rotation. */
function hasOwnSide(candidates: readonly Candidate[], slow: boolean): boolean {
  return candidates.some(
    (candidate) =>
      isHealthy(candidate) && takesRequests(candidate) && ((candidate.flags & ISOLATED) !== 0) === slow,
  );
}

/** @param isolate the profile keeps slow clients apart. */
export function scoringContextOf(
  candidates: readonly Candidate[],
  request: ChoiceRequest,
  memory: Memory,
  queries: EndpointQueries,
  isolate: boolean,
): ScoringContext {
  const { prompt, promptBytes, promptTokens } = request;
  return {
    request,
    queries,
    matchedBytes: memory.matchedBytes,
    matchedEverywhere: memory.matchedEverywhere,
    tokensPerByte: promptTokens / Math.max(1, promptBytes, prompt?.bytes ?? 0),
    sessionCandidate: memory.sessionCandidate,
    prefillScale: prefillScaleOf(promptTokens),
    isolate: isolate && hasOwnSide(candidates, request.slow),
  };
}

/** Memory of a choice, for the next one. It grows with the pool. */
export interface Scratch {
  /** Of the endpoints that pass the cheap filters: places among the candidates, their indexes, and sums. */
  places: Int32Array;
  indexes: Int32Array;
  sums: Float64Array;
  /** Sequences ÷ concurrency limit above which one of them attracts nobody by what it remembers. */
  attractionLimit: number;
}

export const newScratch = (): Scratch => ({
  places: new Int32Array(16),
  indexes: new Int32Array(16),
  sums: new Float64Array(16),
  attractionLimit: 0,
});

function makeRoom(scratch: Scratch, count: number): void {
  if (scratch.places.length >= count) return;
  scratch.places = new Int32Array(2 * count);
  scratch.indexes = new Int32Array(2 * count);
  scratch.sums = new Float64Array(2 * count);
}

// V8 inlines so much into one function and no more: a pass is a function of its own. Only the first one reads every endpoint.

/**
 * The filters that need nobody else, in the order of the turn, and the scores of what an endpoint is now. Also what all that
 * pass have in use. Gives their number.
 */
function scoreState(
  candidates: readonly Candidate[],
  context: ScoringContext,
  weights: Weights,
  turn: number,
  scratch: Scratch,
): number {
  const { places, indexes, sums } = scratch;
  const { load: forLoad, queue: forQueue, kvRoom: forRoom, slowClients: forSlow } = weights;
  const { request } = context;
  const isAnybodys = request.subset === undefined && request.adapter === undefined;
  const count = candidates.length;
  let used = 0;
  let size = 0;
  let passed = 0;
  let next = count === 0 ? 0 : turn % count;
  for (let n = 0; n < count; n += 1) {
    const at = next;
    next = at + 1 === count ? 0 : at + 1;
    const candidate = candidates[at] as Candidate;
    if (!isHealthy(candidate) || !takesRequests(candidate) || !isOnItsSide(candidate, context)) continue;
    if (!isAnybodys && !(isInSubset(candidate, context) && takesAdapter(candidate, context))) continue;
    if (OTHER_FILTERS.length > 0 && !OTHER_FILTERS.every((filter) => filter.passes(candidate, context)))
      continue;
    places[passed] = at;
    indexes[passed] = candidate.candidateIndex;
    sums[passed] =
      forLoad * scoreLoad(candidate) +
      forQueue * scoreQueue(candidate, context) +
      forRoom * scoreKvRoom(candidate, context) +
      forSlow * scoreSlowClients(candidate, context);
    passed += 1;
    used += candidate.sequences + candidate.waiting;
    size += candidate.concurrencyLimit * candidate.startWeight;
  }
  scratch.attractionLimit = attractionLimitOf(size === 0 ? 0 : used / size);
  return passed;
}

/** What it remembers. */
function scoreMemory(
  candidates: readonly Candidate[],
  context: ScoringContext,
  weights: Weights,
  passed: number,
  { places, indexes, sums, attractionLimit }: Scratch,
): void {
  const hasPrefix = prefix.applies(context);
  const hasSession = session.applies(context);
  const hasAdapter = adapterScorer.applies(context);
  if (!hasPrefix && !hasSession && !hasAdapter) return;
  const { matchedBytes, sessionCandidate } = context;
  for (let n = 0; n < passed; n += 1) {
    const index = indexes[n] as number;
    // Most endpoints remember nothing of it.
    if (matchedBytes[index] === 0 && index !== sessionCandidate && !hasAdapter) continue;
    const candidate = candidates[places[n] as number] as Candidate;
    if (!attracts(candidate, attractionLimit)) continue;
    let sum = sums[n] as number;
    if (hasPrefix) sum += weights.prefix * scorePrefix(candidate, context);
    if (hasSession) sum += weights.session * scoreSession(candidate, context);
    if (hasAdapter) sum += weights.adapter * scoreAdapter(candidate, context);
    sums[n] = sum;
  }
}

/** A scorer that is not called by name. */
function scoreOther(
  scorer: Scorer,
  candidates: readonly Candidate[],
  context: ScoringContext,
  weight: number,
  passed: number,
  { places, sums, attractionLimit }: Scratch,
): void {
  for (let n = 0; n < passed; n += 1) {
    const candidate = candidates[places[n] as number] as Candidate;
    if (scorer.remembers === true && !attracts(candidate, attractionLimit)) continue;
    sums[n] = (sums[n] as number) + weight * scorer.score(candidate, context);
  }
}

/** The best with room, and the best whatever their room. */
function select(
  candidates: readonly Candidate[],
  context: ScoringContext,
  passed: number,
  { places, sums }: Scratch,
): RoutingDecision | undefined {
  const top: Candidate[] = [];
  const topSums: number[] = [];
  let best: Candidate | undefined;
  let bestSum = NO_ROOM_YET;
  let leastSum = NO_ROOM_YET;
  for (let n = 0; n < passed; n += 1) {
    const sum = sums[n] as number;
    if (sum < bestSum && sum <= leastSum) continue;
    const candidate = candidates[places[n] as number] as Candidate;
    const mayBeBest =
      sum > bestSum || (sum === bestSum && best !== undefined && candidate.sequences < best.sequences);
    const mayBeNamed = top.length < MOST_ADDRESSES || sum > leastSum;
    if (!(mayBeBest || mayBeNamed) || !isPermitted(candidate, context)) continue;
    if (mayBeNamed) leastSum = insert(top, topSums, candidate, sum);
    if (mayBeBest && hasRoom(candidate, context)) {
      best = candidate;
      bestSum = sum;
    }
  }
  if (best === undefined) return undefined;
  const fallbacks: Candidate[] = [];
  for (const other of top) {
    if (other !== best && fallbacks.length < MOST_ADDRESSES - 1) fallbacks.push(other);
  }
  return { candidate: best, fallbacks, matchedTokens: Math.floor(matchedTokens(best, context)) };
}

/**
 * @param turn where ties begin: any whole number, not negative; one more than the place of the last choice goes round.
 * @param scratch what `queries` does must not choose with the same one.
 * @returns undefined when no endpoint passes all filters.
 */
export function choose(
  candidates: readonly Candidate[],
  context: ScoringContext,
  weights: Weights,
  turn: number,
  scratch: Scratch,
): RoutingDecision | undefined {
  makeRoom(scratch, candidates.length);
  const passed = scoreState(candidates, context, weights, turn, scratch);
  scoreMemory(candidates, context, weights, passed, scratch);
  for (const scorer of OTHER_SCORERS) {
    if (!scorer.applies(context)) continue;
    scoreOther(scorer, candidates, context, weights[scorer.name], passed, scratch);
  }
  return select(candidates, context, passed, scratch);
}

/** Into the short list of the best, which stays in order. Gives the sum of the last. */
function insert(top: Candidate[], sums: number[], candidate: Candidate, sum: number): number {
  let at = Math.min(top.length, MOST_ADDRESSES - 1);
  while (at > 0 && sum > (sums[at - 1] as number)) {
    top[at] = top[at - 1] as Candidate;
    sums[at] = sums[at - 1] as number;
    at -= 1;
  }
  top[at] = candidate;
  sums[at] = sum;
  return sums.at(-1) as number;
}
