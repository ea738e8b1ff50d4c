/** Who chooses the endpoint: Fairlane, what it is compared with, and oracles that see into the engines. */

import { type ProfileName, type Weights } from '../../src/domain/routing-profiles.ts';
import { type CandidateState, type ChoiceRequest, newCandidate } from '../../src/routing/candidate.ts';
import { choose, newScratch, scoringContextOf } from '../../src/routing/choose.ts';
import { createPoolRouter } from '../../src/routing/pool-router.ts';
import { resolveProfile, weightsFor } from '../../src/routing/profiles.ts';
import { createPromptHasher, type PromptHashes } from '../../src/routing/prompt-hash.ts';
import type { Engine } from '../../src/simulator/step.ts';
import type { MakeRouter, Router, Sent } from './simulation.ts';
import { type Ask, BYTES_PER_TOKEN } from './traces.ts';

/** What Fairlane would have learned: the mean output of these traces is near it. */
export const PREDICTED_OUTPUT = 180;
export const SEED = Uint32Array.from([
  0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0,
]);
const ALWAYS = { room: () => true, permits: () => true };
const NOTHING_LEARNED = { firstToken() {}, ended() {}, gauges() {} };

export const roundRobin: MakeRouter = (engines) => {
  let turn = -1;
  return {
    ...NOTHING_LEARNED,
    pick() {
      turn = (turn + 1) % engines.length;
      return turn;
    },
  };
};

/** Fewest requests in flight; ties go round. */
export const leastRequests: MakeRouter = (engines) => {
  const inFlight = engines.map(() => 0);
  let turn = 0;
  return {
    ...NOTHING_LEARNED,
    pick() {
      let best = turn % inFlight.length;
      for (let i = 1; i < inFlight.length; i += 1) {
        const at = (turn + i) % inFlight.length;
        if ((inFlight[at] ?? 0) < (inFlight[best] ?? 0)) best = at;
      }
      turn = best + 1;
      inFlight[best] = (inFlight[best] ?? 0) + 1;
      return best;
    },
    ended({ endpoint }) {
      inFlight[endpoint] = (inFlight[endpoint] ?? 1) - 1;
    },
  };
};

export const requestOf = (ask: Ask, prompt: PromptHashes | undefined): ChoiceRequest => ({
  prompt,
  promptBytes: ask.promptTokens * BYTES_PER_TOKEN,
  promptTokens: ask.promptTokens,
  totalTokens: ask.promptTokens + PREDICTED_OUTPUT,
  stream: true,
  slow: false,
});

interface Held {
  readonly candidate: CandidateState;
  readonly request: ChoiceRequest;
  prefillTokens: number;
}

/** Keeps the candidates as the owner of the endpoints does. */
function createBooks(candidates: readonly CandidateState[]) {
  const held = new Map<Ask, Held>();
  return {
    begin(ask: Ask, request: ChoiceRequest, candidate: CandidateState, matchedTokens: number): void {
      const prefillTokens = Math.max(1, Math.floor(request.promptTokens - matchedTokens));
      candidate.sequences += 1;
      candidate.kvTokens += request.totalTokens;
      candidate.prefillTokens += prefillTokens;
      held.set(ask, { candidate, request, prefillTokens });
    },
    firstToken: ({ ask }: Sent): void => {
      const one = held.get(ask);
      if (one === undefined) return;
      one.candidate.prefillTokens -= one.prefillTokens;
      one.prefillTokens = 0;
    },
    end({ ask }: Sent): Held | undefined {
      const one = held.get(ask);
      if (one === undefined) return undefined;
      held.delete(ask);
      one.candidate.sequences -= 1;
      one.candidate.kvTokens -= one.request.totalTokens;
      return one;
    },
    gauges: (endpoint: number, { waiting }: { readonly waiting: number }): void => {
      const candidate = candidates[endpoint];
      if (candidate !== undefined) candidate.waiting = waiting;
    },
  };
}

export const fairlane =
  (profileName: ProfileName, weights: Partial<Weights> = {}): MakeRouter =>
  (engines, profile): Router => {
    const hasher = createPromptHasher(SEED);
    const router = createPoolRouter(resolveProfile({ profile: profileName, weights }));
    const capacity = profile.kvBlocks * profile.blockTokens;
    const candidates = engines.map((_, i) => {
      const candidate = router.join(`engine-${i}`);
      candidate.flags = 0;
      candidate.concurrencyLimit = profile.maxSequences;
      candidate.kvCapacityTokens = capacity;
      router.setCacheBytes(candidate, capacity * BYTES_PER_TOKEN);
      return candidate;
    });
    const books = createBooks(candidates);
    return {
      pick(ask, nowMs) {
        const { document, scope } = ask;
        const prompt = hasher.hash({ route: 'chat.completions', document, scope, model: 'model' });
        const request = requestOf(ask, prompt);
        const choice = router.choose(request, ALWAYS, nowMs);
        if (choice === undefined) throw new Error('no endpoint');
        const at = candidates.findIndex(
          ({ candidateIndex: slot }) => slot === choice.candidate.candidateIndex,
        );
        const candidate = candidates[at];
        if (candidate === undefined) throw new Error('an endpoint that never joined');
        books.begin(ask, request, candidate, choice.matchedTokens);
        router.released(request, candidate, nowMs);
        return at;
      },
      firstToken: books.firstToken,
      ended(sent) {
        const one = books.end(sent);
        if (one !== undefined) router.ended(one.request, one.candidate);
      },
      gauges: books.gauges,
    };
  };

const cachedIn = (engine: Engine | undefined, { blockHashes, promptBlocks }: Ask): number =>
  engine?.cachedTokens(blockHashes.slice(0, promptBlocks)) ?? 0;

/** Always where most of the prompt is cached at this moment, however long the queue; of equal ones the least loaded. */
export const greedyOracle: MakeRouter = (engines) => {
  const inFlight = engines.map(() => 0);
  return {
    ...NOTHING_LEARNED,
    pick(ask) {
      const hits = engines.map((engine) => cachedIn(engine, ask));
      let best = 0;
      for (let i = 1; i < hits.length; i += 1) {
        const more = (hits[i] ?? 0) - (hits[best] ?? 0);
        if (more > 0 || (more === 0 && (inFlight[i] ?? 0) < (inFlight[best] ?? 0))) best = i;
      }
      inFlight[best] = (inFlight[best] ?? 0) + 1;
      return best;
    },
    ended({ endpoint }) {
      inFlight[endpoint] = (inFlight[endpoint] ?? 1) - 1;
    },
  };
};

/** Fairlane's rule and weights, with the engines' real contents instead of its index. */
export const loadOracle =
  (profileName: ProfileName): MakeRouter =>
  (engines, engineProfile) => {
    const profile = resolveProfile({ profile: profileName });
    const candidates = engines.map((_, i) => ({
      ...newCandidate(i, `engine-${i}`),
      flags: 0,
      concurrencyLimit: engineProfile.maxSequences,
      kvCapacityTokens: engineProfile.kvBlocks * engineProfile.blockTokens,
    }));
    const books = createBooks(candidates);
    const matchedBytes = new Uint32Array(engines.length);
    const scratch = newScratch();
    let turn = 0;
    return {
      pick(ask) {
        engines.forEach((engine, i) => {
          matchedBytes[i] = cachedIn(engine, ask) * BYTES_PER_TOKEN;
        });
        const any = { blocks: new Uint32Array(2), bytes: 0, session: undefined, continues: false };
        const request = requestOf(ask, any);
        const asked = scoringContextOf(
          candidates,
          request,
          { matchedBytes, matchedEverywhere: 0, sessionCandidate: -1 },
          ALWAYS,
          false,
        );
        const slot =
          choose(candidates, asked, weightsFor(profile, request), turn, scratch)?.candidate.candidateIndex ??
          0;
        const candidate = candidates[slot];
        if (candidate === undefined) throw new Error('no endpoint');
        turn = slot + 1;
        books.begin(ask, request, candidate, (matchedBytes[slot] ?? 0) / BYTES_PER_TOKEN);
        return slot;
      },
      firstToken: books.firstToken,
      ended: (sent) => void books.end(sent),
      gauges: books.gauges,
    };
  };
