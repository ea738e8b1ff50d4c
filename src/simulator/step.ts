/** What the simulated engine is asked and answers, a step at a time. */
import type { EngineRequest, Sequence } from './sequence.ts';

export interface TokenEvent {
  readonly id: string;
  /** 0 for the first token. */
  readonly index: number;
  readonly last: boolean;
  /** Prompt tokens that the prefix cache had when the sequence was first admitted. */
  readonly cachedTokens: number;
}

export interface EngineGauges {
  readonly running: number;
  readonly waiting: number;
  /** Part of the KV blocks in use, 0 to 1. */
  readonly kvUsage: number;
  /**
   * Tokens looked up in the prefix cache, and found there. As in vLLM, a preempted sequence's return does not
   * count.
   */
  readonly prefixQueries: number;
  readonly prefixHits: number;
  readonly preemptions: number;
}

export interface StepPlan {
  readonly durationMs: number;
  readonly prefillTokens: number;
  readonly decodeSequences: number;
}

/** Who looks at a step. */
export interface StepObserver {
  /** A step was planned, and will be computed: each sequence says what it has in it (`planned`, `plannedDecode`). */
  planned(running: readonly Sequence[]): void;
}

export interface Engine {
  /** @throws if the id is taken, or the sequence would not fit into the KV cache alone and so never end. */
  add(request: EngineRequest): void;
  /** True if it was there. Also between planStep and finishStep: its token is then not told. */
  abort(id: string): boolean;
  /** Decides the next step, or undefined when there is nothing to do. */
  planStep(): StepPlan | undefined;
  /** The planned step is over: its tokens. */
  finishStep(): readonly TokenEvent[];
  gauges(): EngineGauges;
  /** Tokens of the leading blocks that the prefix cache has now. Only looks: nothing is used by it. */
  cachedTokens(prefixHashes: readonly string[]): number;
}
