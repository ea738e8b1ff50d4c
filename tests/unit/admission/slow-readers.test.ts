import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  createSlowReaders,
  KEEP_MS,
  lastHop,
  MAX_MARKS,
  type Reading,
  type SlowReaders,
} from '../../../src/admission/slow-readers.ts';

const ENDPOINT = '10.0.0.1:8000';
const STEP_MS = 20;
const BYTES = 200;

/** A stream and what has come of it. */
function open(
  readers: SlowReaders,
  { tenant = 'a', address = '192.0.2.1', endpoint = ENDPOINT, outputs = 1 } = {},
  nowMs = 0,
): { flow(count: number, fromMs: number, stepMs?: number): number; readonly reading: Reading } {
  const reading = readers.watch({ tenant, address, endpoint, outputs }, nowMs);
  let tokens = 0;
  return {
    reading,
    /** Tokens, one by one. Gives the time of the last one. */
    flow(count, fromMs, stepMs = STEP_MS) {
      for (let i = 0; i < count; i += 1) {
        tokens += 1;
        reading.chunk(BYTES, tokens, fromMs + i * stepMs);
      }
      return fromMs + (count - 1) * stepMs;
    },
  };
}

/** Two streams of others that flow for ten seconds. */
function others(readers: SlowReaders, endpoint = ENDPOINT): void {
  for (const tenant of ['x', 'y']) open(readers, { tenant, endpoint }).flow(500, 0);
}

/** Flows, pauses until `restMs`, and comes on. */
function pausing(readers: SlowReaders, who: Parameters<typeof open>[1], restStepMs: number) {
  const stream = open(readers, who);
  stream.flow(50, 0);
  others(readers);
  stream.flow(60, 6_000, restStepMs);
  return stream;
}

describe('a client reads slowly', () => {
  it('when its stream pauses while others flow, and then comes on all at once', () => {
    const readers = createSlowReaders();
    pausing(readers, {}, 0);
    expect(readers.isSlow('a', '192.0.2.1', 6_100)).toBe(true);
  });

  it('but not the same address of another tenant, nor another address of this one', () => {
    const readers = createSlowReaders();
    pausing(readers, {}, 0);
    expect(readers.isSlow('b', '192.0.2.1', 6_100)).toBe(false);
    expect(readers.isSlow('a', '192.0.2.2', 6_100)).toBe(false);
  });

  it('not when its stream comes on at the pace of the engine: that had held it up', () => {
    const readers = createSlowReaders();
    pausing(readers, {}, STEP_MS);
    expect(readers.isSlow('a', '192.0.2.1', 8_000)).toBe(false);
  });

  it('not when no other stream of its endpoint flowed meanwhile', () => {
    const readers = createSlowReaders();
    const alone = open(readers);
    alone.flow(50, 0);
    others(readers, '10.0.0.2:8000');
    alone.flow(60, 6_000, 0);
    expect(readers.isSlow('a', '192.0.2.1', 6_100)).toBe(false);
  });

  it('not in pauses that are short, or few steps of a slow engine', () => {
    const readers = createSlowReaders();
    const short = open(readers);
    short.flow(50, 0);
    others(readers);
    short.flow(60, 2_900, 0);
    expect(readers.isSlow('a', '192.0.2.1', 3_000)).toBe(false);
    const slowEngine = createSlowReaders();
    const stream = open(slowEngine);
    stream.flow(2, 0, 500);
    for (const tenant of ['x', 'y']) open(slowEngine, { tenant }).flow(80, 0, 500);
    stream.flow(60, 5_000, 0);
    expect(slowEngine.isSlow('a', '192.0.2.1', 5_000)).toBe(false);
  });

  it('when nothing comes until its engine must be done, while others flow', () => {
    const readers = createSlowReaders();
    const stream = open(readers);
    stream.flow(50, 0);
    stream.reading.stalled(9_000);
    expect(readers.isSlow('a', '192.0.2.1', 9_000)).toBe(false);
    others(readers);
    stream.reading.stalled(9_000);
    expect(readers.isSlow('a', '192.0.2.1', 9_000)).toBe(true);
  });

  it('for ten minutes since it was seen last', () => {
    const readers = createSlowReaders();
    pausing(readers, {}, 0);
    expect(readers.isSlow('a', '192.0.2.1', 6_000 + KEEP_MS - 1)).toBe(true);
    expect(readers.isSlow('a', '192.0.2.1', 6_000 + KEEP_MS)).toBe(false);
    expect(readers.size()).toBe(0);
  });

  it('until a whole answer that is as long comes without a pause', () => {
    const readers = createSlowReaders();
    pausing(readers, {}, 0);
    const short = open(readers, {}, 7_000);
    short.flow(30, 7_000);
    short.reading.completed();
    expect(readers.isSlow('a', '192.0.2.1', 8_000)).toBe(true);
    const long = open(readers, {}, 8_000);
    long.flow(120, 8_000);
    long.reading.completed();
    expect(readers.isSlow('a', '192.0.2.1', 11_000)).toBe(false);
    expect(readers.size()).toBe(0);
  });

  it('still after a long answer that paused', () => {
    const readers = createSlowReaders();
    pausing(readers, {}, 0);
    const stream = open(readers, {}, 7_000);
    stream.flow(100, 7_000);
    stream.flow(100, 12_000);
    stream.reading.completed();
    expect(readers.isSlow('a', '192.0.2.1', 20_000)).toBe(true);
  });

  it('by the pace of each output, where a request has several', () => {
    const readers = createSlowReaders();
    const four = open(readers, { outputs: 4 });
    four.flow(50, 0, 5);
    others(readers);
    // Four streams of an engine that goes on as before: no burst.
    four.flow(60, 6_000, 5);
    expect(readers.isSlow('a', '192.0.2.1', 7_000)).toBe(false);
  });

  it('also when many others of its endpoint do', () => {
    const readers = createSlowReaders();
    const slow = Array.from({ length: 5 }, (_, i) => open(readers, { address: `192.0.2.${i}` }));
    for (const one of slow) one.flow(40, 0);
    others(readers);
    for (const one of slow) one.flow(400, 6_000, 1);
    expect(slow.map((_, i) => readers.isSlow('a', `192.0.2.${i}`, 7_000))).toEqual(slow.map(() => true));
  });
});

describe('the memory of slow readers', () => {
  it('is bounded, and the tenant with the most of them forgets', () => {
    const readers = createSlowReaders();
    pausing(readers, { tenant: 'b', address: '198.51.100.1' }, 0);
    for (let i = 0; i < MAX_MARKS + 50; i += 1) {
      const stream = readers.watch(
        { tenant: 'a', address: `192.0.2.${i}`, endpoint: ENDPOINT, outputs: 1 },
        9_000,
      );
      stream.chunk(BYTES, 1, 9_000);
      for (const tenant of ['x', 'y']) {
        if (i === 0) open(readers, { tenant }, 9_000).flow(500, 9_000);
      }
      stream.stalled(19_000);
    }
    expect(readers.size()).toBe(MAX_MARKS);
    expect(readers.isSlow('b', '198.51.100.1', 20_000)).toBe(true);
    expect(readers.isSlow('a', '192.0.2.0', 20_000)).toBe(false);
    expect(readers.isSlow('a', `192.0.2.${MAX_MARKS + 49}`, 20_000)).toBe(true);
  });

  it('marks nobody whose stream flows, whatever the others do', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ gapMs: fc.nat(1_900), count: fc.integer({ min: 1, max: 40 }) }), {
          maxLength: 30,
        }),
        fc.array(fc.record({ gapMs: fc.nat(9_000), count: fc.integer({ min: 1, max: 200 }) }), {
          maxLength: 30,
        }),
        (own, theirs) => {
          const readers = createSlowReaders();
          const stream = open(readers);
          const other = open(readers, { tenant: 'b', address: '192.0.2.1' });
          let nowMs = 0;
          for (const [i, { gapMs, count }] of own.entries()) {
            nowMs = stream.flow(count, nowMs + gapMs);
            const { gapMs: theirGapMs = 0, count: theirCount = 1 } = theirs[i] ?? {};
            other.flow(theirCount, nowMs + theirGapMs, 0);
          }
          expect(readers.isSlow('a', '192.0.2.1', nowMs)).toBe(false);
        },
      ),
    );
  });
});

describe('the address of a client', () => {
  it.each([
    ['', ''],
    ['192.0.2.1', '192.0.2.1'],
    ['10.9.9.9, 192.0.2.1', '192.0.2.1'],
    ['whatever the client says,2001:db8::1 ', '2001:db8::1'],
    ['a,', ''],
    [`1.2.3.4,${'x'.repeat(100_000)}`, ''],
  ])('is the last hop of %j', (header, expected) => {
    expect(lastHop(header)).toBe(expected);
  });
});

describe('the address of a client', () => {
  it('keeps nothing of the header that it is from', () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const heap = (): number => {
      collect();
      return process.memoryUsage().heapUsed;
    };
    const header = (i: number): string =>
      Buffer.from(`${'9'.repeat(60_000)}, 192.168.100.${i}`).toString('latin1');
    const before = heap();
    const kept = Array.from({ length: 200 }, (_, i) => lastHop(header(i)));
    expect(heap() - before).toBeLessThan(4_000_000);
    expect(kept[7]).toBe('192.168.100.7');
  });
});
