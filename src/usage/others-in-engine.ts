/**
 * What other replicas have in an engine, by what they tell now and then (domain/engine-use.ts).
 *
 * Between two words of theirs, they are thought to decode as they last said. Each word sets that right: they are told of sums, so
 * what was thought too little or too much until then is owed, and paid out of the time that comes. A word that does not go on
 * from the last one (others came or left) sets nothing right.
 */
import type { EngineUse } from '../domain/engine-use.ts';

/** No word sets right more than so much. */
const MOST_MS = 2_000;

/** The engine's time since the last word, as it was seen here. */
export interface TimeSeen {
  /** With requests of ours in it. */
  readonly ms: number;
  /** Of that, what decoding requests had. */
  readonly decodingMs: number;
  /** Our own decoding sequences, in the mean. */
  readonly sequences: number;
}

export class OthersInEngine {
  /** Their sequences that decode, as far as is known. */
  decoding = 0;
  /** Time that is theirs before any of what comes is shared; what they got too much, if below zero. */
  owedMs = 0;
  /** What their prompts that are not computed yet are thought to cost; of that, what was set aside. */
  pendingMs = 0;
  #asideMs = 0;
  #last: EngineUse | undefined;
  #count = 0;
  #atMs = 0;

  /** Whether a word is news. */
  isNews(use: EngineUse | undefined): boolean {
    return use !== this.#last;
  }

  /** Hears of them. Gives what had not been known: sequences × ms, and prompt tokens. */
  heard(
    use: EngineUse | undefined,
    count: number,
    atMs: number,
    seen: TimeSeen,
  ): { readonly sequenceMs: number; readonly promptTokens: number } {
    const last = this.#last;
    const goesOn =
      last !== undefined &&
      use !== undefined &&
      this.#count === count &&
      isAfter(use, last) &&
      atMs >= this.#atMs;
    const passedMs = atMs - this.#atMs;
    this.#last = use;
    this.#count = count;
    this.#atMs = atMs;
    this.decoding = use?.decoding ?? 0;
    this.pendingMs = use?.pendingMs ?? 0;
    if (!goesOn) return NOTHING;
    const sequenceMs = use.sequenceMs - last.sequenceMs - last.decoding * passedMs;
    const promptTokens = use.promptTokens - last.promptTokens;
    if (!(passedMs > 0 && seen.ms > 0)) return { sequenceMs, promptTokens };
    // What ours got too much of was shared among those thought to be there; what is paid now, among those that are.
    const thought = Math.max(0.5, seen.sequences + last.decoding);
    const now = Math.max(0.5, seen.sequences + use.decoding);
    const ofDecodingMs = (sequenceMs / thought) * (seen.decodingMs / seen.ms);
    const promptMs = use.promptMs - last.promptMs;
    const fromAsideMs = Math.min(promptMs, this.#asideMs);
    this.#asideMs -= fromAsideMs;
    const owedMs =
      (((promptMs - fromAsideMs) * now) / thought + ofDecodingMs) * Math.min(1, seen.ms / passedMs);
    this.owedMs = Math.max(-MOST_MS, Math.min(MOST_MS, this.owedMs + owedMs));
    return { sequenceMs, promptTokens };
  }

  setAside(ms: number): void {
    this.#asideMs += ms;
  }

  /** Gives what was set aside, and their prompts cannot need. */
  released(): number {
    const overMs = Math.max(0, this.#asideMs - this.pendingMs);
    this.#asideMs -= overMs;
    return overMs;
  }

  /** None of ours is there any more. */
  left(): void {
    this.#asideMs = 0;
  }

  /** Gives what is ours and theirs together, of so much time: what is owed is paid first. */
  afterDebts(ms: number): number {
    const paidMs = Math.min(ms, this.owedMs);
    this.owedMs -= paidMs;
    return ms - paidMs;
  }
}

const NOTHING = { sequenceMs: 0, promptTokens: 0 };

const isAfter = (use: EngineUse, last: EngineUse): boolean =>
  use.sequenceMs >= last.sequenceMs && use.promptMs >= last.promptMs && use.promptTokens >= last.promptTokens;
