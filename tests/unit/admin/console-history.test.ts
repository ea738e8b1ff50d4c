/** What the console remembers of requests is bounded, and says what it leaves out. */
import { describe, expect, it } from 'vitest';
import { ConsoleHistory } from '../../../src/admin/console-history.ts';
import type { UsageRecord } from '../../../src/usage/usage-record.ts';

const usage = (id: string, more: Partial<UsageRecord> = {}): UsageRecord =>
  ({
    id,
    endedMs: 1,
    requestId: `r-${id}`,
    tenant: 'quiet',
    route: '/v1/chat/completions',
    model: 'demo',
    stream: true,
    outcome: 'completed',
    queueMs: 1,
    durationMs: 2,
    promptTokens: 10,
    cachedTokens: 4,
    completionTokens: 5,
    quiet: true,
    stalled: false,
    ...more,
  }) as UsageRecord;

const history = (): ConsoleHistory => new ConsoleHistory(0, () => '1 EUR');

describe('the last requests', () => {
  it.each([
    [0, 0, 0, undefined],
    [499, 499, 0, '0'],
    [500, 500, 0, '0'],
    [501, 500, 1, '1'],
    [1_250, 500, 750, '750'],
  ])('of %i are %i, and %i are left out', (count, kept, left, first) => {
    const told = history();
    for (let at = 0; at < count; at += 1) told.ended(usage(String(at)), 'quiet');
    const event = told.requests();
    expect(event.left).toBe(left);
    expect(event.requests).toHaveLength(kept);
    expect(event.requests[0]?.id).toBe(first);
    if (count > 0) expect(event.requests.at(-1)?.id).toBe(String(count - 1));
  });

  it('since a reader was told are each told once, across the end of the ring', () => {
    const told = history();
    const seen: string[] = [];
    let from = 0;
    for (let at = 0; at < 1_300; at += 1) {
      told.ended(usage(String(at)), 'quiet');
      if (at % 97 !== 0) continue;
      seen.push(...told.requests(from).requests.map(({ id }) => id));
      from = told.count;
    }
    seen.push(...told.requests(from).requests.map(({ id }) => id));
    expect(seen).toEqual(Array.from({ length: 1_300 }, (_, at) => String(at)));
  });

  it('have the name that metrics have, and nothing that was said', () => {
    const told = history();
    const secret = { prompt: 'secret', key: 'secret' } as Partial<UsageRecord>;
    told.ended(usage('a', { tenant: 'visitor-7', ...secret }), '(not configured)');
    const text = JSON.stringify(told.requests());
    expect(text).toContain('(not configured)');
    expect(text).not.toMatch(/visitor-7|secret/);
  });
});

describe('usage since the start', () => {
  it('is summed by tenant and model, those with the most tokens first', () => {
    const told = history();
    told.ended(usage('a'), 'quiet');
    told.ended(usage('b', { outcome: 'refused', gpuSeconds: 2 }), 'quiet');
    told.ended(usage('c', { promptTokens: 100 }), 'noisy');
    const { rows, left, since } = told.usage();
    expect(since).toBe('1970-01-01T00:00:00.000Z');
    expect(left).toBe(0);
    expect(rows.map(({ tenant }) => tenant)).toEqual(['noisy', 'quiet']);
    expect(rows[1]).toMatchObject({
      requests: 2,
      refused: 1,
      promptTokens: 20,
      cachedTokens: 8,
      completionTokens: 10,
      gpuSeconds: 2,
    });
  });

  it('of more than a thousand pairs is kept for some, and the rest is together: no request is lost', () => {
    const told = history();
    for (let at = 0; at < 5_000; at += 1) {
      told.ended(usage(String(at), { model: `m${at % 2}` }), `t${Math.floor(at / 2)}`);
    }
    const { rows, left } = told.usage();
    expect(rows.length + left).toBe(1_000);
    const [most] = rows;
    expect(most).toMatchObject({ tenant: '(other)', model: '(other)', requests: 5_000 - 999 });
  });

  it('stays a number when a count is none', () => {
    const told = history();
    told.ended(usage('a', { promptTokens: Number.NaN, gpuSeconds: Number.POSITIVE_INFINITY }), 'quiet');
    expect(told.usage().rows[0]).toMatchObject({ promptTokens: 0, gpuSeconds: 0 });
  });
});
