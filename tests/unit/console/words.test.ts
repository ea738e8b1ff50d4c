/** What the console says of the data. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { RequestLine } from '../../../src/admin/console-feed.ts';
import type { TenantStatus } from '../../../src/admin/status.ts';
import { Colours } from '../../../src/console/colours.ts';
import { contestants, median, splitOf } from '../../../src/console/contrast.ts';
import { decisionText, headline, phasesOf, timesItsShare, timesText } from '../../../src/console/words.ts';
import { aConsoleStatus, aLine, aTenantRow } from '../../support/a-console.ts';

const plain = (text: string): string => text.replaceAll('\u202f', ' ');
const said = (rows: readonly TenantStatus[]): string =>
  plain(
    headline(aConsoleStatus(rows))
      .map(({ text }) => text)
      .join(''),
  );
const without = ({ ttftP50Ms: _50, ttftP99Ms: _99, ...row }: TenantStatus): TenantStatus => row;

describe('the headline', () => {
  it.each([
    [[], 'No stream ended in the last minute. The engine is 100 % full.'],
    [[without(aTenantRow('idle'))], 'No stream ended in the last minute. The engine is 100 % full.'],
    [[aTenantRow('quiet')], 'quiet waits 58 ms for its first token. The engine is 100 % full.'],
    [
      [aTenantRow('quiet'), aTenantRow('other', { ttftP50Ms: 60 })],
      'All 2 tenants wait about 60 ms for their first token. The engine is 100 % full.',
    ],
    [
      [aTenantRow('noisy', { waiting: 105, ttftP50Ms: 6_300 }), aTenantRow('quiet')],
      'quiet waits 58 ms for its first token. noisy waits 6.3 s for its first token: it asks for 27 times its share. The engine is 100 % full.',
    ],
    // Who waits without asking for more is not blamed.
    [
      [aTenantRow('small', { waiting: 1, ttftP50Ms: 900 }), aTenantRow('quiet')],
      'quiet waits 58 ms for its first token. small waits 900 ms for its first token. The engine is 100 % full.',
    ],
  ])('of %j', (rows, text) => expect(said(rows)).toBe(text));

  it('a tenant that asked a moment ago has its share', () => {
    const noisy = aTenantRow('noisy', { waiting: 105 });
    const times = (inFlight: number, requestsPerSecond: number): number | undefined =>
      timesItsShare(noisy, aConsoleStatus([noisy, aTenantRow('quiet', { inFlight, requestsPerSecond })]));
    expect(times(0, 1)).toBe(times(1, 1));
    expect(times(0, 1)).toBe(26.5);
    expect(times(0, 0)).toBe(13.25);
  });

  it('has no share where the weight, or the limit, is not known', () => {
    const { weight: _, ...several } = aTenantRow('(others)', { waiting: 9 });
    expect(timesItsShare(several, aConsoleStatus([several]))).toBeUndefined();
    expect(timesItsShare(aTenantRow('one'), { ...aConsoleStatus([]), pools: [] })).toBeUndefined();
  });

  it('says how many engines there are, and that none serves', () => {
    const status = aConsoleStatus([aTenantRow('quiet')]);
    const pool = status.pools[0];
    if (pool === undefined) throw new Error('no pool');
    const of = (change: Partial<typeof pool>): string =>
      plain(headline({ ...status, pools: [{ ...pool, ...change }] }).at(-1)?.text ?? '');
    expect(of({ serving: 3, sequences: 6, concurrencyLimit: 24 })).toBe('The 3 engines are 25 % full.');
    expect(of({ serving: 0, sequences: 0, concurrencyLimit: 0 })).toBe('No engine serves now.');
    expect(of({ mirror: true })).toBe('No engine serves now.');
    expect(of({ sequences: 0, concurrencyLimit: 0 })).toBe(
      'This replica has no part of the engines’ slots now.',
    );
  });

  it('names are pieces of their own', () => {
    const names = headline(aConsoleStatus([aTenantRow('\u202Eevil')])).filter(({ name }) => name === true);
    expect(names).toEqual([{ text: '\u202Eevil', name: true }]);
  });
});

describe('the figures', () => {
  const nowMs = 1_000_000;
  const line = (id: string, change: Partial<RequestLine>): RequestLine =>
    aLine(id, { endedMs: nowMs - 1_000, ...change });

  it('are of the tenant that waits least and the one that waits most', () => {
    const rows = [
      aTenantRow('middle', { ttftP50Ms: 100 }),
      aTenantRow('noisy', { waiting: 6, ttftP50Ms: 4_100 }),
      aTenantRow('quiet'),
      without(aTenantRow('none')),
    ];
    const found = contestants(aConsoleStatus(rows), [line('1', {})], nowMs);
    expect(found.map(({ tenant }) => tenant.name)).toEqual(['quiet', 'noisy']);
    expect(found[0]?.split).toEqual({ queueMs: 1, engineMs: 57, isAsAlone: true });
    expect(found[1]?.times).toBeGreaterThan(1);
    expect(found[1]?.split).toBeUndefined();
    expect(contestants(aConsoleStatus([]), [], nowMs)).toEqual([]);
    expect(contestants(aConsoleStatus([aTenantRow('one')]), [], nowMs)).toHaveLength(1);
  });

  it('are of streams of the last minute', () => {
    const { ttftMs: _, ...refused } = line('3', { queueMs: 0, outcome: 'refused' });
    const lines = [
      line('1', { queueMs: 40, ttftMs: 100 }),
      line('2', { endedMs: nowMs - 60_001, queueMs: 9_000, ttftMs: 9_100 }),
      refused,
      line('4', { tenant: 'noisy', queueMs: 9_000, ttftMs: 9_100 }),
      // Clocks of two machines, or a bug: never below nothing.
      line('5', { queueMs: 50, ttftMs: 20 }),
    ];
    const of = (name: string, ttftP50Ms: number) => splitOf(lines, aTenantRow(name, { ttftP50Ms }), nowMs);
    expect(of('quiet', 100)).toEqual({ queueMs: 40, engineMs: 60, isAsAlone: false });
    expect(of('nobody', 100)).toBeUndefined();
    expect(splitOf(lines, without(aTenantRow('quiet')), nowMs)).toBeUndefined();
    // The status is of more streams than the page knows: no part is longer than the whole.
    expect(of('noisy', 7_000)).toEqual({ queueMs: 6_900, engineMs: 100, isAsAlone: false });
    expect(of('quiet', 30)).toEqual({ queueMs: 0, engineMs: 30, isAsAlone: false });
  });

  it('the median is a value that half of the values reach', () => {
    expect(median([])).toBeUndefined();
    fc.assert(
      fc.property(fc.array(fc.nat(), { minLength: 1 }), (values) => {
        const middle = median(values) ?? -1;
        expect(values.filter((value) => value <= middle).length * 2).toBeGreaterThanOrEqual(values.length);
        expect(values.filter((value) => value >= middle).length * 2).toBeGreaterThanOrEqual(values.length);
      }),
    );
  });

  it('factors are short', () => {
    expect([1.15, 9.94, 9.95, 26.5, 1_234].map((times) => plain(timesText(times)))).toEqual([
      '1.1',
      '9.9',
      '10',
      '27',
      '1 234',
    ]);
  });
});

describe('decisionText', () => {
  const of = (change: Partial<RequestLine>): string =>
    plain(decisionText(aLine('1', { quiet: false, ...change })));

  it.each([
    [{ quiet: true }, 'passed the queue: below its fair share'],
    [{ queueMs: 1 }, 'a slot was free'],
    [{ queueMs: 4_100 }, 'waited 4.1 s in lane default'],
    [{ outcome: 'refused', reason: 'tenant_queue_full' }, 'refused: too many of its requests wait already'],
    [{ outcome: 'refused', reason: 'something_new' }, 'refused: something new'],
    [{ outcome: 'refused' }, 'refused: no reason known'],
    [{ outcome: 'aborted', reason: 'queued', queueMs: 900 }, 'left after 900 ms in lane default'],
    [
      { outcome: 'aborted', reason: 'streaming', queueMs: 900 },
      'waited 900 ms in lane default; aborted: streaming',
    ],
    [{ outcome: 'failed', reason: 'engine-error' }, 'a slot was free; failed: engine error'],
    [{ outcome: 'failed' }, 'a slot was free; failed'],
  ] as const)('of %j', (change, text) => expect(of(change)).toBe(text));
});

describe('phasesOf', () => {
  it('has all of a stream', () => {
    expect(phasesOf(aLine('1')).map(({ ms }) => ms)).toEqual([1, 57, 900, 2]);
  });

  it('sums to the duration, whatever the parts say', () => {
    const ms = fc.double({ min: 0, max: 1e7, noNaN: true });
    fc.assert(
      fc.property(ms, ms, ms, ms, (queueMs, prefillMs, decodeMs, durationMs) => {
        const phases = phasesOf(aLine('1', { queueMs, prefillMs, decodeMs, durationMs }));
        expect(phases.every((phase) => phase.ms >= 0)).toBe(true);
        expect(phases.reduce((sum, phase) => sum + phase.ms, 0)).toBeCloseTo(durationMs, 5);
      }),
    );
  });
});

describe('colours', () => {
  it('are the same in two windows that learn of the same tenants', () => {
    const [one, other] = [new Colours(), new Colours()];
    one.learn(['quiet', 'noisy']);
    other.learn(['noisy', 'quiet']);
    expect(one.of('quiet')).toBe(other.of('quiet'));
    expect(one.of('quiet')).not.toBe(one.of('noisy'));
  });

  it('stay, and run out', () => {
    const colours = new Colours();
    const first = colours.of('z');
    colours.learn(Array.from({ length: 100 }, (_, i) => `tenant-${i}`));
    expect(colours.of('z')).toBe(first);
    expect(colours.of('tenant-99')).toBe(colours.of('one more'));
  });
});
