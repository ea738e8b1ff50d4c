/** One stream at a time, whatever is lost and comes again. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Feed, type Known } from '../../../src/console/feed.ts';

/** Streams that are open. */
const open = new Set<FakeSource>();

class FakeSource extends EventTarget {
  constructor() {
    super();
    open.add(this);
  }

  close(): void {
    open.delete(this);
  }

  say(): void {
    this.dispatchEvent(new MessageEvent('status', { data: '{}' }));
  }
}

const ANSWER_MS = 500;
let known: Known;
let feed: Feed;

/** The service says something each second to those who listen. */
async function pass(seconds: number): Promise<void> {
  for (let i = 0; i < seconds; i += 1) {
    await vi.advanceTimersByTimeAsync(1_000);
    for (const source of open) source.say();
  }
}

beforeEach(() => {
  open.clear();
  vi.useFakeTimers();
  vi.stubGlobal('EventSource', FakeSource);
  vi.stubGlobal('fetch', async () => {
    await new Promise((resolve) => setTimeout(resolve, ANSWER_MS));
    return Response.json({ requests: [], left: 0 });
  });
  feed = new Feed((next) => {
    known = next;
  });
});
afterEach(() => {
  feed.close();
  expect(open.size).toBe(0);
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

it('a stream that is lost is opened again', async () => {
  await pass(3);
  for (const source of open) source.dispatchEvent(new Event('error'));
  await pass(30);
  expect([open.size, known.link]).toEqual([1, 'live']);
});

it('a machine that has slept learns of its loss twice, and opens one stream', async () => {
  await pass(3);
  const [source] = open;
  vi.setSystemTime(Date.now() + 3_600_000);
  await vi.advanceTimersByTimeAsync(2_900);
  source?.dispatchEvent(new Event('error'));
  // The timer that watches for silence was due while it slept, and comes now.
  await pass(30);
  expect([open.size, known.link]).toEqual([1, 'live']);
});

it('a stream that says nothing is given up, and another one tried', async () => {
  await pass(3);
  const [silent] = open;
  await vi.advanceTimersByTimeAsync(20_000);
  expect(open.has(silent as FakeSource)).toBe(false);
  await pass(30);
  expect([open.size, known.link]).toEqual([1, 'live']);
});

it('a clock that is put back hides no silence', async () => {
  await pass(3);
  const [silent] = open;
  vi.setSystemTime(Date.now() - 3_600_000);
  await vi.advanceTimersByTimeAsync(20_000);
  expect(open.has(silent as FakeSource)).toBe(false);
  await pass(30);
  expect([open.size, known.link]).toEqual([1, 'live']);
});

it('requests of a service whose clock was put back are the newest', async () => {
  const [source] = open;
  let at = 0;
  const ended = (...times: readonly number[]): void => {
    const requests = times.map((endedMs) => ({ id: String((at += 1)), endedMs }));
    const data = JSON.stringify({ requests, left: 0 });
    source?.dispatchEvent(new MessageEvent('requests', { data }));
  };
  const HOUR_MS = 3_600_000;
  for (let many = 0; many < 500; many += 1)
    ended(...[0, 1, 2, 3, 4].map((ms) => 2 * HOUR_MS + 5 * many + ms));
  expect(known.requests).toHaveLength(2_000);
  // Some end out of order, by a little.
  ended(2 * HOUR_MS + 3_000, 2 * HOUR_MS + 2_990);
  expect(known.requests.slice(0, 2).map(({ id }) => id)).toEqual(['2501', '2502']);
  ended(2 * HOUR_MS + 3_001, HOUR_MS);
  ended(HOUR_MS + 5);
  expect(known.requests.map(({ endedMs }) => endedMs)).toEqual([HOUR_MS + 5, HOUR_MS]);
});
