/**
 * The step model of vLLM V1's scheduler (vllm/v1/core/sched/scheduler.py). A step first serves the running sequences (one
 * token each, or the next chunk of a prompt), then admits waiting ones while tokens, sequences and KV blocks last. When a
 * running sequence gets no block, the last admitted one (with priorities: the least important) is preempted: its blocks
 * are freed and it computes again from the start. Full blocks of prompts are found again by the hash of their whole
 * prefix; free ones keep their contents until they are needed, the longest unused first.
 *
 * `ideal` scheduling is a floor for latencies, not a model of anything: a request of priority 0 is admitted into the next
 * step whatever the others hold, and nobody else's prompt is computed in its prefill's steps.
 *
 * Time is the caller's: it plans a step, lets its duration pass and finishes it.
 */
import type { EngineProfile } from './profile.ts';

interface EngineRequest {
  readonly id: string;
  /**
   * Hash of each full block of the prompt together with all before it. Those of the output may follow, where the caller knows
   * it: generated blocks are found again too.
   */
  readonly prefixHashes: readonly string[];
  /** At least 1. */
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
  /** Prompt tokens that the prefix cache had when the sequence was first admitted. */
  readonly cachedTokens: number;
}

export interface EngineGauges {
  readonly running: number;
  readonly waiting: number;
  /** Part of the KV blocks in use, 0 to 1. */
  readonly kvUsage: number;
  /** Tokens looked up in the prefix cache, and found there. As in vLLM, a preempted sequence's return does not count. */
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

interface Sequence {
  readonly request: EngineRequest;
  /** Place in the order of arrival. */
  readonly order: number;
  readonly priority: number;
  /** KV blocks in the order of the tokens; those of a found prefix are shared with others. */
  readonly blocks: number[];
  /** Tokens whose KV is computed. */
  computed: number;
  /** Tokens generated so far; they survive a preemption and are computed again. */
  generated: number;
  /** Leading blocks that others can find. */
  published: number;
  /** Undefined until first admitted. */
  cachedTokens: number | undefined;
  running: boolean;
  /** Tokens of this sequence in the planned step. */
  planned: number;
  plannedDecode: boolean;
}

/**
 * The KV blocks. Free ones wait in one list in the order in which they were freed, as in vLLM's FreeKVCacheBlockQueue,
 * whether they hold something that can be found or not.
 * Invariant: a block is in the list exactly when it has no user.
 */
function createBlockPool(count: number) {
  const END = count;
  const next = new Int32Array(count + 1);
  const previous = new Int32Array(count + 1);
  const users = new Int32Array(count);
  const hashes: (string | undefined)[] = Array.from({ length: count });
  const found = new Map<string, number>();
  let free = count;
  for (let block = 0; block <= count; block += 1) {
    next[block] = block === END ? 0 : block + 1;
    previous[block] = block === 0 ? END : block - 1;
  }
  const link = (before: number, after: number): void => {
    next[before] = after;
    previous[after] = before;
  };
  const leaveList = (block: number): void => {
    link(previous[block] ?? END, next[block] ?? END);
    free -= 1;
  };
  const forget = (block: number): void => {
    const hash = hashes[block];
    if (hash === undefined) return;
    found.delete(hash);
    hashes[block] = undefined;
  };
  return {
    free: () => free,
    find: (hash: string) => found.get(hash),
    unused: (block: number) => users[block] === 0,
    /** The longest unused block, without its contents. The caller has seen that there is one. */
    take(): number {
      const block = next[END] ?? END;
      leaveList(block);
      forget(block);
      users[block] = 1;
      return block;
    },
    share(block: number): void {
      if (users[block] === 0) leaveList(block);
      users[block] = (users[block] ?? 0) + 1;
    },
    drop(block: number): void {
      const left = (users[block] ?? 1) - 1;
      users[block] = left;
      if (left > 0) return;
      link(previous[END] ?? END, block);
      link(block, END);
      free += 1;
    },
    /** Where two sequences hold the same tokens, the first one's block is found. */
    publish(block: number, hash: string): void {
      if (found.has(hash)) return;
      found.set(hash, block);
      hashes[block] = hash;
    },
    forget,
  };
}

const byImportance = (a: Sequence, b: Sequence): number => a.priority - b.priority || a.order - b.order;

export function createEngine(profile: EngineProfile): Engine {
  const { blockTokens, maxSequences, tokensPerStep, kvBlocks } = profile;
  const pool = createBlockPool(kvBlocks);
  const sequences = new Map<string, Sequence>();
  /** In the order of admission. */
  let running: Sequence[] = [];
  /** By priority, then by arrival. What was preempted arrived before all that wait, so under FCFS it comes first. */
  const waiting: Sequence[] = [];
  let order = 0;
  let stepIsPlanned = false;
  let prefixQueries = 0;
  let prefixHits = 0;
  let preemptions = 0;
  /** Of the step being planned. */
  let budget = 0;
  let plannedPrefill = 0;
  let plannedDecodes = 0;
  /** Blocks of a found prefix; one array for all lookups. */
  const prefix: number[] = [];

  const blocksFor = (tokens: number): number => Math.ceil(tokens / blockTokens);
  const knownTokens = (sequence: Sequence): number => sequence.request.promptTokens + sequence.generated;

  const enqueue = (sequence: Sequence): void => {
    let low = 0;
    let high = waiting.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const other = waiting[middle];
      if (other !== undefined && byImportance(other, sequence) < 0) low = middle + 1;
      else high = middle;
    }
    waiting.splice(low, 0, sequence);
  };

  /** Last block first, so that the end of a prefix is evicted before its beginning: the rest can still be found. */
  const release = (sequence: Sequence): void => {
    for (let i = sequence.blocks.length - 1; i >= 0; i -= 1) pool.drop(sequence.blocks[i] ?? 0);
    sequence.blocks.length = 0;
    sequence.published = 0;
    sequence.computed = 0;
  };

  const grow = (sequence: Sequence, tokens: number): boolean => {
    const needed = blocksFor(sequence.computed + tokens) - sequence.blocks.length;
    if (needed > pool.free()) return false;
    for (let i = 0; i < needed; i += 1) sequence.blocks.push(pool.take());
    return true;
  };

  /** As in vLLM, blocks can be found from the moment they are scheduled: n choices of one prompt share it in one step. */
  const plan = (sequence: Sequence, tokens: number): void => {
    const { prefixHashes } = sequence.request;
    const full = Math.min(prefixHashes.length, Math.floor((sequence.computed + tokens) / blockTokens));
    for (; sequence.published < full; sequence.published += 1) {
      pool.publish(sequence.blocks[sequence.published] ?? 0, prefixHashes[sequence.published] ?? '');
    }
    sequence.planned = tokens;
    sequence.plannedDecode = tokens === 1 && sequence.generated > 0;
    budget -= tokens;
    if (sequence.plannedDecode) plannedDecodes += 1;
    else plannedPrefill += tokens;
  };

  /** A preempted sequence computes nothing in this step, so the blocks that it would have filled hold nothing to find. */
  const unplan = (sequence: Sequence): void => {
    if (sequence.planned === 0) return;
    for (let i = Math.floor(sequence.computed / blockTokens); i < sequence.published; i += 1) {
      const block = sequence.blocks[i] ?? 0;
      if (pool.find(sequence.request.prefixHashes[i] ?? '') === block) pool.forget(block);
    }
    budget += sequence.planned;
    if (sequence.plannedDecode) plannedDecodes -= 1;
    else plannedPrefill -= sequence.planned;
    sequence.planned = 0;
  };

  /** Takes the blocks of the least important running sequence; gives its place in `running`. */
  const preempt = (): number => {
    let at = running.length - 1;
    if (profile.scheduling !== 'fcfs') {
      running.forEach((one, i) => {
        const worst = running[at];
        if (worst !== undefined && byImportance(one, worst) > 0) at = i;
      });
    }
    for (const victim of running.splice(at, 1)) {
      victim.running = false;
      unplan(victim);
      release(victim);
      enqueue(victim);
    }
    preemptions += 1;
    return at;
  };

  const ideal = profile.scheduling === 'ideal';
  const isFirst = (sequence: Sequence): boolean => ideal && sequence.priority === 0;
  const inPrefill = (sequence: Sequence): boolean => sequence.computed < sequence.request.promptTokens;
  /** With ideal scheduling: a prompt of priority 0 is to be computed, so no other is. */
  const firstIsDue = (): boolean =>
    ideal &&
    ((waiting[0] !== undefined && isFirst(waiting[0])) ||
      running.some((sequence) => isFirst(sequence) && inPrefill(sequence)));

  /** True if somebody was preempted. */
  const serveRunning = (): boolean => {
    const othersPause = firstIsDue();
    let preempted = false;
    let at = 0;
    while (at < running.length && budget > 0) {
      const sequence = running[at];
      if (sequence === undefined) break;
      if (othersPause && inPrefill(sequence) && !isFirst(sequence)) {
        at += 1;
        continue;
      }
      const tokens = Math.min(budget, knownTokens(sequence) - sequence.computed);
      while (sequence.running && !grow(sequence, tokens)) {
        preempted = true;
        if (preempt() < at) at -= 1;
      }
      // vLLM serves nobody after one that had to give way itself.
      if (!sequence.running) break;
      plan(sequence, tokens);
      at += 1;
    }
    return preempted;
  };

  /**
   * Admits a sequence if all its tokens fit (vLLM's scheduler_reserve_full_isl, on by default), though only a chunk may
   * be computed now. The last token is always computed, even of a prompt that the cache has whole.
   */
  const admit = (sequence: Sequence): boolean => {
    const { prefixHashes } = sequence.request;
    const known = knownTokens(sequence);
    const most = Math.min(prefixHashes.length, Math.floor((known - 1) / blockTokens));
    prefix.length = 0;
    let unused = 0;
    while (prefix.length < most) {
      const block = pool.find(prefixHashes[prefix.length] ?? '');
      if (block === undefined) break;
      if (pool.unused(block)) unused += 1;
      prefix.push(block);
    }
    const needed = blocksFor(known) - prefix.length + unused;
    while (isFirst(sequence) && needed > pool.free() && running.some((one) => !isFirst(one))) preempt();
    if (needed > pool.free()) return false;

    for (const block of prefix) {
      pool.share(block);
      sequence.blocks.push(block);
    }
    sequence.published = prefix.length;
    sequence.computed = prefix.length * blockTokens;
    if (sequence.cachedTokens === undefined) {
      sequence.cachedTokens = sequence.computed;
      prefixQueries += known;
      prefixHits += sequence.computed;
    }
    const tokens = Math.min(budget, known - sequence.computed);
    grow(sequence, tokens);
    sequence.running = true;
    running.push(sequence);
    plan(sequence, tokens);
    return true;
  };

  /** With ideal scheduling a slot is always there for priority 0, and its prompts are alone in their steps. */
  const mayEnter = (sequence: Sequence): boolean => {
    if (!ideal) return running.length < maxSequences;
    if (isFirst(sequence)) return true;
    return running.length < maxSequences - 1 && !running.some((one) => isFirst(one) && inPrefill(one));
  };

  return {
    add(request) {
      if (sequences.has(request.id)) throw new Error(`sequence ${request.id} is already in the engine`);
      // The KV of the last token is never needed.
      const blocks = blocksFor(request.promptTokens + request.outputTokens - 1);
      if (request.promptTokens < 1 || request.outputTokens < 1 || blocks > kvBlocks) {
        throw new Error(`sequence ${request.id} needs ${blocks} KV blocks, the engine has ${kvBlocks}`);
      }
      const sequence: Sequence = {
        request,
        order,
        priority: profile.scheduling === 'fcfs' ? 0 : (request.priority ?? 0),
        blocks: [],
        computed: 0,
        generated: 0,
        published: 0,
        cachedTokens: undefined,
        running: false,
        planned: 0,
        plannedDecode: false,
      };
      order += 1;
      sequences.set(request.id, sequence);
      enqueue(sequence);
    },

    abort(id) {
      const sequence = sequences.get(id);
      if (sequence === undefined) return false;
      sequences.delete(id);
      const queue = sequence.running ? running : waiting;
      queue.splice(queue.indexOf(sequence), 1);
      release(sequence);
      return true;
    },

    planStep() {
      if (stepIsPlanned) throw new Error('the planned step is not finished');
      // A pass in which all that was served had to give way computes nothing, takes no time and is followed by another.
      for (let preempted = true; preempted; ) {
        budget = tokensPerStep;
        plannedPrefill = 0;
        plannedDecodes = 0;
        preempted = serveRunning();
        // vLLM admits nobody in a step that had to preempt.
        while (!preempted && budget > 0) {
          const [sequence] = waiting;
          if (sequence === undefined || !mayEnter(sequence)) break;
          waiting.shift();
          if (admit(sequence)) continue;
          waiting.unshift(sequence);
          break;
        }
        if (plannedPrefill + plannedDecodes > 0) {
          stepIsPlanned = true;
          return {
            durationMs:
              profile.stepBaseMs +
              profile.msPerPrefillToken * plannedPrefill +
              profile.msPerDecodeSequence * plannedDecodes,
            prefillTokens: plannedPrefill,
            decodeSequences: plannedDecodes,
          };
        }
      }
      return undefined;
    },

    finishStep() {
      stepIsPlanned = false;
      const events: TokenEvent[] = [];
      let ended = false;
      for (const sequence of running) {
        if (sequence.planned === 0) continue;
        sequence.computed += sequence.planned;
        sequence.planned = 0;
        if (sequence.computed < knownTokens(sequence)) continue;
        const index = sequence.generated;
        sequence.generated += 1;
        const last = sequence.generated >= sequence.request.outputTokens;
        events.push({ id: sequence.request.id, index, last, cachedTokens: sequence.cachedTokens ?? 0 });
        if (!last) continue;
        ended = true;
        sequence.running = false;
        sequences.delete(sequence.request.id);
        release(sequence);
      }
      if (ended) running = running.filter((one) => one.running);
      return events;
    },

    cachedTokens(prefixHashes) {
      let blocks = 0;
      for (const hash of prefixHashes) {
        if (pool.find(hash) === undefined) break;
        blocks += 1;
      }
      return blocks * blockTokens;
    },

    gauges: () => ({
      running: running.length,
      waiting: waiting.length,
      kvUsage: 1 - pool.free() / kvBlocks,
      prefixQueries,
      prefixHits,
      preemptions,
    }),
  };
}
