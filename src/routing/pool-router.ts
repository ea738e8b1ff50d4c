/**
 * Endpoint choice for one pool: its endpoints, what their caches are thought to hold, where sessions were served, and the
 * profile. Whoever owns the endpoints writes the candidates that join() gives, and tells what was released where.
 */
import type { Candidate, CandidateState, ChoiceRequest, EndpointQueries } from './candidate.ts';
import { newCandidate } from './candidate.ts';
import { askedOf, choose, newScratch, type RoutingDecision } from './choose.ts';
import { type ChoiceReport, explain } from './explain.ts';
import { createPrefixIndex, DEFAULT_PREFIX_INDEX, type PrefixIndexConfig } from './prefix-index.ts';
import { type Profile, weightsFor } from './profiles.ts';
import { createSessions, DEFAULT_SESSIONS, type SessionsConfig } from './sessions.ts';

export interface PoolRouter {
  /** An endpoint of the pool, not in the rotation until its flags say so. */
  join(address: string): CandidateState;
  /** It is not in the pool any more. */
  leave(candidate: Candidate): void;
  /** Its cache is empty: it was restarted, slept, or was down for long. */
  restarted(candidate: Candidate): void;
  /** Bytes of prompt that its KV cache holds: tokens × bytes per token. */
  setCacheBytes(candidate: Candidate, bytes: number): void;
  /** The best endpoint that passes all filters, and fallbacks. Remembers nothing but whose turn is next. */
  choose(request: ChoiceRequest, asks: EndpointQueries, nowMs: number): RoutingDecision | undefined;
  /** The request was sent there: what follows with the same beginning will find it there. */
  released(request: ChoiceRequest, candidate: Candidate, nowMs: number): void;
  /** Its prompt was computed there, and it is over: from now on its blocks may be evicted. */
  ended(request: ChoiceRequest, candidate: Candidate): void;
  /** @param asks `room` must change nothing: it is asked of every endpoint. */
  explain(request: ChoiceRequest, asks: EndpointQueries, nowMs: number): ChoiceReport;
  setProfile(profile: Profile): void;
  /** For metrics. */
  sizes(): { readonly entries: number; readonly memoryBytes: number; readonly sessions: number };
}

export interface PoolRouterConfig {
  readonly index?: PrefixIndexConfig;
  readonly sessions?: SessionsConfig;
}

export function createPoolRouter(initial: Profile, config: PoolRouterConfig = {}): PoolRouter {
  let profile = initial;
  const index = createPrefixIndex(config.index ?? DEFAULT_PREFIX_INDEX);
  const sessions = createSessions(config.sessions ?? DEFAULT_SESSIONS);
  const candidates: CandidateState[] = [];
  const bySlot: (Candidate | undefined)[] = [];
  const scratch = newScratch();
  let turn = 0;
  const nothing = new Uint32Array(0);

  const ask = (request: ChoiceRequest, asks: EndpointQueries, nowMs: number) => {
    const { prompt } = request;
    const match = index.lookup(prompt?.blocks ?? nothing);
    const sessionSlot =
      prompt?.session !== undefined && prompt.continues ? sessions.find(prompt.session, nowMs) : -1;
    return askedOf(candidates, request, { ...match, sessionSlot }, asks, profile.isolate);
  };

  /** An endpoint that left may still end its requests, when its slot is another's. */
  const isHere = (candidate: Candidate): boolean => bySlot[candidate.candidateIndex] === candidate;

  return {
    join(address) {
      const candidate = newCandidate(index.attach(), address);
      candidates.push(candidate);
      bySlot[candidate.candidateIndex] = candidate;
      return candidate;
    },
    leave(candidate) {
      if (!isHere(candidate)) return;
      const { candidateIndex: slot } = candidate;
      candidates.splice(candidates.indexOf(candidate), 1);
      bySlot[slot] = undefined;
      sessions.end(slot);
      index.detach(slot);
    },
    restarted(candidate) {
      if (!isHere(candidate)) return;
      index.forget(candidate.candidateIndex);
      sessions.end(candidate.candidateIndex);
    },
    setCacheBytes(candidate, bytes) {
      if (isHere(candidate)) index.setCapacity(candidate.candidateIndex, bytes);
    },
    choose(request, asks, nowMs) {
      const asked = ask(request, asks, nowMs);
      const weights = weightsFor(profile, request);
      const own = choose(candidates, asked, weights, turn, scratch);
      const mayBorrow = own === undefined && asked.isolate && asks.borrows === true;
      const choice = mayBorrow
        ? choose(candidates, { ...asked, isolate: false }, weights, turn, scratch)
        : own;
      if (choice !== undefined) turn = candidates.indexOf(choice.candidate) + 1;
      return choice;
    },
    released({ prompt }, candidate, nowMs) {
      if (prompt === undefined || !isHere(candidate)) return;
      index.touch(candidate.candidateIndex, prompt.blocks);
      if (prompt.session !== undefined) sessions.served(prompt.session, candidate.candidateIndex, nowMs);
    },
    ended({ prompt }, candidate) {
      if (prompt !== undefined && isHere(candidate)) index.touch(candidate.candidateIndex, prompt.blocks);
    },
    explain(request, asks, nowMs) {
      const asked = ask(request, asks, nowMs);
      const weights = weightsFor(profile, request);
      const own = explain(candidates, asked, weights, turn);
      const mayBorrow = own.chosen === undefined && asked.isolate && asks.borrows === true;
      return mayBorrow ? explain(candidates, { ...asked, isolate: false }, weights, turn) : own;
    },
    setProfile(next) {
      profile = next;
    },
    sizes: () => ({
      entries: index.size(),
      memoryBytes: index.memoryBytes(),
      sessions: sessions.size(),
    }),
  };
}
