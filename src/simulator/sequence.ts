/** A request in the engine: one sequence of tokens, and how far it is. */

export interface EngineRequest {
  readonly id: string;
  /**
   * Hash of each full block of the prompt together with all before it. Those of the output may follow, where
   * the caller knows it: generated blocks are found again too.
   */
  readonly prefixHashes: readonly string[];
  /** At least 1. */
  readonly promptTokens: number;
  /** Tokens after which the sequence ends. At least 1. */
  readonly outputTokens: number;
  /** Lower first, with priority scheduling. */
  readonly priority?: number;
}

export class Sequence {
  readonly request: EngineRequest;
  /** Place in the order of arrival. */
  readonly order: number;
  /** Lower first. */
  readonly priority: number;

  // What it has.
  /** KV blocks in the order of the tokens; those of a found prefix are shared with others. */
  readonly blocks: number[] = [];
  /** Tokens whose KV is computed. */
  computed = 0;
  /** Tokens generated so far; they survive a preemption and are computed again. */
  generated = 0;
  /** Leading blocks that others can find. */
  published = 0;
  /** Undefined until first admitted. */
  cachedTokens: number | undefined;

  // Where it is.
  running = false;
  /** Tokens of this sequence in the planned step. */
  planned = 0;
  plannedDecode = false;

  constructor(request: EngineRequest, order: number, priority: number) {
    this.request = request;
    this.order = order;
    this.priority = priority;
  }

  /** Tokens of the prompt and those generated: all that it has to compute. */
  knownTokens(): number {
    return this.request.promptTokens + this.generated;
  }

  isInPrefill(): boolean {
    return this.computed < this.request.promptTokens;
  }
}

/** The most important first: by priority, then by arrival. */
export const byImportance = (a: Sequence, b: Sequence): number =>
  a.priority - b.priority || a.order - b.order;
