/**
 * Whose the time is in which an endpoint is busy. Pure arithmetic; each event takes O(1), however many requests there are.
 *
 * An endpoint is busy while at least one of our requests is in it. Its busy time B is divided at every moment:
 *
 *   decoding requests   weighted processor sharing by sequences: V = ∫ dt / Σ sequences, each has sequences × ΔV
 *   prompts             their part of B is set aside while they are computed: weight ÷ (Σ weights + Σ sequences) of each moment
 *
 * A prompt's weight is what it is thought to cost, its tokens × ms per token and one part of a step, in parts of a step. At its first
 * token it takes that cost out of what was set aside. What no prompt in the engine can need any more is the decoding requests'. So an
 * engine's queue, or a step that runs when a prompt comes, is nobody's prompt. An answer whose first token is not seen decodes from the
 * time on at which its prompt is thought to be computed.
 *
 * Invariants: the sum over requests is B (of those that have ended: when none is left); no part is negative; whatever the order of
 * events, the first end counts. A clock that goes back stands still.
 */
import type { EngineUse } from '../domain/engine-use.ts';
import { CachedPart } from './cached-part.ts';
import type { ClockedUse, GpuDemand, PromptUse, WindowMark } from './gpu-demand.ts';
import { OthersInEngine } from './others-in-engine.ts';
import { StepCosts } from './step-costs.ts';

/** A prompt waits for the step that runs, for half of it. */
const STEPS_OF_A_PROMPT = 1.5;

/** The time of one endpoint. */
export class GpuClock {
  readonly costs = new StepCosts();
  readonly #cachedPart = new CachedPart();
  #nowMs = Number.NEGATIVE_INFINITY;
  #busyMs = 0;
  /** Time that we and other replicas share, while ours are there. */
  #sharedMs = 0;
  /** Requests of ours, and their sequences. */
  #requests = 0;
  #sequences = 0;
  /** Sequences of strangers in the engine. */
  #strangers = 0;
  /** Other replicas, which share what is not the strangers'. */
  readonly #others = new OthersInEngine();
  #shownBusyMs = 0;
  /** Since others were heard of last. */
  #unheardMs = 0;
  #unheardDecodingMs = 0;
  #unheardSequenceMs = 0;

  // Decoding.
  #decoding = 0;
  /** V in two parts, the first a whole number: small steps count also after years. */
  #vWholeMs = 0;
  #vPartMs = 0;
  /** What the requests that decode have, all together. */
  #heldMs = 0;

  // Prompts.
  #prompts = 0;
  #weights = 0;
  #costsMs = 0;
  #asideMs = 0;
  /** An answer has told of cached tokens. */
  #saysCached = false;
  /** What a prompt of weight 1 had set aside so far. */
  #perWeightMs = 0;
  /** Answers in one piece whose prompts are computed, and the earliest time when one is thought to be over. */
  readonly #unseen = new Set<ClockedUse>();
  #nextSwitchMs = Number.POSITIVE_INFINITY;

  // What windows of streams are measured by.
  #sequenceMs = 0;
  #computedTokens = 0;
  // Of ours, for other replicas.
  #ownSequenceMs = 0;
  #promptMs = 0;
  #ownPromptTokens = 0;

  /** Time with at least one request of ours; the part of it that is ours, where others are there too. */
  busyMs(nowMs: number): number {
    this.#advance(nowMs);
    return this.#busyMs;
  }

  /** The same, as far as it is certain: it never goes back. */
  certainBusyMs(nowMs: number): number {
    this.#shownBusyMs = Math.max(this.#shownBusyMs, this.busyMs(nowMs));
    return this.#shownBusyMs;
  }

  /** @param sequences of strangers, as far as is known: busy time is ours by our part of all sequences. */
  setStrangers(sequences: number, nowMs: number): void {
    this.#advance(nowMs);
    this.#strangers = sequences > 0 && Number.isFinite(sequences) ? sequences : 0;
  }

  /** @param use what other replicas say of the engine, all together; undefined: nothing is known. @param atMs when that was heard. */
  heard(use: EngineUse | undefined, count: number, atMs: number, nowMs: number): void {
    if (!this.#others.isNews(use)) return;
    this.#advance(nowMs);
    const seen = {
      ms: this.#unheardMs,
      decodingMs: this.#unheardDecodingMs,
      sequences: this.#unheardMs > 0 ? this.#unheardSequenceMs / this.#unheardMs : 0,
    };
    const { sequenceMs, promptTokens } = this.#others.heard(use, count, atMs, seen);
    this.#sequenceMs += sequenceMs;
    this.#computedTokens += promptTokens;
    this.#unheardMs = 0;
    this.#unheardDecodingMs = 0;
    this.#unheardSequenceMs = 0;
  }

  /** What ours had, for other replicas. */
  use(nowMs: number): EngineUse {
    this.#advance(nowMs);
    return {
      decoding: this.#decoding,
      pendingMs: Math.floor(this.#costsMs),
      sequenceMs: Math.floor(this.#ownSequenceMs),
      promptMs: Math.floor(Math.max(0, this.#promptMs)),
      promptTokens: Math.floor(this.#ownPromptTokens),
    };
  }

  // For ClockedUse.

  begin(use: ClockedUse, nowMs: number): void {
    this.#advance(nowMs);
    const { sequences, prefillTokens, output } = use.demand;
    const promptTokens = this.#toCompute(use.demand);
    use.computedTokens = promptTokens;
    const all = this.#inStep + this.#strangers + 1;
    const stepMs = this.costs.stepMs(all);
    const partMs = stepMs / all;
    use.costMs = this.costs.msPerPromptToken * promptTokens + partMs;
    use.weight = use.costMs / partMs;
    use.aside = this.#perWeightMs;
    use.beganMs = this.#sharedMs;
    this.#requests += 1;
    this.#sequences += sequences;
    this.#prompts += 1;
    this.#weights += use.weight;
    this.#costsMs += use.costMs;
    if (output !== 'unseen') return;
    use.switchMs =
      this.#nowMs +
      STEPS_OF_A_PROMPT * stepMs +
      this.costs.msPerPromptToken * Math.max(promptTokens, prefillTokens);
    this.#unseen.add(use);
    this.#nextSwitchMs = Math.min(this.#nextSwitchMs, use.switchMs);
  }

  firstToken(use: ClockedUse, nowMs: number): void {
    this.#advance(nowMs);
    if (use.phase === 'prompt') this.#decode(use);
  }

  /**
   * Gives what it had here, in milliseconds.
   *
   * @param prompt as its engine says.
   */
  end(use: ClockedUse, nowMs: number, prompt?: PromptUse): number {
    this.#advance(nowMs);
    const computed = prompt === undefined ? use.computedTokens : this.#computed(use, prompt);
    let ms = use.phase === 'prompt' ? this.#takeSetAside(use) : this.#endDecoding(use, computed);
    this.#requests -= 1;
    this.#sequences -= use.demand.sequences;
    this.#release();
    if (this.#requests === 0) {
      this.#others.left();
      ms += this.#asideMs;
      this.#asideMs = 0;
    }
    return ms;
  }

  /** What a window of a stream is measured from. */
  mark(mark: WindowMark, nowMs: number): void {
    this.#advance(nowMs);
    mark.ms = this.#nowMs;
    mark.sequenceMs = this.#sequenceMs;
    mark.computedTokens = this.#computedTokens;
  }

  /** Learns from the time since the mark, in which so many tokens came. */
  learn(mark: WindowMark, tokens: number, nowMs: number): void {
    this.#advance(nowMs);
    const ms = this.#nowMs - mark.ms;
    const sequences = (this.#sequenceMs - mark.sequenceMs) / ms;
    const promptTokens = this.#computedTokens - mark.computedTokens;
    this.costs.learn({ ms, steps: tokens, sequences, promptTokens });
  }

  /** Tokens of a prompt that are thought to be computed. */
  #toCompute({ promptTokens, cached }: GpuDemand): number {
    const tokens = promptTokens - (typeof cached === 'number' ? cached : this.#cachedPart.of(cached));
    return tokens <= promptTokens ? Math.max(1, tokens) : promptTokens;
  }

  /** Tokens of a prompt that were computed. An engine that was never heard of cached ones may not say them. */
  #computed({ demand: { cached }, computedTokens }: ClockedUse, prompt: PromptUse): number {
    if (prompt.cachedTokens > 0) this.#saysCached = true;
    if (!this.#saysCached) return computedTokens;
    if (typeof cached === 'object') this.#cachedPart.learn(cached, prompt.cachedTokens);
    const computed = Math.max(1, prompt.promptTokens - prompt.cachedTokens);
    this.costs.doubt(computedTokens, computed);
    return computed;
  }

  #advance(nowMs: number): void {
    if (!Number.isFinite(nowMs)) return;
    while (nowMs >= this.#nextSwitchMs) this.#switch();
    this.#pass(nowMs);
  }

  /** Answers in one piece whose prompts are thought to be computed by now decode. */
  #switch(): void {
    const atMs = this.#nextSwitchMs;
    this.#pass(atMs);
    this.#nextSwitchMs = Number.POSITIVE_INFINITY;
    for (const use of this.#unseen) {
      if (use.switchMs <= atMs) this.#decode(use);
      else this.#nextSwitchMs = Math.min(this.#nextSwitchMs, use.switchMs);
    }
  }

  #pass(nowMs: number): void {
    const passedMs = nowMs - this.#nowMs;
    if (!(passedMs > 0)) return;
    this.#nowMs = nowMs;
    if (this.#requests === 0 || passedMs === Number.POSITIVE_INFINITY) return;
    this.#sequenceMs += passedMs * (this.#inStep + this.#strangers);
    this.#ownSequenceMs += passedMs * this.#decoding;
    const ms = (passedMs * this.#sequences) / (this.#sequences + this.#strangers);
    this.#sharedMs += ms;
    const theirs = this.#othersWeight();
    const all = this.#weights + theirs + this.#inStep;
    let decodingMs = ms;
    if (this.#weights > 0) {
      const asideMs = (ms * this.#weights) / all;
      this.#asideMs += asideMs;
      this.#busyMs += asideMs;
      this.#perWeightMs += asideMs / this.#weights;
      decodingMs -= asideMs;
    }
    if (theirs > 0) {
      const asideMs = (ms * theirs) / all;
      this.#others.setAside(asideMs);
      decodingMs -= asideMs;
    }
    this.#unheardMs += ms;
    this.#unheardSequenceMs += ms * this.#decoding;
    this.#unheardDecodingMs += decodingMs;
    if (this.#inStep > 0) {
      this.#shareDecoding(this.#others.afterDebts(decodingMs + this.#others.released()));
    }
    if (this.#weights > 0) this.#release();
  }

  /** Of prompts of other replicas. */
  #othersWeight(): number {
    const { pendingMs } = this.#others;
    const all = this.#inStep + 1;
    return pendingMs > 0 ? (pendingMs * all) / this.costs.stepMs(all) : 0;
  }

  /** Sequences that decode, of ours and of other replicas. */
  get #inStep(): number {
    return this.#decoding + this.#others.decoding;
  }

  /** @param ms of ours and of other replicas: theirs is none of our busy time. */
  #shareDecoding(ms: number): void {
    if (this.#decoding === 0) return;
    const ownMs = (ms * this.#decoding) / this.#inStep;
    this.#busyMs += ownMs;
    this.#heldMs += ownMs;
    this.#moveV(ownMs);
  }

  /** @param ms that those who decode have more, together; less, if below zero. */
  #moveV(ms: number): void {
    const part = this.#vPartMs + ms / this.#decoding;
    const whole = Math.floor(part);
    this.#vWholeMs += whole;
    this.#vPartMs = part - whole;
  }

  /** What prompts cannot need is the decoding requests'. */
  #release(): void {
    const overMs = this.#asideMs - this.#costsMs;
    if (this.#inStep === 0 || overMs <= 0) return;
    this.#asideMs = this.#costsMs;
    this.#busyMs -= overMs;
    this.#shareDecoding(overMs);
  }

  #decode(use: ClockedUse): void {
    this.#computedTokens += use.computedTokens;
    this.#ownPromptTokens += use.computedTokens;
    use.isByCost = this.#inStep > 0;
    use.takenMs = this.#takeSetAside(use, use.costMs);
    this.#promptMs += use.takenMs;
    this.#heldMs += use.takenMs;
    use.phase = 'decoding';
    use.vWholeMs = this.#vWholeMs;
    use.vPartMs = this.#vPartMs;
    this.#decoding += use.demand.sequences;
    this.#release();
  }

  /** @param costMs of a prompt that is computed; where nobody else decodes, or it is not computed, it has what was set aside for it. */
  #takeSetAside(use: ClockedUse, costMs?: number): number {
    const own = use.weight * (this.#perWeightMs - use.aside);
    const wanted = costMs === undefined || this.#inStep === 0 ? own : costMs;
    const ms = Math.max(0, Math.min(wanted, this.#asideMs, this.#sharedMs - use.beganMs));
    this.#asideMs -= ms;
    this.#prompts -= 1;
    this.#unseen.delete(use);
    if (this.#unseen.size === 0) this.#nextSwitchMs = Number.POSITIVE_INFINITY;
    // Sums of fractions drift.
    this.#weights = this.#prompts === 0 ? 0 : Math.max(use.weight * 1e-9, this.#weights - use.weight);
    this.#costsMs = this.#prompts === 0 ? 0 : Math.max(0, this.#costsMs - use.costMs);
    return ms;
  }

  /** What it has is within what all have; the difference to what was thought is the others'. */
  #endDecoding(use: ClockedUse, computedTokens: number): number {
    const { demand, takenMs } = use;
    const sinceMs = this.#vWholeMs - use.vWholeMs + (this.#vPartMs - use.vPartMs);
    const thoughtMs = takenMs + demand.sequences * sinceMs;
    this.#decoding -= demand.sequences;
    const inStep = this.#inStep;
    if (inStep === 0) return this.#takeHeld(this.#heldMs);
    const moreMs = this.#moreMs(use, computedTokens);
    const ms = this.#takeHeld(Math.max(0, Math.min(thoughtMs + moreMs, this.#heldMs)));
    this.#promptMs += moreMs;
    // Less of it is more for all others; other replicas hear of it.
    const lessMs = thoughtMs - ms;
    const elsewhereMs = Math.min(this.#heldMs, (lessMs * this.#others.decoding) / inStep);
    this.#heldMs -= elsewhereMs;
    this.#busyMs -= elsewhereMs;
    if (this.#decoding > 0) this.#moveV(lessMs - elsewhereMs);
    return this.#decoding > 0 ? ms : ms + this.#takeHeld(this.#heldMs);
  }

  #takeHeld(ms: number): number {
    this.#heldMs -= ms;
    return ms;
  }

  /** What a prompt costs more than was thought, as it is known how much of it was computed; less, if below zero. */
  #moreMs(use: ClockedUse, computedTokens: number): number {
    const moreMs = this.costs.msPerPromptToken * (computedTokens - use.computedTokens);
    return use.isByCost && Number.isFinite(moreMs) ? Math.max(-use.takenMs, moreMs) : 0;
  }
}
