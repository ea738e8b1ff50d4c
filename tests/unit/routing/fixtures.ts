import { SCORERS, type ScorerName, type Weights } from '../../../src/domain/routing-profiles.ts';
import type {
  CandidateState,
  ChoiceRequest,
  EndpointQueries,
  ScoringContext,
} from '../../../src/routing/candidate.ts';
import { newCandidate } from '../../../src/routing/candidate.ts';
import { type Memory, scoringContextOf } from '../../../src/routing/choose.ts';
import type { PromptHashes } from '../../../src/routing/prompt-hash.ts';

export const SEED = Uint32Array.from([7, 11, 13, 17, 0x9e3779b9, 0x85ebca77]);

/** A healthy endpoint with a window of 64, nothing in flight and 100,000 tokens of KV cache. */
export const endpoint = (slot: number, state: Partial<CandidateState> = {}): CandidateState => ({
  ...newCandidate(slot, `10.0.0.${slot}:8000`),
  flags: 0,
  concurrencyLimit: 64,
  kvCapacityTokens: 100_000,
  adaptersMax: 4,
  ...state,
});

export const promptOf = (bytes: number, more: Partial<PromptHashes> = {}): PromptHashes => ({
  blocks: new Uint32Array(2),
  bytes,
  session: undefined,
  continues: false,
  ...more,
});

export const request = (more: Partial<ChoiceRequest> = {}): ChoiceRequest => ({
  prompt: promptOf(4_000),
  promptBytes: 4_000,
  promptTokens: 1_000,
  totalTokens: 1_200,
  stream: true,
  slow: false,
  ...more,
});

export const ALWAYS: EndpointQueries = { room: () => true, permits: () => true };

/** @param matched bytes by slot. */
export const memory = (matched: Readonly<Record<number, number>> = {}, sessionSlot = -1): Memory => {
  const matchedBytes = new Uint32Array(64);
  for (const [slot, bytes] of Object.entries(matched)) matchedBytes[Number(slot)] = bytes;
  return { matchedBytes, matchedEverywhere: 0, sessionCandidate: sessionSlot };
};

export const ask = (
  candidates: readonly CandidateState[],
  more: Partial<ChoiceRequest> = {},
  known: Memory = memory(),
  asks: EndpointQueries = ALWAYS,
  isolate = false,
): ScoringContext => scoringContextOf(candidates, request(more), known, asks, isolate);

/** One scorer counts, the others do not. */
export const only = (name: keyof Weights): Weights => ({
  ...(Object.fromEntries(Object.keys(SCORERS).map((one) => [one, 0])) as Record<ScorerName, number>),
  [name]: 1,
});
