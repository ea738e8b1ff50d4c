/**
 * The step model of vLLM V1's scheduler (vllm/v1/core/sched/scheduler.py). A step first serves the running
 * sequences (one token each, or the next chunk of a prompt), then admits waiting ones while tokens, sequences
 * and KV blocks last. When a running sequence gets no block, the last admitted one (with priorities: the
 * least important) is preempted: its blocks are freed and it computes again from the start. Full blocks of
 * prompts are found again by the hash of their whole prefix; free ones keep their contents until they are
 * needed, the longest unused first.
 *
 * `ideal` scheduling is a floor for latencies, not a model of anything: a request of priority 0 is admitted
 * into the next step whatever the others hold, and nobody else's prompt is computed in its prefill's steps.
 *
 * Time is the caller's: it plans a step, lets its duration pass and finishes it.
 */
import { KvBlocks } from './kv-blocks.ts';
import type { EngineProfile } from './profile.ts';
import { byImportance, type EngineRequest, Sequence } from './sequence.ts';
import type { Engine, EngineGauges, StepObserver, StepPlan, TokenEvent } from './step.ts';

class StepEngine implements Engine {
  readonly #profile: EngineProfile;
  readonly #isIdeal: boolean;
  readonly #observer: StepObserver | undefined;
  readonly #blocks: KvBlocks;

  // Sequences.
  readonly #sequences = new Map<string, Sequence>();
  /** In the order of admission. */
  #running: Sequence[] = [];
  /**
   * By priority, then by arrival. What was preempted arrived before all that wait, so under FCFS it comes
   * first.
   */
  readonly #waiting: Sequence[] = [];
  #order = 0;

  // The step that is being planned, or was.
  #stepIsPlanned = false;
  #budget = 0;
  #plannedPrefill = 0;
  #plannedDecodes = 0;
  /** Blocks of a found prefix; one array for all lookups. */
  readonly #prefix: number[] = [];

  // Counters.
  #prefixQueries = 0;
  #prefixHits = 0;
  #preemptions = 0;

  constructor(profile: EngineProfile, observer: StepObserver | undefined) {
    this.#profile = profile;
    this.#observer = observer;
    this.#isIdeal = profile.scheduling === 'ideal';
    this.#blocks = new KvBlocks(profile.kvBlocks);
  }

  add(request: EngineRequest): void {
    const { id, promptTokens, outputTokens } = request;
    const { kvBlocks, scheduling } = this.#profile;
    if (this.#sequences.has(id)) throw new Error(`sequence ${id} is already in the engine`);
    // The KV of the last token is never needed.
    const blocks = this.#blocksFor(promptTokens + outputTokens - 1);
    if (promptTokens < 1 || outputTokens < 1 || blocks > kvBlocks) {
      throw new Error(`sequence ${id} needs ${blocks} KV blocks, the engine has ${kvBlocks}`);
    }
    const priority = scheduling === 'fcfs' ? 0 : (request.priority ?? 0);
    const sequence = new Sequence(request, this.#order, priority);
    this.#order += 1;
    this.#sequences.set(id, sequence);
    this.#enqueue(sequence);
  }

  abort(id: string): boolean {
    const sequence = this.#sequences.get(id);
    if (sequence === undefined) return false;
    this.#sequences.delete(id);
    const queue = sequence.running ? this.#running : this.#waiting;
    queue.splice(queue.indexOf(sequence), 1);
    this.#release(sequence);
    return true;
  }

  planStep(): StepPlan | undefined {
    if (this.#stepIsPlanned) throw new Error('the planned step is not finished');
    const { tokensPerStep, stepBaseMs, msPerPrefillToken, msPerDecodeSequence } = this.#profile;
    // A pass in which all that was served had to give way computes nothing, takes no time and is followed by
    // another.
    for (let preempted = true; preempted; ) {
      this.#budget = tokensPerStep;
      this.#plannedPrefill = 0;
      this.#plannedDecodes = 0;
      preempted = this.#serveRunning();
      // vLLM admits nobody in a step that had to preempt.
      if (!preempted) this.#admitWaiting();
      if (this.#plannedPrefill + this.#plannedDecodes > 0) {
        this.#stepIsPlanned = true;
        this.#observer?.planned(this.#running);
        return {
          durationMs:
            stepBaseMs +
            msPerPrefillToken * this.#plannedPrefill +
            msPerDecodeSequence * this.#plannedDecodes,
          prefillTokens: this.#plannedPrefill,
          decodeSequences: this.#plannedDecodes,
        };
      }
    }
    return undefined;
  }

  finishStep(): readonly TokenEvent[] {
    this.#stepIsPlanned = false;
    const events: TokenEvent[] = [];
    let ended = false;
    for (const sequence of this.#running) {
      if (sequence.planned === 0) continue;
      sequence.computed += sequence.planned;
      sequence.planned = 0;
      if (sequence.computed < sequence.knownTokens()) continue;
      const index = sequence.generated;
      sequence.generated += 1;
      const last = sequence.generated >= sequence.request.outputTokens;
      events.push({ id: sequence.request.id, index, last, cachedTokens: sequence.cachedTokens ?? 0 });
      if (!last) continue;
      ended = true;
      sequence.running = false;
      this.#sequences.delete(sequence.request.id);
      this.#release(sequence);
    }
    if (ended) this.#running = this.#running.filter((one) => one.running);
    return events;
  }

  cachedTokens(prefixHashes: readonly string[]): number {
    let blocks = 0;
    for (const hash of prefixHashes) {
      if (this.#blocks.find(hash) === undefined) break;
      blocks += 1;
    }
    return blocks * this.#profile.blockTokens;
  }

  gauges(): EngineGauges {
    return {
      running: this.#running.length,
      waiting: this.#waiting.length,
      kvUsage: 1 - this.#blocks.free() / this.#profile.kvBlocks,
      prefixQueries: this.#prefixQueries,
      prefixHits: this.#prefixHits,
      preemptions: this.#preemptions,
    };
  }

  /** Serves the running sequences. @returns true if somebody was preempted. */
  #serveRunning(): boolean {
    const othersPause = this.#firstIsDue();
    let preempted = false;
    let at = 0;
    while (at < this.#running.length && this.#budget > 0) {
      const sequence = this.#running[at];
      if (sequence === undefined) break;
      if (othersPause && sequence.isInPrefill() && !this.#isFirst(sequence)) {
        at += 1;
        continue;
      }
      const tokens = Math.min(this.#budget, sequence.knownTokens() - sequence.computed);
      while (sequence.running && !this.#grow(sequence, tokens)) {
        preempted = true;
        if (this.#preempt() < at) at -= 1;
      }
      // vLLM serves nobody after one that had to give way itself.
      if (!sequence.running) break;
      this.#plan(sequence, tokens);
      at += 1;
    }
    return preempted;
  }

  /** Admits waiting sequences in their order, up to the first that may not enter or does not fit. */
  #admitWaiting(): void {
    while (this.#budget > 0) {
      const [sequence] = this.#waiting;
      if (sequence === undefined || !this.#mayEnter(sequence)) return;
      this.#waiting.shift();
      if (this.#admit(sequence)) continue;
      this.#waiting.unshift(sequence);
      return;
    }
  }

  /**
   * Admits a sequence if all its tokens fit (vLLM's scheduler_reserve_full_isl, on by default), though only a
   * chunk may be computed now. The last token is always computed, even of a prompt that the cache has whole.
   */
  #admit(sequence: Sequence): boolean {
    const blocks = this.#blocks;
    const known = sequence.knownTokens();
    const unused = this.#findPrefix(sequence.request.prefixHashes, known);
    const prefix = this.#prefix;
    const needed = this.#blocksFor(known) - prefix.length + unused;
    while (
      this.#isFirst(sequence) &&
      needed > blocks.free() &&
      this.#running.some((one) => !this.#isFirst(one))
    ) {
      this.#preempt();
    }
    if (needed > blocks.free()) return false;

    for (const block of prefix) {
      blocks.share(block);
      sequence.blocks.push(block);
    }
    sequence.published = prefix.length;
    sequence.computed = prefix.length * this.#profile.blockTokens;
    if (sequence.cachedTokens === undefined) {
      sequence.cachedTokens = sequence.computed;
      this.#prefixQueries += known;
      this.#prefixHits += sequence.computed;
    }
    const tokens = Math.min(this.#budget, known - sequence.computed);
    this.#grow(sequence, tokens);
    sequence.running = true;
    this.#running.push(sequence);
    this.#plan(sequence, tokens);
    return true;
  }

  /** Fills `prefix` with the leading blocks that are found. @returns how many of them have no user. */
  #findPrefix(hashes: readonly string[], knownTokens: number): number {
    const most = Math.min(hashes.length, Math.floor((knownTokens - 1) / this.#profile.blockTokens));
    this.#prefix.length = 0;
    let unused = 0;
    while (this.#prefix.length < most) {
      const block = this.#blocks.find(hashes[this.#prefix.length] ?? '');
      if (block === undefined) break;
      if (this.#blocks.isUnused(block)) unused += 1;
      this.#prefix.push(block);
    }
    return unused;
  }

  /**
   * With ideal scheduling a slot is always there for priority 0, and its prompts are alone in their steps.
   */
  #mayEnter(sequence: Sequence): boolean {
    const { maxSequences } = this.#profile;
    if (!this.#isIdeal) return this.#running.length < maxSequences;
    if (this.#isFirst(sequence)) return true;
    return (
      this.#running.length < maxSequences - 1 &&
      !this.#running.some((one) => this.#isFirst(one) && one.isInPrefill())
    );
  }

  #isFirst(sequence: Sequence): boolean {
    return this.#isIdeal && sequence.priority === 0;
  }

  /** With ideal scheduling: a prompt of priority 0 is to be computed, so no other is. */
  #firstIsDue(): boolean {
    if (!this.#isIdeal) return false;
    const [next] = this.#waiting;
    if (next !== undefined && this.#isFirst(next)) return true;
    return this.#running.some((sequence) => this.#isFirst(sequence) && sequence.isInPrefill());
  }

  #enqueue(sequence: Sequence): void {
    const waiting = this.#waiting;
    let low = 0;
    let high = waiting.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const other = waiting[middle];
      if (other !== undefined && byImportance(other, sequence) < 0) low = middle + 1;
      else high = middle;
    }
    waiting.splice(low, 0, sequence);
  }

  /** Takes the blocks of the least important running sequence; gives its place in `running`. */
  #preempt(): number {
    const running = this.#running;
    let at = running.length - 1;
    if (this.#profile.scheduling !== 'fcfs') {
      running.forEach((one, i) => {
        const worst = running[at];
        if (worst !== undefined && byImportance(one, worst) > 0) at = i;
      });
    }
    for (const victim of running.splice(at, 1)) {
      victim.running = false;
      this.#unplan(victim);
      this.#release(victim);
      this.#enqueue(victim);
    }
    this.#preemptions += 1;
    return at;
  }

  /**
   * As in vLLM, blocks can be found from the moment they are scheduled: n choices of one prompt share it in
   * one step.
   */
  #plan(sequence: Sequence, tokens: number): void {
    const { prefixHashes } = sequence.request;
    const reached = Math.floor((sequence.computed + tokens) / this.#profile.blockTokens);
    const full = Math.min(prefixHashes.length, reached);
    for (; sequence.published < full; sequence.published += 1) {
      this.#blocks.publish(sequence.blocks[sequence.published] ?? 0, prefixHashes[sequence.published] ?? '');
    }
    sequence.planned = tokens;
    sequence.plannedDecode = tokens === 1 && sequence.generated > 0;
    this.#budget -= tokens;
    if (sequence.plannedDecode) this.#plannedDecodes += 1;
    else this.#plannedPrefill += tokens;
  }

  /**
   * A preempted sequence computes nothing in this step, so the blocks that it would have filled hold nothing
   * to find.
   */
  #unplan(sequence: Sequence): void {
    if (sequence.planned === 0) return;
    const computed = Math.floor(sequence.computed / this.#profile.blockTokens);
    for (let i = computed; i < sequence.published; i += 1) {
      const block = sequence.blocks[i] ?? 0;
      const hash = sequence.request.prefixHashes[i] ?? '';
      if (this.#blocks.find(hash) === block) this.#blocks.forget(block);
    }
    this.#budget += sequence.planned;
    if (sequence.plannedDecode) this.#plannedDecodes -= 1;
    else this.#plannedPrefill -= sequence.planned;
    sequence.planned = 0;
  }

  /** Takes the blocks that so many more tokens need. @returns false, and takes none, if there are too few. */
  #grow(sequence: Sequence, tokens: number): boolean {
    const needed = this.#blocksFor(sequence.computed + tokens) - sequence.blocks.length;
    if (needed > this.#blocks.free()) return false;
    for (let i = 0; i < needed; i += 1) sequence.blocks.push(this.#blocks.take());
    return true;
  }

  /**
   * Last block first, so that the end of a prefix is evicted before its beginning: the rest can still be
   * found.
   */
  #release(sequence: Sequence): void {
    for (let i = sequence.blocks.length - 1; i >= 0; i -= 1) this.#blocks.drop(sequence.blocks[i] ?? 0);
    sequence.blocks.length = 0;
    sequence.published = 0;
    sequence.computed = 0;
  }

  #blocksFor(tokens: number): number {
    return Math.ceil(tokens / this.#profile.blockTokens);
  }
}

/** @param observer is told of each step; it changes nothing. */
export const createEngine = (profile: EngineProfile, observer?: StepObserver): Engine =>
  new StepEngine(profile, observer);
