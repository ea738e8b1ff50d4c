/**
 * Endpoint choice for one pool: its endpoints, what their caches are thought to hold, where sessions were served, and the
 * profile. Whoever owns the endpoints writes the candidates that join() gives, and tells what was released where.
 */
import {
  type Candidate,
  type CandidateState,
  type ChoiceRequest,
  type EndpointQueries,
  newCandidate,
  type ScoringContext,
} from './candidate.ts';
import { choose, newScratch, type RoutingDecision, scoringContextOf } from './choose.ts';
import { type ChoiceReport, explain } from './explain.ts';
import { DEFAULT_PREFIX_INDEX, PrefixIndex, type PrefixIndexConfig } from './prefix-index.ts';
import { type Profile, weightsFor } from './profiles.ts';
import { DEFAULT_SESSIONS, Sessions, type SessionsConfig } from './sessions.ts';

export interface PoolRouterConfig {
  readonly index?: PrefixIndexConfig;
  readonly sessions?: SessionsConfig;
}

const NO_BLOCKS = new Uint32Array(0);

export class PoolRouter {
  #profile: Profile;
  readonly #index: PrefixIndex;
  readonly #sessions: Sessions;
  readonly #candidates: CandidateState[] = [];
  readonly #byIndex: (Candidate | undefined)[] = [];
  readonly #scratch = newScratch();
  /** Where ties begin. */
  #turn = 0;

  constructor(profile: Profile, { index, sessions }: PoolRouterConfig) {
    this.#profile = profile;
    this.#index = new PrefixIndex(index ?? DEFAULT_PREFIX_INDEX);
    this.#sessions = new Sessions(sessions ?? DEFAULT_SESSIONS);
  }

  // Its endpoints.

  /** Takes an endpoint in: not in the rotation until its flags say so. */
  join(address: string): CandidateState {
    const candidate = newCandidate(this.#index.attach(), address);
    this.#candidates.push(candidate);
    this.#byIndex[candidate.candidateIndex] = candidate;
    return candidate;
  }

  /** It is not in the pool any more. */
  leave(candidate: Candidate): void {
    if (!this.#isHere(candidate)) return;
    const { candidateIndex } = candidate;
    this.#candidates.splice(this.#candidates.indexOf(candidate), 1);
    this.#byIndex[candidateIndex] = undefined;
    this.#sessions.end(candidateIndex);
    this.#index.detach(candidateIndex);
  }

  /** Its cache is empty: it was restarted, slept, or was down for long. */
  restarted(candidate: Candidate): void {
    if (!this.#isHere(candidate)) return;
    this.#index.forget(candidate.candidateIndex);
    this.#sessions.end(candidate.candidateIndex);
  }

  /** Bytes of prompt that its KV cache holds: tokens × bytes per token. */
  setCacheBytes(candidate: Candidate, bytes: number): void {
    if (this.#isHere(candidate)) this.#index.setCapacity(candidate.candidateIndex, bytes);
  }

  setProfile(profile: Profile): void {
    this.#profile = profile;
  }

  // Choosing.

  /** Gives the best endpoint that passes all filters, and fallbacks. Changes nothing. */
  peek(request: ChoiceRequest, queries: EndpointQueries, nowMs: number): RoutingDecision | undefined {
    const context = this.#contextOf(request, queries, nowMs);
    const weights = weightsFor(this.#profile, request);
    const own = choose(this.#candidates, context, weights, this.#turn, this.#scratch);
    if (own !== undefined || !context.isolate || queries.borrows !== true) return own;
    return choose(this.#candidates, { ...context, isolate: false }, weights, this.#turn, this.#scratch);
  }

  /** The next ties begin after this one. */
  advance(candidate: Candidate): void {
    this.#turn = this.#candidates.indexOf(candidate) + 1;
  }

  /** The same as peek(), then advance(). */
  choose(request: ChoiceRequest, queries: EndpointQueries, nowMs: number): RoutingDecision | undefined {
    const decision = this.peek(request, queries, nowMs);
    if (decision !== undefined) this.advance(decision.candidate);
    return decision;
  }

  /** Reports what peek() gives, and why. @param queries `room` must change nothing: it is asked of every endpoint. */
  explain(request: ChoiceRequest, queries: EndpointQueries, nowMs: number): ChoiceReport {
    const context = this.#contextOf(request, queries, nowMs);
    const weights = weightsFor(this.#profile, request);
    const own = explain(this.#candidates, context, weights, this.#turn);
    const mayBorrow = own.chosen === undefined && context.isolate && queries.borrows === true;
    return mayBorrow ? explain(this.#candidates, { ...context, isolate: false }, weights, this.#turn) : own;
  }

  // What is cached where.

  /** The request was sent there: what follows with the same beginning will find it there. */
  released({ prompt }: ChoiceRequest, candidate: Candidate, nowMs: number): void {
    if (prompt === undefined || !this.#isHere(candidate)) return;
    this.#index.touch(candidate.candidateIndex, prompt.blocks);
    if (prompt.session !== undefined) {
      this.#sessions.served(prompt.session, candidate.candidateIndex, nowMs);
    }
  }

  /** Its prompt was computed there, and it is over: from now on its blocks may be evicted. */
  ended({ prompt }: ChoiceRequest, candidate: Candidate): void {
    if (prompt !== undefined && this.#isHere(candidate)) {
      this.#index.touch(candidate.candidateIndex, prompt.blocks);
    }
  }

  /** For metrics. */
  sizes(): { readonly entries: number; readonly memoryBytes: number; readonly sessions: number } {
    return {
      entries: this.#index.size(),
      memoryBytes: this.#index.memoryBytes(),
      sessions: this.#sessions.size(),
    };
  }

  /** An endpoint that left may still end its requests, when its index is another's. */
  #isHere(candidate: Candidate): boolean {
    return this.#byIndex[candidate.candidateIndex] === candidate;
  }

  #contextOf(request: ChoiceRequest, queries: EndpointQueries, nowMs: number): ScoringContext {
    const { prompt } = request;
    const match = this.#index.lookup(prompt?.blocks ?? NO_BLOCKS);
    const isSession = prompt?.session !== undefined && prompt.continues;
    const sessionCandidate = isSession ? this.#sessions.find(prompt.session, nowMs) : -1;
    return scoringContextOf(
      this.#candidates,
      request,
      {
        matchedBytes: match.matchedBytes,
        matchedEverywhere: match.matchedEverywhere,
        sessionCandidate,
      },
      queries,
      this.#profile.isolate,
    );
  }
}

export const createPoolRouter = (profile: Profile, config: PoolRouterConfig = {}): PoolRouter =>
  new PoolRouter(profile, config);
