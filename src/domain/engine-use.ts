/** What one replica's requests had of an engine, as it tells the other replicas. Sums since it began, so that none is lost on the way. */
export interface EngineUse {
  /** Sequences that decode now. */
  readonly decoding: number;
  /** What prompts that are not computed yet are thought to cost, in ms. */
  readonly pendingMs: number;
  /** Sequences that decoded × time, in ms. */
  readonly sequenceMs: number;
  /** What its prompts cost, in ms. */
  readonly promptMs: number;
  /** Prompt tokens that were computed. */
  readonly promptTokens: number;
}
