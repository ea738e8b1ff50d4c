import { describe, expect, it } from 'vitest';
import type { OddUsage } from '../../../src/usage/believed-usage.ts';
import { OddUsageNotices } from '../../../src/usage/odd-usage-notices.ts';
import type { UsageRecord } from '../../../src/usage/usage-record.ts';

const record = (endpoint: string, oddUsage: readonly OddUsage[]): UsageRecord => ({
  requestId: 'r',
  tenant: 'a',
  route: 'responses',
  pool: 'main',
  endpoint,
  stream: false,
  outcome: 'completed',
  queueMs: 0,
  durationMs: 1,
  promptTokens: 1,
  completionTokens: 1,
  cachedTokens: 0,
  usageSource: 'estimate',
  oddUsage,
  quiet: false,
  stalled: false,
  droppedFields: [],
});

describe('notices of odd usage', () => {
  it('come once a minute for each endpoint and reason, with the number of answers', () => {
    const notices = new OddUsageNotices();
    const one = record('10.0.0.1:1', ['zero-prompt']);
    const told = (nowMs: number) => notices.of(one, nowMs).map(({ answers }) => answers);
    expect(notices.of(one, 0)).toEqual([
      { pool: 'main', endpoint: '10.0.0.1:1', reason: 'zero-prompt', answers: 1 },
    ]);
    for (let i = 1; i < 100; i += 1) expect(told(i * 100)).toEqual([]);
    expect(told(60_000)).toEqual([100]);
    expect(told(60_001)).toEqual([]);
    expect(notices.of(record('10.0.0.2:1', ['zero-prompt', 'not-a-number']), 60_001)).toHaveLength(2);
    expect(told(600_000)).toEqual([2]);
  });

  it('are none of an answer that is well, or of no endpoint', () => {
    const notices = new OddUsageNotices();
    expect(notices.of(record('10.0.0.1:1', []), 0)).toEqual([]);
    const { endpoint: _, ...nowhere } = record('', ['zero-prompt']);
    expect(notices.of(nowhere, 0)).toEqual([]);
  });
});
