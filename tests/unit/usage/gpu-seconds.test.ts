/** Busy time of endpoints, divided among their requests: nothing is lost, nothing is counted twice, whatever the order of events. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { GpuDemand, PromptUse } from '../../../src/usage/gpu-demand.ts';
import { GpuClock } from '../../../src/usage/gpu-seconds.ts';
import { GpuUse } from '../../../src/usage/gpu-use.ts';

const stream = (promptTokens: number, sequences = 1): GpuDemand => ({
  sequences,
  promptTokens,
  cached: 0,
  prefillTokens: promptTokens,
  output: 'seen',
});

const arbDemand: fc.Arbitrary<GpuDemand> = fc.record({
  sequences: fc.constantFrom(0, 1, 1, 1, 2, 5),
  promptTokens: fc.constantFrom(1, 20, 300, 8_000, 100_000),
  cached: fc.constantFrom(
    0,
    0,
    19,
    7_999,
    { proportional: 0, usual: 900 },
    { proportional: 250, usual: 0 },
    { proportional: 6_000, usual: 100_000 },
    { proportional: Number.NaN, usual: 1 },
  ),
  prefillTokens: fc.constantFrom(1, 500, 20_000),
  output: fc.constantFrom('seen' as const, 'unseen' as const, 'none' as const),
});
const arbStep = fc.record({
  request: fc.nat(7),
  what: fc.constantFrom(
    'begin',
    'begin',
    'firstToken',
    'tokens',
    'end',
    'end',
    'move',
    'strangers',
    'replicas',
    'look',
  ),
  demand: arbDemand,
  clock: fc.nat(1),
  /** Clocks go back too, and stand. */
  passedMs: fc.oneof(
    fc.double({ min: 0, max: 500, noNaN: true }),
    fc.double({ min: -200, max: 0, noNaN: true }),
    fc.constantFrom(0, 1e-9, 3_600_000, Number.NaN, Number.POSITIVE_INFINITY),
  ),
  others: fc.constantFrom(0, 1, 7, -1, Number.NaN),
  replicas: fc.option(
    fc.record({
      decoding: fc.nat(30),
      pendingMs: fc.constantFrom(0, 50, 2_000),
      sequenceMs: fc.nat(100_000),
      promptMs: fc.nat(10_000),
      promptTokens: fc.nat(100_000),
    }),
    { nil: undefined },
  ),
  /** What an engine says of it at its end, also what it cannot have. */
  prompt: fc.constantFrom(
    undefined,
    { promptTokens: 300, cachedTokens: 0 },
    { promptTokens: 100_000, cachedTokens: 99_999 },
    { promptTokens: 100_000, cachedTokens: 16 },
    { promptTokens: 1e7, cachedTokens: 0 },
    { promptTokens: 1, cachedTokens: 1e9 },
    { promptTokens: Number.NaN, cachedTokens: Number.NaN },
    { promptTokens: Number.POSITIVE_INFINITY, cachedTokens: -1 },
  ),
});
type Step = typeof arbStep extends fc.Arbitrary<infer T> ? T : never;

class World {
  readonly clocks = [new GpuClock(), new GpuClock()];
  readonly uses = new Map<number, GpuUse>();
  readonly parts: number[] = [];
  nowMs = 1_000;

  play({ request, what, demand, clock: at, passedMs, others, prompt, replicas }: Step): void {
    if (Number.isFinite(passedMs)) this.nowMs += passedMs;
    const nowMs = Number.isFinite(passedMs) ? this.nowMs : passedMs;
    const clock = this.clocks[at] ?? new GpuClock();
    const use = this.uses.get(request);
    if (what === 'begin' && use === undefined) this.uses.set(request, new GpuUse(clock, demand, nowMs));
    if (what === 'firstToken') use?.firstToken(nowMs);
    if (what === 'tokens') use?.tokensCame(32, nowMs);
    if (what === 'move') use?.moveTo(clock, nowMs);
    if (what === 'strangers') clock.setStrangers(others, nowMs);
    if (what === 'replicas') clock.heard(replicas, 1, nowMs - 5, nowMs);
    if (what === 'look') clock.busyMs(nowMs);
    if (what === 'end') this.end(request, nowMs, prompt);
  }

  end(request: number, nowMs: number, prompt?: PromptUse): void {
    const use = this.uses.get(request);
    if (use === undefined) return;
    this.uses.delete(request);
    const ms = use.end(nowMs, prompt);
    this.parts.push(ms);
    use.firstToken(nowMs + 1);
    use.tokensCame(5, nowMs + 2);
    expect(use.end(nowMs + 3)).toBe(ms);
  }
}

describe('busy time', () => {
  it('is the sum of its requests’ parts, none of which is negative, whatever happens in whatever order', () => {
    fc.assert(
      fc.property(fc.array(arbStep, { maxLength: 120 }), (steps) => {
        const world = new World();
        for (const step of steps) world.play(step);
        for (const request of world.uses.keys()) world.end(request, world.nowMs);
        const sum = world.parts.reduce((all, ms) => all + ms, 0);
        const busyMs = world.clocks.reduce((all, clock) => all + clock.busyMs(world.nowMs), 0);
        expect(Math.min(0, ...world.parts)).toBe(0);
        expect(Math.abs(sum - busyMs)).toBeLessThanOrEqual(1e-9 * Math.max(1, busyMs));
      }),
      { numRuns: 2_000 },
    );
  });

  it('stays exact over a million requests on an endpoint that is never idle', () => {
    const clock = new GpuClock();
    let nowMs = 0;
    let sum = 0;
    let last = new GpuUse(clock, stream(100), nowMs);
    for (let i = 0; i < 1_000_000; i += 1) {
      const next = new GpuUse(clock, stream(1 + (i % 997), 1 + (i % 3)), nowMs);
      nowMs += 0.1 + (i % 13);
      next.firstToken(nowMs);
      nowMs += 0.7;
      sum += last.end(nowMs);
      last = next;
    }
    sum += last.end(nowMs);
    expect(Math.abs(sum / clock.busyMs(nowMs) - 1)).toBeLessThan(1e-9);
  });

  it('is none while an endpoint is idle, and not that of requests without a place in the batch', () => {
    const clock = new GpuClock();
    expect(new GpuUse(clock, stream(10, 0), 0).end(50)).toBe(0);
    expect(clock.busyMs(100)).toBe(0);
    const use = new GpuUse(clock, stream(10), 100);
    expect([use.end(130), clock.busyMs(1_000)]).toEqual([30, 30]);
  });

  it('is ours by our part of the sequences in the engine', () => {
    const clock = new GpuClock();
    const use = new GpuUse(clock, stream(10), 0);
    clock.setStrangers(3, 100);
    expect(use.end(500)).toBeCloseTo(100 + 400 / 4, 9);
    expect(clock.busyMs(500)).toBeCloseTo(200, 9);
  });
});

describe('the busy time of two replicas', () => {
  it('is counted once between them, by what they tell each other', () => {
    const clocks = [new GpuClock(), new GpuClock()] as const;
    const uses = clocks.map((clock, i) =>
      Array.from({ length: 3 - i }, () => new GpuUse(clock, stream(100), 0)),
    );
    for (const use of uses.flat()) use.firstToken(20);
    for (let nowMs = 100; nowMs <= 10_000; nowMs += 100) {
      const told = clocks.map((clock) => clock.use(nowMs));
      clocks[0].heard(told[1], 1, nowMs, nowMs);
      clocks[1].heard(told[0], 1, nowMs, nowMs);
    }
    const parts = uses.map((list) => list.reduce((sum, use) => sum + use.end(10_000), 0));
    // Until the first word each thinks it is alone.
    expect(Math.abs((parts[0] ?? 0) / 10_000 - 3 / 5)).toBeLessThan(0.01);
    expect(Math.abs((parts[1] ?? 0) / 10_000 - 2 / 5)).toBeLessThan(0.01);
  });

  it('never goes back where it is shown', () => {
    const clock = new GpuClock();
    const use = new GpuUse(clock, stream(100_000), 0);
    const before = clock.certainBusyMs(400);
    clock.heard({ decoding: 50, pendingMs: 0, sequenceMs: 0, promptMs: 0, promptTokens: 0 }, 1, 400, 400);
    use.firstToken(500);
    use.end(600, { promptTokens: 100_000, cachedTokens: 99_000 });
    expect(clock.certainBusyMs(600)).toBeGreaterThanOrEqual(before);
  });
});

describe('what an engine says of a prompt at its end', () => {
  /** A prompt of 1,000 tokens beside one that decodes. @returns both parts. */
  const play = (clock: GpuClock, prompt?: PromptUse): readonly [number, number] => {
    const other = new GpuUse(clock, stream(1), 0);
    other.firstToken(0);
    const use = new GpuUse(clock, stream(1_000), 100);
    use.firstToken(300);
    return [use.end(500, prompt), other.end(500)];
  };

  it('moves what was cached to those that decode beside it', () => {
    const [thought] = play(new GpuClock());
    const [known, other] = play(new GpuClock(), { promptTokens: 1_000, cachedTokens: 900 });
    expect(thought - known).toBeCloseTo(90, 6);
    expect(known + other).toBeCloseTo(500, 9);
  });

  it('is not taken for “none cached” where an engine never said any', () => {
    const guess = { ...stream(1_000), cached: { proportional: 800, usual: 800 } };
    const part = (prompt?: PromptUse): number => {
      const clock = new GpuClock();
      const other = new GpuUse(clock, stream(1), 0);
      other.firstToken(0);
      const use = new GpuUse(clock, guess, 100);
      use.firstToken(300);
      return use.end(500, prompt);
    };
    expect(part({ promptTokens: 1_000, cachedTokens: 0 })).toBe(part());
  });
});

describe('a request’s part', () => {
  it('is that of its sequences, while all decode', () => {
    const clock = new GpuClock();
    const one = new GpuUse(clock, stream(1), 0);
    const three = new GpuUse(clock, stream(1, 3), 0);
    one.firstToken(0);
    three.firstToken(0);
    expect([one.end(400), three.end(400)]).toEqual([100, 300]);
  });

  it('is larger for a longer prompt, and a short one does not pay for its wait behind it', () => {
    const clock = new GpuClock();
    const decoding = new GpuUse(clock, stream(1), 0);
    decoding.firstToken(0);
    const long = new GpuUse(clock, stream(10_000), 0);
    const short = new GpuUse(clock, stream(50), 10);
    long.firstToken(1_020);
    short.firstToken(1_045);
    const [ofLong, ofShort] = [long.end(1_045), short.end(1_045)];
    // 0.1 ms a token and a step of 15 ms are assumed while nothing is learned.
    expect(ofLong).toBeGreaterThan(950);
    expect(ofShort).toBeLessThan(20);
    expect(ofLong + ofShort + decoding.end(1_045)).toBeCloseTo(1_045, 6);
  });

  it('goes by time where no first token is seen: its prompt is computed when it should be', () => {
    const clock = new GpuClock();
    const whole = new GpuUse(clock, { ...stream(1_000), output: 'unseen' }, 0);
    const other = new GpuUse(clock, stream(1), 500);
    other.firstToken(500);
    // Both decode since then.
    expect(whole.end(1_500)).toBeCloseTo(500 + 500, 0);
    expect(other.end(1_500)).toBeCloseTo(500, 0);
  });

  it('is by prompt tokens where there are prompts alone', () => {
    const clock = new GpuClock();
    const small = new GpuUse(clock, { ...stream(1_000), output: 'none' }, 0);
    const large = new GpuUse(clock, { ...stream(9_000), output: 'none' }, 0);
    const [ofSmall, ofLarge] = [small.end(1_000), large.end(1_000)];
    expect(ofLarge / ofSmall).toBeGreaterThan(7);
    expect(ofSmall + ofLarge).toBeCloseTo(1_000, 9);
  });

  it('is on both endpoints where it moved', () => {
    const [first, second] = [new GpuClock(), new GpuClock()];
    const use = new GpuUse(first, stream(10), 0);
    use.moveTo(second, 30);
    expect(use.end(100)).toBeCloseTo(100, 9);
    expect([first.busyMs(200), second.busyMs(200)]).toEqual([30, 70]);
  });
});
