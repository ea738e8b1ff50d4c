/**
 * Rollouts in virtual time: how soon a bad version is rolled back, and how often an equal one is. Poisson arrivals at 20
 * requests a second, 10 % of them to the canary; each draw is from a seed, so that a failure can be looked at.
 */
import { describe, expect, it } from 'vitest';
import { createCanary, DEFAULT_CANARY, type RolledBack } from '../../src/rollout/canary.ts';

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

interface Version {
  /** Part of the requests that fail. */
  readonly fails: number;
  /** Median time to first token, in ms; log-normal with a sigma of 0.6. */
  readonly ttftMs: number;
}

interface World {
  readonly stable: Version;
  readonly canary: Version;
  /** The canary is as good as the stable one before. */
  readonly badFromMs: number;
  readonly untilMs: number;
  readonly weight?: number;
  readonly requestsPerSecond?: number;
  /** Both arms' failures and times in bursts: a part of the time, so many times the usual. */
  readonly bursts?: { readonly part: number; readonly fails: number; readonly slower: number };
  /** The key is one of so many, used as unevenly as 1/rank; absent: every request has its own. */
  readonly keys?: number;
}

interface Event {
  readonly atMs: number;
  readonly tell: () => RolledBack | undefined;
}

/** @returns the time of the rollback after badFromMs, or undefined. */
function rollOut(world: World, seed: number): number | undefined {
  const random = randomOf(seed);
  const { weight = 0.1, requestsPerSecond = 20, badFromMs, untilMs, bursts, keys } = world;
  const canary = createCanary({ ...DEFAULT_CANARY, salt: `seed ${seed}`, weight });
  /** In their order. */
  const events: Event[] = [];
  let nowMs = 0;
  const later = (event: Event): void => {
    let at = events.length;
    while (at > 0 && (events[at - 1]?.atMs ?? 0) > event.atMs) at -= 1;
    events.splice(at, 0, event);
  };
  const tellUntil = (untilThen: number): RolledBack | undefined => {
    while ((events[0]?.atMs ?? Number.POSITIVE_INFINITY) <= untilThen) {
      const back = events.shift()?.tell();
      if (back !== undefined) return back;
    }
    return undefined;
  };
  const parts = Array.from({ length: keys ?? 0 }, (_, i) => 1 / (i + 1));
  const total = parts.reduce((sum, part) => sum + part, 0);
  const keyOf = (request: number): string => {
    if (keys === undefined) return `request ${request}`;
    let left = random() * total;
    for (const [rank, part] of parts.entries()) {
      left -= part;
      if (left <= 0) return `tenant ${rank}`;
    }
    return 'tenant 0';
  };
  for (let request = 0; nowMs < untilMs; request += 1) {
    nowMs += (-Math.log(1 - random()) * 1_000) / requestsPerSecond;
    const back = tellUntil(nowMs);
    if (back !== undefined) return back.atMs - badFromMs;
    const arm = canary.assign(keyOf(request));
    const version = arm === 'canary' && nowMs >= badFromMs ? world.canary : world.stable;
    const isBurst = bursts !== undefined && Math.floor(nowMs / 2_000) % Math.round(1 / bursts.part) === 1;
    const fails = Math.max(version.fails, isBurst ? bursts.fails : 0);
    const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    const ttftMs = version.ttftMs * (isBurst ? bursts.slower : 1) * Math.exp(0.6 * normal);
    if (random() < fails) {
      const atMs = nowMs + 50;
      later({ atMs, tell: () => canary.ended(arm, true, atMs) });
      continue;
    }
    // What is late is told when it is late, not when it comes.
    const lateMs = Math.min(ttftMs, (canary.slowAfterMs(500) ?? Number.POSITIVE_INFINITY) + 1);
    const tokenMs = nowMs + lateMs;
    later({ atMs: tokenMs, tell: () => canary.firstToken(arm, 500, lateMs, tokenMs) });
    const endMs = nowMs + ttftMs + 1_000;
    later({ atMs: endMs, tell: () => canary.ended(arm, false, endMs) });
  }
  return undefined;
}

const GOOD: Version = { fails: 0.01, ttftMs: 200 };
const quantile = (sorted: readonly number[], part: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? Number.NaN;

/** Rollouts that were rolled back, of so many; how long it took, in ms after the version became bad. */
function rollOuts(world: World, runs: number, firstSeed: number) {
  const times: number[] = [];
  for (let seed = firstSeed; seed < firstSeed + runs; seed += 1) {
    const time = rollOut(world, seed);
    if (time !== undefined) times.push(time);
  }
  times.sort((a, b) => a - b);
  const within = (ms: number): number => times.filter((time) => time <= ms).length / runs;
  return { count: times.length, median: quantile(times, 0.5), p95: quantile(times, 0.95), within, times };
}

const becomesBad = (canary: Version, more: Partial<World> = {}) =>
  rollOuts({ stable: GOOD, canary, badFromMs: 30_000, untilMs: 400_000, ...more }, 200, 1);

describe('a version that becomes bad after half a minute, 20 requests/s, 10 % of them on it', () => {
  it('is rolled back 3 s after its first bad request when all of them fail', () => {
    const { count, median, p95, within, times } = becomesBad({ fails: 1, ttftMs: 200 });
    expect(count).toBe(200);
    expect(times[0]).toBeGreaterThan(0);
    expect(median).toBeLessThan(2_500);
    expect(within(3_000)).toBeGreaterThan(0.7);
    expect(p95).toBeLessThan(4_500);
  });
  it('is rolled back as soon when it is bad from the beginning', () => {
    const { count, median, within } = becomesBad({ fails: 1, ttftMs: 200 }, { badFromMs: 0 });
    expect(count).toBe(200);
    expect(median).toBeLessThan(2_000);
    expect(within(3_000)).toBeGreaterThan(0.8);
  });
  it('is rolled back in seconds when half of them fail, or none is answered', () => {
    expect(becomesBad({ fails: 0.5, ttftMs: 200 }).p95).toBeLessThan(12_000);
    expect(becomesBad({ fails: 0, ttftMs: 1e9 }).p95).toBeLessThan(9_000);
  });
  it('is rolled back within a minute when first tokens come three times as late', () => {
    const { count, p95 } = becomesBad({ fails: 0.01, ttftMs: 600 });
    expect(count).toBe(200);
    expect(p95).toBeLessThan(60_000);
  });
  it('takes minutes to be told from chance when 5 % fail beside 1 %', () => {
    const { count, median } = becomesBad({ fails: 0.05, ttftMs: 200 });
    expect(count).toBeGreaterThan(180);
    expect(median).toBeGreaterThan(30_000);
  });
  it('is rolled back in seconds at other weights too', () => {
    expect(becomesBad({ fails: 1, ttftMs: 200 }, { weight: 0.5 }).p95).toBeLessThan(4_000);
    expect(becomesBad({ fails: 1, ttftMs: 200 }, { weight: 0.9 }).p95).toBeLessThan(6_000);
    expect(becomesBad({ fails: 1, ttftMs: 200 }, { weight: 0.01 }).median).toBeLessThan(30_000);
  });
});

describe('a version that is as good as the stable one', () => {
  const RUNS = 500;
  const same = (stable: Version, more: Partial<World> = {}, firstSeed = 1): number =>
    rollOuts({ stable, canary: stable, badFromMs: 0, untilMs: 300_000, ...more }, RUNS, firstSeed).count;

  it('is rolled back in fewer than 1 % of five-minute rollouts', () => {
    expect(same(GOOD, {}, 10_000)).toBeLessThan(RUNS / 100);
  });
  it('also while both arms fail a tenth of their requests', () => {
    expect(same({ fails: 0.1, ttftMs: 200 }, {}, 20_000)).toBeLessThan(RUNS / 100);
  });
  it('also when bursts make both arms fail and slow', () => {
    const bursts = { part: 0.1, fails: 0.5, slower: 5 };
    expect(same(GOOD, { bursts }, 30_000)).toBeLessThan(RUNS / 100);
  });
  it('also when the arms are split by 20 tenants of very different size', () => {
    expect(same(GOOD, { keys: 20 }, 40_000)).toBeLessThan(RUNS / 100);
  });
});
