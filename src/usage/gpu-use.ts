/** One request's part of the time of its endpoints, wherever it goes. */
import type { ClockedUse, GpuDemand, PromptUse, WindowMark } from './gpu-demand.ts';
import type { GpuClock } from './gpu-seconds.ts';

export class GpuUse implements ClockedUse {
  readonly demand: GpuDemand;
  /** Where it is; undefined: nowhere any more. */
  #clock: GpuClock | undefined;
  /** On endpoints that it has left. */
  #ms = 0;
  readonly #mark: WindowMark = { ms: 0, sequenceMs: 0, computedTokens: 0 };

  // The clock's own.
  phase: 'prompt' | 'decoding' = 'prompt';
  /** Of its prompt, as was thought when it began. */
  computedTokens = 0;
  costMs = 0;
  weight = 0;
  /** As they were when it began there. */
  aside = 0;
  beganMs = 0;
  switchMs = Number.POSITIVE_INFINITY;
  /** When it began to decode: what it had until then, and V. */
  takenMs = 0;
  /** It took what it was thought to cost, as others decoded beside it. */
  isByCost = false;
  vWholeMs = 0;
  vPartMs = 0;

  /** It is released to an endpoint. */
  constructor(clock: GpuClock, demand: GpuDemand, nowMs: number) {
    this.demand = demand;
    this.#clock = demand.sequences > 0 ? clock : undefined;
    this.#clock?.begin(this, nowMs);
  }

  firstToken(nowMs: number): void {
    this.#clock?.firstToken(this, nowMs);
    this.#clock?.mark(this.#mark, nowMs);
  }

  /** So many tokens of each of its sequences came since the last call, or since the first token. */
  tokensCame(tokens: number, nowMs: number): void {
    this.#clock?.learn(this.#mark, tokens, nowMs);
    this.#clock?.mark(this.#mark, nowMs);
  }

  /** Another endpoint has it; its prompt is computed there from the start. */
  moveTo(clock: GpuClock, nowMs: number): void {
    if (this.#clock === undefined || clock === this.#clock) return;
    this.#ms += this.#clock.end(this, nowMs);
    this.phase = 'prompt';
    this.takenMs = 0;
    this.switchMs = Number.POSITIVE_INFINITY;
    this.#clock = clock;
    clock.begin(this, nowMs);
  }

  /**
   * It is in no engine any more: gives its part, in milliseconds. Later calls give the same.
   *
   * @param prompt as its engine says; undefined: it does not, or is not believed.
   */
  end(nowMs: number, prompt?: PromptUse): number {
    const clock = this.#clock;
    this.#clock = undefined;
    if (clock !== undefined) this.#ms += clock.end(this, nowMs, prompt);
    return this.#ms;
  }
}
