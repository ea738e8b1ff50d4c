/**
 * A rollout: part of the traffic goes to a canary arm, and all of it back to the stable one as soon as the canary is shown to be
 * worse.
 *
 * Split: a hash of the key (tenant or session) with the rollout's salt, compared with the weight. The same key always has the
 * same arm, a larger weight keeps every key that the canary had, and another salt draws anew. With few tenants the shares are
 * uneven: then the key should be the session.
 *
 * Gates: failures, and answers whose first token came late: later than `slowFactor` times the `slowQuantile` of the stable arm's
 * latest ones with a prompt of that size. Both are judged by the test in sequential.ts, so that what befalls both arms is not
 * held against the canary. Both together roll back an equal canary with a probability of at most `falseRollback`, in a
 * rollout of any length, as long as the keys of both arms send alike.
 *
 * How fast can it be? No test is sooner than its samples: at 20 requests/s and 10 % the canary ends two a second, and three of
 * them, which is the least that tells more than chance, take 1.5 s on average and 3.1 s at the 95th percentile of Poisson
 * arrivals. Simulated there, a canary that fails everything after half a good minute is rolled back 2.2 s after its first bad
 * request (median; 3.9 s at p95), one that fails half in 5 s, one that fails 5 % beside 1 % in two minutes; one that never
 * answers, in 3 s (tests/simulation/canary.test.ts). What a failed request took until it failed comes on top.
 *
 * After a rollback everything is stable until the configuration changes.
 */
import { createSequentialTest, type SequentialTest } from './sequential.ts';

export interface CanaryConfig {
  /** Another one is another draw. */
  readonly salt: string;
  /** The canary's part, 0 to 1. */
  readonly weight: number;
  /** Outcomes of the canary below which nothing is rolled back. */
  readonly minSamples: number;
  /** Probability of rolling back a canary that is as good as the stable arm. */
  readonly falseRollback: number;
  /** Quantile of the stable arm's times to first token, and how many times that is slow. */
  readonly slowQuantile: number;
  readonly slowFactor: number;
}

export const DEFAULT_CANARY: Omit<CanaryConfig, 'salt' | 'weight'> = {
  minSamples: 3,
  falseRollback: 0.008,
  slowQuantile: 0.95,
  slowFactor: 1.5,
};

type Arm = 'stable' | 'canary';
type Gate = 'failures' | 'ttft';

export interface RolledBack {
  readonly gate: Gate;
  readonly atMs: number;
  /** For the log: what was seen. */
  readonly detail: string;
}

export interface Canary {
  /** Where the request goes. Called once for each: the arms' shares are counted by it. */
  assign(key: string): Arm;
  /** The same, for a request that does not come. */
  wouldAssign(key: string): Arm;
  /**
   * Its end, as health/outcome.ts judges it: a failure is what the endpoint did. What says nothing is not told.
   *
   * @returns what is to be logged, once: when it rolls back.
   */
  ended(arm: Arm, failed: boolean, nowMs: number): RolledBack | undefined;
  /**
   * Its first token came; or it did not within slowAfterMs(), then `ttftMs` is the time until now. Told once for each request.
   */
  firstToken(arm: Arm, promptTokens: number, ttftMs: number, nowMs: number): RolledBack | undefined;
  /** From when on a request with such a prompt counts as slow; undefined while the stable arm has shown too little. */
  slowAfterMs(promptTokens: number): number | undefined;
  rolledBack(): RolledBack | undefined;
  /** The same configuration changes nothing; another weight only the weight; anything else is a new rollout. */
  reconfigure(config: CanaryConfig): void;
}

/** FNV-1a with the finaliser of MurmurHash3, for the low bits of short keys: 0 ≤ … < 1. */
export function positionOf(salt: string, key: string): number {
  let hash = 0x811c9dc5;
  const text = `${salt}\0${key}`;
  for (let i = 0; i < text.length; i += 1) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return ((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32;
}

/** Requests by which the arms' shares are known; before them, the configured weight counts for some. */
const SHARE_REQUESTS = 1_000;
const WEIGHT_COUNTS_FOR = 20;
/** Prompts of up to 64 tokens, and each class four times as long. */
const SMALLEST_CLASS = 64;
const CLASSES = 8;
const CLASS_STEP = 4;
/** Times of the stable arm that are kept for each class, and how many there have to be. */
const KEPT = 256;
const ENOUGH = 32;
/** The quantile is taken anew after so many. */
const RENEW_AFTER = 16;

const classOf = (promptTokens: number): number => {
  let limit = SMALLEST_CLASS;
  for (let at = 0; at < CLASSES - 1; at += 1) {
    if (promptTokens <= limit) return at;
    limit *= CLASS_STEP;
  }
  return CLASSES - 1;
};

interface SizeClass {
  /** A ring. */
  readonly times: Float64Array;
  seen: number;
  slowAfterMs: number | undefined;
}

interface State {
  config: CanaryConfig;
  requests: number;
  ofCanary: number;
  /** Of the canary. */
  readonly samples: Record<Gate, number>;
  readonly tests: Readonly<Record<Gate, SequentialTest>>;
  readonly classes: readonly SizeClass[];
  rolledBack: RolledBack | undefined;
}

/** Of the chance to be wrong, what each gate has: failures have to be seen soonest. */
const PART_OF: Readonly<Record<Gate, number>> = { failures: 0.7, ttft: 0.3 };

function begin(config: CanaryConfig): State {
  const testOf = (gate: Gate): SequentialTest => createSequentialTest(PART_OF[gate] * config.falseRollback);
  return {
    config,
    requests: 0,
    ofCanary: 0,
    samples: { failures: 0, ttft: 0 },
    tests: { failures: testOf('failures'), ttft: testOf('ttft') },
    classes: Array.from({ length: CLASSES }, () => ({
      times: new Float64Array(KEPT),
      seen: 0,
      slowAfterMs: undefined,
    })),
    rolledBack: undefined,
  };
}

export function createCanary(initial: CanaryConfig): Canary {
  let state = begin(initial);

  const shareNow = (): number => {
    const { requests, ofCanary, config } = state;
    return (ofCanary + config.weight * WEIGHT_COUNTS_FOR) / (requests + WEIGHT_COUNTS_FOR);
  };

  const judge = (
    gate: Gate,
    arm: Arm,
    isBad: boolean,
    words: () => string,
    nowMs: number,
  ): RolledBack | undefined => {
    const isCanary = arm === 'canary';
    if (isCanary) state.samples[gate] += 1;
    const test = state.tests[gate];
    if (!test.outcome(isCanary, isBad, shareNow())) return undefined;
    if (state.samples[gate] < state.config.minSamples) return undefined;
    const detail = `${words()}: ${Math.round(test.ratio())} times as likely of a worse canary as of an equal one`;
    state.rolledBack = { gate, atMs: nowMs, detail };
    return state.rolledBack;
  };

  const learn = (size: SizeClass, ttftMs: number): void => {
    size.times[size.seen % KEPT] = ttftMs;
    size.seen += 1;
    if (size.seen < ENOUGH || size.seen % RENEW_AFTER !== 0) return;
    const sorted = size.times.slice(0, Math.min(KEPT, size.seen)).sort();
    const { slowQuantile, slowFactor } = state.config;
    const at = Math.min(sorted.length - 1, Math.floor(slowQuantile * sorted.length));
    size.slowAfterMs = slowFactor * (sorted[at] ?? Number.POSITIVE_INFINITY);
  };

  const armOf = (key: string): Arm =>
    state.rolledBack === undefined && positionOf(state.config.salt, key) < state.config.weight
      ? 'canary'
      : 'stable';

  const sizeOf = (promptTokens: number): SizeClass | undefined => state.classes[classOf(promptTokens)];

  return {
    wouldAssign: armOf,
    assign(key) {
      if (state.rolledBack !== undefined) return 'stable';
      const arm = armOf(key);
      if (state.requests >= SHARE_REQUESTS) {
        state.requests /= 2;
        state.ofCanary /= 2;
      }
      state.requests += 1;
      if (arm === 'canary') state.ofCanary += 1;
      return arm;
    },
    ended(arm, failed, nowMs) {
      if (state.rolledBack !== undefined) return undefined;
      return judge('failures', arm, failed, () => 'failed requests', nowMs);
    },
    firstToken(arm, promptTokens, ttftMs, nowMs) {
      if (state.rolledBack !== undefined) return undefined;
      const size = sizeOf(promptTokens);
      if (size === undefined) return undefined;
      const { slowAfterMs } = size;
      if (arm === 'stable') learn(size, ttftMs);
      if (slowAfterMs === undefined) return undefined;
      const words = (): string => `first tokens after more than ${Math.round(slowAfterMs)} ms`;
      return judge('ttft', arm, ttftMs > slowAfterMs, words, nowMs);
    },
    slowAfterMs: (promptTokens) => sizeOf(promptTokens)?.slowAfterMs,
    rolledBack: () => state.rolledBack,
    reconfigure(next) {
      const { config } = state;
      const changed = (Object.keys(next) as (keyof CanaryConfig)[]).filter(
        (key) => next[key] !== config[key],
      );
      if (changed.length === 0) return;
      if (state.rolledBack !== undefined || changed.some((key) => key !== 'weight')) {
        state = begin(next);
        return;
      }
      state.config = next;
      // The shares change at once, and so do the odds of an event.
      state.requests = 0;
      state.ofCanary = 0;
    },
  };
}
