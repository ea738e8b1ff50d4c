import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { OTHER_TAG, Tags, tagOf } from '../../../src/usage/tags.ts';
import type { UsageRecord } from '../../../src/usage/usage-record.ts';

const record = (tag: string | undefined, tenant = 'a'): UsageRecord => ({
  requestId: 'r',
  tenant,
  ...(tag !== undefined && { tag }),
  route: 'chat.completions',
  stream: false,
  outcome: 'completed',
  queueMs: 0,
  durationMs: 1,
  promptTokens: 1,
  completionTokens: 1,
  cachedTokens: 0,
  usageSource: 'engine',
  quiet: false,
  stalled: false,
  droppedFields: [],
});
const DAY = 24 * 3_600_000;

describe('a tag', () => {
  it.each([
    ['alice@example.com', 'alice@example.com'],
    ['  team blue\t', 'team blue'],
    ['Zoë 🦊', 'Zoë 🦊'],
    ['a\nb\r\0c', 'a\\nb\\r\\u0000c'],
    ['evil\u202etxt.exe', 'evil\\u202etxt.exe'],
    ['\u001b[31mred', '\\u001b[31mred'],
    ['zero\u200bwidth\ufeff', 'zero\\u200bwidth'],
    ['=HYPERLINK("http://evil","x")', '\'=HYPERLINK("http://evil","x")'],
    ['+1', "'+1"],
    ['-2', "'-2"],
    ['@SUM(A1)', "'@SUM(A1)"],
    ['<script>', '<script>'],
    ['x'.repeat(1_000_000), 'x'.repeat(64)],
    ['é'.repeat(40), 'é'.repeat(32)],
    ['🦊'.repeat(40), '🦊'.repeat(16)],
  ])('of %j is %j', (text, tag) => {
    expect(tagOf(text)).toBe(tag);
  });

  it.each(['', ' ', '\t\n', '\ufeff'])('is none of %j', (text) => {
    expect(tagOf(text)).toBeUndefined();
  });

  it('is harmless, bounded and no formula, whatever is sent', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 400 }), (text) => {
        const tag = tagOf(text);
        if (tag === undefined) return;
        expect(Buffer.byteLength(tag)).toBeLessThanOrEqual(64);
        expect(tag).not.toMatch(/[\p{C}\p{Zl}\p{Zp}]|^[=+\-@]/u);
        expect(tag).not.toBe('');
      }),
    );
  });
});

describe('tags of a tenant', () => {
  it('are told apart up to so many a day, and the rest are one', () => {
    const tags = new Tags();
    const of = (tag: string, tenant: string, ms: number): string | undefined =>
      tags.bounded(record(tag, tenant), 2, ms).tag;
    expect(['x', 'y', 'z', 'x', 'z'].map((tag) => of(tag, 'a', 0))).toEqual([
      'x',
      'y',
      OTHER_TAG,
      'x',
      OTHER_TAG,
    ]);
    expect(of('z', 'b', 0)).toBe('z');
    expect(of('z', 'a', DAY - 1)).toBe(OTHER_TAG);
    expect(of('z', 'a', DAY)).toBe('z');
  });

  it('cost nothing where a record has none', () => {
    const none = record(undefined);
    expect(new Tags().bounded(none, 0, 0)).toBe(none);
  });

  it('take no more memory for a million different ones', () => {
    const tags = new Tags();
    const seen = new Set<string | undefined>();
    for (let i = 0; i < 1_000_000; i += 1)
      seen.add(tags.bounded(record(`t${i}`, `tenant-${i % 500}`), 1_000, 0).tag);
    expect(seen.size).toBe(100_001);
  });
});
