/**
 * How long a bad version goes on getting requests: a rollout at 20 requests/s, 10 % of them to a canary that is as good as the
 * stable version for half a minute and then fails everything. Virtual time, Poisson arrivals, every draw from a seed.
 */
import { type CanaryAssignment, createRollouts } from '../../src/rollout/rollouts.ts';

const RUNS = 41;
const REQUESTS_PER_SECOND = 20;
const WEIGHT = 0.1;
const GOOD_MS = 30_000;
const UNTIL_MS = 300_000;
/** What an answer takes: a failure is told sooner than an answer is complete. */
const ANSWER_MS = 1_200;
const FAILURE_MS = 50;

/** mulberry32: 0 ≤ … < 1. */
function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Milliseconds from the first bad answer's beginning to the last request that went to the bad version. */
function runOnce(seed: number): number {
  const random = randomOf(seed);
  const canary = {
    model: 'next',
    weight: WEIGHT,
    by: 'session',
    sessionHeader: 'x-session-id',
    salt: `${seed}`,
  } as const;
  const rollouts = createRollouts([{ name: 'now', canary }], () => undefined);
  /** Answers under way. */
  const ends: { readonly atMs: number; readonly trial: CanaryAssignment; readonly failed: boolean }[] = [];
  let lastMs = GOOD_MS;
  let nowMs = 0;
  for (let request = 0; nowMs < UNTIL_MS; request += 1) {
    nowMs += (-Math.log(1 - random()) * 1_000) / REQUESTS_PER_SECOND;
    ends.sort((a, b) => a.atMs - b.atMs);
    while ((ends[0]?.atMs ?? Number.POSITIVE_INFINITY) <= nowMs) {
      const end = ends.shift();
      end?.trial.ended(end.failed, end.atMs);
    }
    const session = `session ${request}`;
    const trial = rollouts.assign('now', { tenant: 'one', header: () => session }, () => true);
    if (trial === undefined) break;
    const failed = trial.model === 'next' && nowMs >= GOOD_MS;
    if (failed) lastMs = nowMs;
    ends.push({ atMs: nowMs + (failed ? FAILURE_MS : ANSWER_MS), trial, failed });
  }
  return lastMs - GOOD_MS;
}

/** Seconds from the start of the bad version to the last request sent to it: the median of the runs. */
export function measureRollback(): Promise<number> {
  const times = Array.from({ length: RUNS }, (_, seed) => runOnce(seed + 1)).sort((a, b) => a - b);
  return Promise.resolve((times[Math.floor(RUNS / 2)] ?? 0) / 1_000);
}
