/**
 * A rollout: part of the traffic goes to a canary arm, and all of it back to the stable one as soon as the canary is shown to be
 * worse.
 *
 * Split: a hash of the key (tenant or session) with the rollout's salt, compared with the weight. The same key always has the
 * same arm, a larger weight keeps every key that the canary had, and another salt draws anew. With few tenants the parts are
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
import { SlowThreshold } from './slow-threshold.ts';

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
  /** Where the request goes. Called once for each: what each arm gets is counted by it. */
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

/** Requests by which the arms' parts of the traffic are known; before them, the configured weight counts for some. */
const COUNTED_REQUESTS = 1_000;
const WEIGHT_COUNTS_FOR = 20;

/** Of the chance to be wrong, what each gate has: failures have to be seen soonest. */
const PART_OF: Readonly<Record<Gate, number>> = { failures: 0.7, ttft: 0.3 };

/** What a rollout has seen. A new rollout begins with a new one. */
class Evidence {
  /** Of both arms, and of the canary: counted lately. */
  requests = 0;
  ofCanary = 0;
  /** Outcomes of the canary. */
  readonly samples: Record<Gate, number> = { failures: 0, ttft: 0 };
  readonly tests: Readonly<Record<Gate, SequentialTest>>;
  readonly threshold: SlowThreshold;
  rolledBack: RolledBack | undefined = undefined;

  constructor(config: CanaryConfig) {
    const testOf = (gate: Gate): SequentialTest => createSequentialTest(PART_OF[gate] * config.falseRollback);
    this.tests = { failures: testOf('failures'), ttft: testOf('ttft') };
    this.threshold = new SlowThreshold(config);
  }
}

/** Life: running, then rolled back, for ever; `reconfigure` may begin it anew. */
class RunningCanary implements Canary {
  private config: CanaryConfig;
  private evidence: Evidence;

  constructor(config: CanaryConfig) {
    this.config = config;
    this.evidence = new Evidence(config);
  }

  wouldAssign(key: string): Arm {
    const { salt, weight } = this.config;
    return this.evidence.rolledBack === undefined && positionOf(salt, key) < weight ? 'canary' : 'stable';
  }

  assign(key: string): Arm {
    const { evidence } = this;
    if (evidence.rolledBack !== undefined) return 'stable';
    const arm = this.wouldAssign(key);
    if (evidence.requests >= COUNTED_REQUESTS) {
      evidence.requests /= 2;
      evidence.ofCanary /= 2;
    }
    evidence.requests += 1;
    if (arm === 'canary') evidence.ofCanary += 1;
    return arm;
  }

  ended(arm: Arm, failed: boolean, nowMs: number): RolledBack | undefined {
    if (this.evidence.rolledBack !== undefined || !this.proves('failures', arm, failed)) return undefined;
    return this.rollBack('failures', 'failed requests', nowMs);
  }

  firstToken(arm: Arm, promptTokens: number, ttftMs: number, nowMs: number): RolledBack | undefined {
    const { threshold, rolledBack } = this.evidence;
    if (rolledBack !== undefined) return undefined;
    const slowAfterMs = threshold.slowAfterMs(promptTokens);
    if (arm === 'stable') threshold.learn(promptTokens, ttftMs);
    if (slowAfterMs === undefined || !this.proves('ttft', arm, ttftMs > slowAfterMs)) return undefined;
    return this.rollBack('ttft', `first tokens after more than ${Math.round(slowAfterMs)} ms`, nowMs);
  }

  slowAfterMs(promptTokens: number): number | undefined {
    return this.evidence.threshold.slowAfterMs(promptTokens);
  }

  rolledBack(): RolledBack | undefined {
    return this.evidence.rolledBack;
  }

  reconfigure(next: CanaryConfig): void {
    const { config, evidence } = this;
    const changed = (Object.keys(next) as (keyof CanaryConfig)[]).filter((key) => next[key] !== config[key]);
    if (changed.length === 0) return;
    this.config = next;
    if (evidence.rolledBack !== undefined || changed.some((key) => key !== 'weight')) {
      this.evidence = new Evidence(next);
      return;
    }
    // The parts change at once, and so do the odds of an event.
    evidence.requests = 0;
    evidence.ofCanary = 0;
  }

  /** The canary's part of the traffic, as counted. */
  private partNow(): number {
    const { requests, ofCanary } = this.evidence;
    return (ofCanary + this.config.weight * WEIGHT_COUNTS_FOR) / (requests + WEIGHT_COUNTS_FOR);
  }

  /** Whether the outcome proves the canary worse, on enough samples. */
  private proves(gate: Gate, arm: Arm, isBad: boolean): boolean {
    const { samples, tests } = this.evidence;
    const isCanary = arm === 'canary';
    if (isCanary) samples[gate] += 1;
    return tests[gate].outcome(isCanary, isBad, this.partNow()) && samples[gate] >= this.config.minSamples;
  }

  private rollBack(gate: Gate, what: string, nowMs: number): RolledBack {
    const { evidence } = this;
    const ratio = Math.round(evidence.tests[gate].ratio());
    const detail = `${what}: ${ratio} times as likely of a worse canary as of an equal one`;
    evidence.rolledBack = { gate, atMs: nowMs, detail };
    return evidence.rolledBack;
  }
}

export const createCanary = (config: CanaryConfig): Canary => new RunningCanary(config);
