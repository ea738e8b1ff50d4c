/**
 * The step model of vLLM V1's scheduler. A step first serves the running sequences (one token each, or the next chunk
 * of a prompt), then admits waiting ones while tokens, sequences and KV blocks last. When a running sequence gets no
 * block, the last admitted one is preempted: its blocks are freed and it computes again from the start. Full blocks are
 * found again by the hash of their whole prefix; free ones keep their contents until they are needed.
 *
 * Time is an argument: the caller plans a step, waits for its duration and finishes it.
 */
import type { EngineProfile } from './profile.ts';

interface EngineRequest {
  readonly id: string;
  /** Hash of each full block of the prompt together with all before it. */
  readonly prefixHashes: readonly string[];
  readonly promptTokens: number;
  /** Tokens after which the sequence ends. At least 1. */
  readonly outputTokens: number;
  /** Lower first, with priority scheduling. */
  readonly priority?: number;
}

interface TokenEvent {
  readonly id: string;
  /** 0 for the first token. */
  readonly index: number;
  readonly last: boolean;
  /** Prompt tokens that the prefix cache had. */
  readonly cachedTokens: number;
}

export interface EngineGauges {
  readonly running: number;
  readonly waiting: number;
  /** Part of the KV blocks in use, 0 to 1. */
  readonly kvUsage: number;
  /** Prompt tokens looked up in the prefix cache, and found there. */
  readonly prefixQueries: number;
  readonly prefixHits: number;
  readonly preemptions: number;
}

interface StepPlan {
  readonly durationMs: number;
  readonly prefillTokens: number;
  readonly decodeSequences: number;
}

export interface Engine {
  add(request: EngineRequest): void;
  /** True if it was there. */
  abort(id: string): boolean;
  /** Decides the next step, or undefined when there is nothing to do. */
  planStep(): StepPlan | undefined;
  /** The planned step is over: its tokens. */
  finishStep(): readonly TokenEvent[];
  gauges(): EngineGauges;
}

interface Sequence {
  readonly request: EngineRequest;
  readonly order: number;
  readonly priority: number;
  /** Tokens whose KV is computed. */
  computed: number;
  /** Tokens generated so far; they survive a preemption and are computed again. */
  generated: number;
  blocks: number;
  /** Blocks of the prompt that are shared through the cache. */
  shared: string[];
  cachedTokens: number;
  firstLookup: boolean;
  running: boolean;
  /** Tokens of this sequence in the planned step. */
  planned: number;
  plannedDecode: boolean;
}

export function createEngine(profile: EngineProfile): Engine {
  const { blockTokens, maxSequences, tokensPerStep, kvBlocks } = profile;
  const sequences = new Map<string, Sequence>();
  let running: Sequence[] = [];
  let waiting: Sequence[] = [];
  let order = 0;
  let planned = false;
  /** Blocks that no sequence uses and whose content nobody may find again. */
  let freeBlocks = kvBlocks;
  /** Cached blocks: how many sequences use each. Unused ones are evicted oldest first. */
  const cached = new Map<string, number>();
  const evictable = new Set<string>();
  let prefixQueries = 0;
  let prefixHits = 0;
  let preemptions = 0;

  const takeBlocks = (count: number): boolean => {
    if (freeBlocks + evictable.size < count) return false;
    for (const hash of evictable) {
      if (freeBlocks >= count) break;
      evictable.delete(hash);
      cached.delete(hash);
      freeBlocks += 1;
    }
    freeBlocks -= count;
    return true;
  };

  const release = (sequence: Sequence): void => {
    for (const hash of sequence.shared) {
      const users = (cached.get(hash) ?? 1) - 1;
      cached.set(hash, users);
      if (users === 0) {
        evictable.delete(hash);
        evictable.add(hash);
      }
    }
    freeBlocks += sequence.blocks - sequence.shared.length;
    sequence.blocks = 0;
    sequence.shared = [];
    sequence.computed = 0;
  };

  /** Blocks for `tokens` more computed tokens. */
  const grow = (sequence: Sequence, tokens: number): boolean => {
    const needed = Math.ceil((sequence.computed + tokens) / blockTokens) - sequence.blocks;
    if (needed <= 0) return true;
    if (!takeBlocks(needed)) return false;
    sequence.blocks += needed;
    return true;
  };

  /** Finds the longest cached prefix; the prompt's last token is always computed. */
  const lookUp = (sequence: Sequence): void => {
    const { prefixHashes, promptTokens } = sequence.request;
    const most = Math.floor((promptTokens - 1) / blockTokens);
    let hits = 0;
    while (hits < most && hits < prefixHashes.length && cached.has(prefixHashes[hits] ?? '')) hits += 1;
    for (let i = 0; i < hits; i += 1) {
      const hash = prefixHashes[i] ?? '';
      cached.set(hash, (cached.get(hash) ?? 0) + 1);
      evictable.delete(hash);
      sequence.shared.push(hash);
    }
    sequence.blocks = hits;
    sequence.computed = hits * blockTokens;
    if (!sequence.firstLookup) return;
    sequence.firstLookup = false;
    sequence.cachedTokens = sequence.computed;
    prefixQueries += promptTokens;
    prefixHits += sequence.computed;
  };

  /** Blocks of the prompt that are computed now can be found by others. */
  const publish = (sequence: Sequence): void => {
    const { prefixHashes } = sequence.request;
    const full = Math.min(prefixHashes.length, Math.floor(sequence.computed / blockTokens));
    for (let i = sequence.shared.length; i < full; i += 1) {
      const hash = prefixHashes[i] ?? '';
      // Two sequences computed the same block in one step: the second keeps its own copy.
      if (cached.has(hash)) return;
      cached.set(hash, 1);
      sequence.shared.push(hash);
    }
  };

  let plannedPrefill = 0;
  let plannedDecodes = 0;
  let budget = 0;
  const plan = (sequence: Sequence, tokens: number): void => {
    sequence.planned = tokens;
    sequence.plannedDecode = remaining(sequence) === 1 && sequence.generated > 0;
    budget -= tokens;
    if (sequence.plannedDecode) plannedDecodes += 1;
    else plannedPrefill += tokens;
  };
  /** A preempted sequence computes nothing in this step. */
  const unplan = (sequence: Sequence): void => {
    if (sequence.planned === 0) return;
    budget += sequence.planned;
    if (sequence.plannedDecode) plannedDecodes -= 1;
    else plannedPrefill -= sequence.planned;
    sequence.planned = 0;
  };

  const preempt = (): Sequence | undefined => {
    let victim: Sequence | undefined;
    for (const one of running) {
      if (
        victim === undefined ||
        one.priority > victim.priority ||
        (one.priority === victim.priority && one.order > victim.order)
      ) {
        victim = one;
      }
    }
    if (victim === undefined) return undefined;
    running = running.filter((one) => one !== victim);
    victim.running = false;
    unplan(victim);
    release(victim);
    waiting.unshift(victim);
    preemptions += 1;
    return victim;
  };

  const remaining = (sequence: Sequence): number =>
    sequence.request.promptTokens + sequence.generated - sequence.computed;

  return {
    add(request) {
      const sequence: Sequence = {
        request,
        order,
        priority: profile.scheduling === 'priority' ? (request.priority ?? 0) : 0,
        computed: 0,
        generated: 0,
        blocks: 0,
        shared: [],
        cachedTokens: 0,
        firstLookup: true,
        running: false,
        planned: 0,
        plannedDecode: false,
      };
      order += 1;
      sequences.set(request.id, sequence);
      if (profile.scheduling === 'priority') {
        const at = waiting.findIndex((other) => other.priority > sequence.priority);
        if (at >= 0) {
          waiting.splice(at, 0, sequence);
          return;
        }
      }
      waiting.push(sequence);
    },

    abort(id) {
      const sequence = sequences.get(id);
      if (sequence === undefined) return false;
      sequences.delete(id);
      if (sequence.running) running = running.filter((one) => one !== sequence);
      else waiting = waiting.filter((one) => one !== sequence);
      release(sequence);
      return true;
    },

    planStep() {
      if (planned) throw new Error('the planned step is not finished');
      budget = tokensPerStep;
      plannedPrefill = 0;
      plannedDecodes = 0;
      let preempted = false;

      for (const sequence of [...running]) {
        if (budget === 0) break;
        if (!sequence.running) continue;
        const tokens = Math.min(budget, remaining(sequence));
        let fits = grow(sequence, tokens);
        while (!fits) {
          const victim = preempt();
          preempted = true;
          if (victim === undefined || victim === sequence) break;
          fits = grow(sequence, tokens);
        }
        if (fits) plan(sequence, tokens);
      }
      // vLLM admits nobody in a step that had to preempt.
      while (!preempted && budget > 0 && running.length < maxSequences) {
        const sequence = waiting[0];
        if (sequence === undefined) break;
        lookUp(sequence);
        const tokens = Math.min(budget, remaining(sequence));
        if (!grow(sequence, tokens)) {
          release(sequence);
          break;
        }
        waiting.shift();
        sequence.running = true;
        running.push(sequence);
        plan(sequence, tokens);
      }
      if (plannedPrefill === 0 && plannedDecodes === 0) return undefined;
      planned = true;
      return {
        durationMs:
          profile.stepBaseMs +
          profile.msPerPrefillToken * plannedPrefill +
          profile.msPerDecodeSequence * plannedDecodes,
        prefillTokens: plannedPrefill,
        decodeSequences: plannedDecodes,
      };
    },

    finishStep() {
      planned = false;
      const events: TokenEvent[] = [];
      const done: Sequence[] = [];
      for (const sequence of running) {
        if (sequence.planned === 0) continue;
        sequence.computed += sequence.planned;
        sequence.planned = 0;
        publish(sequence);
        if (remaining(sequence) > 0) continue;
        const index = sequence.generated;
        sequence.generated += 1;
        const last = sequence.generated >= sequence.request.outputTokens;
        events.push({ id: sequence.request.id, index, last, cachedTokens: sequence.cachedTokens });
        if (last) done.push(sequence);
      }
      for (const sequence of done) {
        sequences.delete(sequence.request.id);
        release(sequence);
      }
      if (done.length > 0) running = running.filter((one) => sequences.has(one.request.id));
      return events;
    },

    gauges: () => ({
      running: running.length,
      waiting: waiting.length,
      kvUsage: (kvBlocks - freeBlocks - evictable.size) / kvBlocks,
      prefixQueries,
      prefixHits,
      preemptions,
    }),
  };
}
