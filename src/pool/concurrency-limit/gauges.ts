/**
 * How many requests an endpoint may have in flight: as many as its engine runs at once, so that its batch is full and its
 * own queue, which knows no tenants, is empty.
 *
 * An adaptive window is the smaller of two:
 * - The engine's room. Its gauges say it directly: with requests waiting it is what runs, without any it may be more.
 *   While the gauges are missing or not to be believed, it is judged from the times to first token: time beyond that of a
 *   step and the prompt, times the rate of releases, is what waits in the engine (Little's law; the rule of TCP Vegas,
 *   L. Brakmo and L. Peterson 1995, section 3).
 * - The room that limits on TTFT and ITL leave (SLO mode): the largest window with which nine in ten samples keep them.
 *
 * A larger size is only believed once it was full and nobody waited in the engine: such a trial suspends the reserve, or
 * the slots that are kept free would hide the limit. A size at which requests waited is remembered and tried again ever
 * less often, because each trial makes somebody wait.
 *
 * Invariant: 1 ≤ limit ≤ most.
 */

/** The largest of what was added in the last PEAK_MS, and up to as long before. */
function createPeak() {
  let current = 0;
  let previous = 0;
  let sinceMs = Number.NEGATIVE_INFINITY;
  return {
    before(nowMs: number): number {
      if (nowMs - sinceMs >= 2 * PEAK_MS) return 0;
      return nowMs - sinceMs >= PEAK_MS ? current : Math.max(current, previous);
    },
    add(value: number, nowMs: number): void {
      if (nowMs - sinceMs >= PEAK_MS) {
        previous = nowMs - sinceMs >= 2 * PEAK_MS ? 0 : current;
        current = 0;
        sinceMs = nowMs;
      }
      current = Math.max(current, value);
    },
  };
}

/** What an engine says of itself. */
export interface Gauges {
  /** Sequences in its batch. */
  readonly running: number;
  /** Requests in its own queue. */
  readonly waiting: number;
  /** Part of the KV cache in use, 0 to 1; undefined when it does not say. */
  readonly kvUsage?: number;
}

/** What the limit goes by. */
export type LimitSource = 'fixed' | 'gauges' | 'ttft';

export interface ConcurrencyLimit {
  /** Sequences that may be in flight. */
  limit(nowMs: number): number;
  source(): LimitSource;
  /** A larger size is on trial: requests above their fair share may fill all of it. */
  isProbing(): boolean;
  /** Something is about to be known: a trial is on, or requests wait. The gauges are worth reading sooner. */
  isEager(): boolean;
  /** How much the engine can run is not known yet: the limit is a guess, and quiet requests may exceed it. */
  isUnconfirmed(): boolean;
  /** A request found no room: only then is there a reason to widen it. */
  saturated(): void;
  /**
   * A scrape: what the engine said, or why it said nothing that can be used. `inFlight` is our own count; `certain` what of
   * it was there for sure, where replicas count together and hear of one another a moment later.
   */
  gauges(sample: Gauges | 'unusable', inFlight: number, nowMs: number, certain?: number): void;
  /** A request's first token. `promptTokens` includes what was being computed before it. */
  firstToken(ttftMs: number, promptTokens: number, inFlight: number, nowMs: number): void;
  /** Mean time between some tokens of a stream. */
  interToken(meanMs: number): void;
  /** Measured ÷ allowed, of a lane with limits on TTFT or ITL. */
  slo(ratio: number, nowMs: number): void;
  /** The engine itself says how many sequences it runs at once; undefined: it does not. */
  atMost(sequences: number | undefined): void;
}

export interface AdaptiveLimitOptions {
  /** The first guess. */
  readonly initial: number;
  /** Never more. */
  readonly most: number;
}

/** Gauges that do not move for so many scrapes, while requests come and go, are frozen. */
const FROZEN_AFTER = 8;
/** Gauges that know of fewer requests than half of ours for so many scrapes are wrong. */
const WRONG_AFTER = 4;
/** Scrapes without a usable sample until the window goes by the times instead. */
const MISSING_AFTER = 4;
const GROWTH = 1.25;
const FIRST_RETRY_MS = 60_000;
const MAX_RETRY_MS = 600_000;
/** Room that is short because of the KV cache changes with the requests, and times may mislead: tried again soon. */
const SHORT_RETRY_MS = 5_000;
const KV_FULL = 0.9;
/** What the engine says is a moment old: only the second look at a full trial counts. */
const FULL_LOOKS = 2;
/** A trial that does not fill any more ends after so many looks; the next begins after a pause that doubles. */
const TRIAL_LOOKS = 8;
const TRIAL_PAUSE_MS = 5_000;

/** The largest batch counts for so long, and up to twice as long. */
const PEAK_MS = 30_000;
/** As long as the longest prompt takes, about. */
const STEADY_LOOKS = 8;
/** Part of a full batch that may be between two requests. */
const BATCH_NOISE = 1 / 16;

const TTFT_ROUND_MS = 250;
const MIN_TTFT_SAMPLES = 5;
const SMOOTHING = 0.1;
/** Shorter prompts say nothing of what a token costs. */
const MIN_PROMPT_TOKENS = 64;
/** Part of the first tokens that have to be late before a waiting request is thought to wait for a slot. */
const LATE_PART = 0.4;
const LATE_SMOOTHING = 0.2;
/** First tokens that were seen longer ago say nothing of now. */
const TOKENS_AGE_MS = 5_000;
/** A first token is late from so many steps beyond the expected time on. */
const LATE_STEPS = 3;

const SLO_ROUND_MS = 1_000;
const MIN_SLO_SAMPLES = 20;
/** Part of the samples that has to keep the limits. */
const SLO_QUANTILE = 0.9;
/** Without samples of a lane with limits for so long, they bind nobody. */
const SLO_IDLE_MS = 10_000;

export const fixedLimit = (size: number): ConcurrencyLimit => ({
  limit: () => size,
  source: () => 'fixed',
  isProbing: () => false,
  isEager: () => false,
  isUnconfirmed: () => false,
  saturated() {},
  gauges() {},
  firstToken() {},
  interToken() {},
  slo() {},
  atMost() {},
});

const quantile = (sorted: readonly number[], q: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? 0;

/** The engine's room: the largest size that was full without anybody waiting, and when to try a larger one. */
function createRoom(initial: number, configured: number) {
  let most = configured;
  let size = Math.min(initial, most);
  let trial: { readonly size: number; looks: number; most: number; full: number } | undefined;
  /** Where requests waited last. */
  let ceiling = Number.POSITIVE_INFINITY;
  let retryAtMs = 0;
  let retryMs = FIRST_RETRY_MS;
  let pauseMs = TRIAL_PAUSE_MS;
  /** Beyond a known limit, by how much. */
  let step = 1;

  return {
    size: () => trial?.size ?? size,
    trying: () => trial !== undefined,
    isGuess: () =>
      (trial?.size ?? size) < most && (trial !== undefined || ceiling === Number.POSITIVE_INFINITY),
    atMost(sequences: number | undefined): void {
      most = Math.max(1, Math.min(configured, Math.floor(sequences ?? configured)));
      size = Math.min(size, most);
      if (trial !== undefined && trial.size > most) trial = undefined;
    },
    /** Requests wait in the engine, `ours` do not. */
    tooLarge(ours: number, forShort: boolean, nowMs: number): void {
      if (Number.isNaN(ours) || (trial === undefined && ours >= size)) return;
      trial = undefined;
      size = Math.min(most, Math.max(1, Math.floor(ours)));
      // The same place again: it is the engine's, and trials need not be frequent.
      const same = Math.abs(size - ceiling) <= Math.max(1, ceiling / 16);
      retryMs = forShort ? SHORT_RETRY_MS : same ? Math.min(MAX_RETRY_MS, retryMs * 2) : FIRST_RETRY_MS;
      ceiling = size;
      step = 1;
      retryAtMs = nowMs + retryMs;
    },
    /** Requests waited during a trial, but were not late: perhaps for the computation of a prompt. */
    inconclusive(nowMs: number): void {
      if (trial === undefined) return;
      trial = undefined;
      retryAtMs = Math.max(retryAtMs, nowMs + pauseMs);
      pauseMs = Math.min(MAX_RETRY_MS, pauseMs * 2);
    },
    /** Nobody waits in the engine, which has `inFlight` of ours. */
    nobodyWaits(inFlight: number, wanted: boolean, nowMs: number): void {
      if (trial !== undefined) {
        trial.looks = inFlight > trial.most ? 0 : trial.looks + 1;
        trial.most = Math.max(trial.most, inFlight);
        if (inFlight >= trial.size) trial.full += 1;
        if (trial.full >= FULL_LOOKS) {
          ({ size } = trial);
          pauseMs = TRIAL_PAUSE_MS;
          if (size > ceiling) {
            ceiling = size;
            retryMs = FIRST_RETRY_MS;
            step *= 2;
          }
          trial = undefined;
        } else if (trial.looks >= TRIAL_LOOKS) {
          trial = undefined;
          retryAtMs = Math.max(retryAtMs, nowMs + pauseMs);
          pauseMs = Math.min(MAX_RETRY_MS, pauseMs * 2);
        }
      }
      if (trial !== undefined || !wanted || size >= most || nowMs < retryAtMs) return;
      // Beyond a known limit by one at first: it is enough to see whether that one waits.
      const next = size < ceiling ? Math.min(ceiling, size * GROWTH + 1) : size + step;
      trial = { size: Math.min(most, Math.floor(next)), looks: 0, most: 0, full: 0 };
    },
  };
}

/** The largest window with which nine in ten samples of measured ÷ allowed are at most 1. */
function createSloLimit() {
  let limit = Number.POSITIVE_INFINITY;
  let samples: number[] = [];
  let roundMs: number | undefined;
  let lastMs = 0;
  return {
    limit(nowMs: number): number {
      if (nowMs - lastMs > SLO_IDLE_MS) limit = Number.POSITIVE_INFINITY;
      return limit;
    },
    add(ratio: number, current: number, pressed: boolean, nowMs: number): void {
      if (Number.isNaN(ratio)) return;
      lastMs = nowMs;
      roundMs ??= nowMs;
      samples.push(ratio);
      if (nowMs - roundMs < SLO_ROUND_MS || samples.length < MIN_SLO_SAMPLES) return;
      const worst = quantile(
        samples.sort((a, b) => a - b),
        SLO_QUANTILE,
      );
      samples = [];
      roundMs = nowMs;
      if (worst > 1) limit = Math.max(1, Math.min(limit, current) * Math.max(0.75, 1 - (worst - 1) / 2));
      else if (pressed) limit = Math.min(limit, current) * (1 + Math.min(0.1, (1 - worst) / 2)) + 0.25;
    },
  };
}

export function adaptiveLimit({ initial, most }: AdaptiveLimitOptions): ConcurrencyLimit {
  const room = createRoom(initial, most);
  const slo = createSloLimit();
  let isPressed = false;
  let inFlight = 0;

  let useGauges = false;
  let unusable = 0;
  let wrong = 0;
  let same = 0;
  let last: Gauges | undefined;
  /** Our own count has moved while the gauges have not. */
  let weMoved = false;
  const peak = createPeak();
  /** Looks in which the batch was as large, while requests waited. */
  let steady = { running: 0, looks: 0 };
  /** Samples in a row in which requests waited beside a full batch. */
  let waited = 0;
  /** Part of the first tokens, lately, that were later than a step and their prompts explain. */
  let late = 0;
  let lastFirstTokenMs: number | undefined;

  let itlMs: number | undefined;
  let msPerPromptToken: number | undefined;
  let excess: number[] = [];
  let roundMs: number | undefined;

  /** True if the sample can be believed. */
  const judge = (sample: Gauges, ours: number): boolean => {
    const moved =
      last === undefined ||
      last.running !== sample.running ||
      last.waiting !== sample.waiting ||
      last.kvUsage !== sample.kvUsage;
    last = sample;
    same = moved ? 0 : same + 1;
    weMoved = !moved && (weMoved || ours !== inFlight);
    const frozen = same >= FROZEN_AFTER && weMoved;
    wrong = sample.running + sample.waiting < ours / 2 - 1 ? wrong + 1 : 0;
    return !frozen && wrong < WRONG_AFTER;
  };

  /**
   * A batch that was larger of late, or grows while requests wait, has places: what waits, waits for the computation of prompts.
   * One that stays as it is for long has none, whatever it had before.
   */
  const isBatchFull = ({ running, waiting }: Gauges, nowMs: number): boolean => {
    const noise = Math.max(1, running * BATCH_NOISE);
    const before = peak.before(nowMs);
    peak.add(running, nowMs);
    if (waiting === 0 || Math.abs(running - steady.running) > noise) steady = { running, looks: 0 };
    else steady.looks += 1;
    const grows = running > before && waited > 0;
    return steady.looks >= STEADY_LOOKS || (running + noise >= before && !grows);
  };

  const goByGauges = (sample: Gauges, certain: number, nowMs: number): void => {
    const kvFull = (sample.kvUsage ?? 0) > KV_FULL;
    const isFull = kvFull || isBatchFull(sample, nowMs);
    waited = sample.waiting > 0 && isFull ? waited + 1 : 0;
    // What is beyond the largest batch of late, and a step more, would wait with any window: no reason for a larger one.
    const isCrowded = sample.waiting > 0 && sample.running + sample.waiting > GROWTH * peak.before(nowMs);
    if (waited === 0) room.nobodyWaits(certain, isPressed && !isCrowded, nowMs);
    isPressed = false;
    // One sample may catch requests on their way into the batch.
    if (waited < 2) return;
    // A request may also wait because a long prompt takes whole steps: then first tokens are no later than prompts explain.
    const seesTokens = lastFirstTokenMs !== undefined && nowMs - lastFirstTokenMs < TOKENS_AGE_MS;
    if (kvFull || !seesTokens || late > LATE_PART) {
      // Ours alone: others may use the engine too.
      const ours = Math.min(sample.running, Math.max(1, inFlight - sample.waiting));
      room.tooLarge(ours, kvFull, nowMs);
    } else if (waited >= TRIAL_LOOKS) room.inconclusive(nowMs);
  };

  const goByTimes = (nowMs: number): void => {
    if (roundMs === undefined || excess.length < MIN_TTFT_SAMPLES || nowMs - roundMs < TTFT_ROUND_MS) return;
    const perMs = excess.length / (nowMs - roundMs);
    const typical = quantile(
      excess.sort((a, b) => a - b),
      0.5,
    );
    excess = [];
    roundMs = nowMs;
    const waiting = typical * perMs;
    if (typical > LATE_STEPS * (itlMs ?? 0) && waiting > 1) {
      room.tooLarge(room.size() - Math.min(waiting, room.size() / 4), true, nowMs);
    } else room.nobodyWaits(inFlight, isPressed, nowMs);
    isPressed = false;
  };

  return {
    limit: (nowMs) => Math.max(1, Math.floor(Math.min(room.size(), slo.limit(nowMs)))),
    source: () => (useGauges ? 'gauges' : 'ttft'),
    isProbing: room.trying,
    isEager: () => waited > 0 || room.trying(),
    isUnconfirmed: room.isGuess,
    atMost: (sequences) => room.atMost(sequences),
    saturated() {
      isPressed = true;
    },
    gauges(sample, ours, nowMs, certain = ours) {
      if (sample === 'unusable') {
        unusable += 1;
        if (unusable >= MISSING_AFTER) useGauges = false;
        inFlight = ours;
        return;
      }
      unusable = 0;
      useGauges = judge(sample, ours);
      inFlight = ours;
      if (useGauges) goByGauges(sample, certain, nowMs);
    },
    firstToken(ttftMs, promptTokens, ours, nowMs) {
      const tokens = Math.max(1, promptTokens);
      const sample = Math.max(0, ttftMs - 2 * (itlMs ?? 0)) / Math.max(MIN_PROMPT_TOKENS, tokens);
      // Rises more slowly than it falls, and so settles near the lower quartile: what a prompt costs when nothing waits.
      const before = msPerPromptToken ?? sample;
      msPerPromptToken = before + (sample < before ? SMOOTHING : SMOOTHING / 3) * (sample - before);
      const promptMs = msPerPromptToken * Math.max(MIN_PROMPT_TOKENS, tokens);
      const isLate = ttftMs > promptMs + LATE_STEPS * (itlMs ?? 0);
      late += LATE_SMOOTHING * ((isLate ? 1 : 0) - late);
      lastFirstTokenMs = nowMs;
      if (useGauges) return;
      inFlight = Math.max(inFlight, ours);
      roundMs ??= nowMs;
      excess.push(Math.max(0, ttftMs - 2 * (itlMs ?? 0) - promptMs));
      goByTimes(nowMs);
    },
    interToken(meanMs) {
      itlMs = itlMs === undefined ? meanMs : itlMs + SMOOTHING * (meanMs - itlMs);
    },
    slo(ratio, nowMs) {
      slo.add(ratio, Math.min(room.size(), slo.limit(nowMs)), isPressed, nowMs);
    },
  };
}
