import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { statusPage } from '../../../src/cli/status-view.ts';
import { actionsOf, type FrameState, topFrame } from '../../../src/cli/top-frame.ts';
import { textWidth } from '../../../src/domain/text-width.ts';
import { anEndpoint, aPool, aStatus, aTenant } from '../../support/a-status.ts';

const STATE: FrameState = { columns: 80, rows: 24, sort: 'waiting', where: '127.0.0.1:9464', hasKeys: true };
const textOf = (report = aStatus(), state: Partial<FrameState> = {}): string =>
  topFrame(report, { ...STATE, ...state })
    .map(({ text }) => text)
    .join('\n');

describe('a picture of top', () => {
  it('fits a terminal of 80 × 24 with all that matters, and ends with the keys', () => {
    const lines = textOf().split('\n');
    expect(lines).toHaveLength(24);
    expect(lines[0]).toBe('fairlane 127.0.0.1:9464: ok, up 3 h 10 min, config 10 min');
    expect(lines[3]).toBe('POOL  SERVING  IN FLIGHT  LIMIT  HEADROOM  WAITING  SATURATION %');
    expect(lines[4]).toBe('main      1/1          6      8         1        0            75');
    expect(lines.join('\n')).toMatch(
      /TENANT +RUNNING +WAITING +REQ\/s +TOK\/s +TTFT P99 ms +REQ LEFT +TOK LEFT/,
    );
    expect(lines.at(-1)).toBe('q quit  sort: [w waiting]  r running  s req/s  t tok/s  f TTFT  n name');
  });

  it('shows what is left of budgets where any tenant has one, also below a cent, on 80 columns too', () => {
    const budget = { limit: '0.01 EUR', left: '0.0042 EUR', refuses: true, resetMs: 1 };
    const text = textOf(aStatus([aTenant('acme', { budget }), aTenant('other')]));
    expect(text).toMatch(/TENANT.* BUDGET LEFT\n/);
    expect(text).toMatch(/\nacme.* 0\.0042 EUR\n/);
    expect(text).toMatch(/\nother.* -\n/);
    expect(textOf()).not.toContain('BUDGET');
  });

  it('never has more lines or wider ones than its terminal, whatever the names', () => {
    const name = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 200 });
    fc.assert(
      fc.property(
        fc.array(name, { maxLength: 60 }),
        fc.array(name, { maxLength: 30 }),
        fc.integer({ min: 1, max: 200 }),
        fc.integer({ min: 1, max: 60 }),
        fc.boolean(),
        (tenants, pools, columns, rows, isSilent) => {
          const report = aStatus(
            tenants.map((one) => aTenant(one, { tier: one })),
            pools.map((one) => aPool(one, [anEndpoint(one)])),
            { status: 'degraded', reasons: ['a reason\nof two lines', 'another'] },
          );
          const silent = isSilent ? { silentMs: 3_200, problem: 'x'.repeat(300) } : {};
          const lines = topFrame(report, { ...STATE, columns, rows, ...silent });
          expect(lines.length).toBeLessThanOrEqual(rows);
          for (const { text } of lines) {
            expect(textWidth(text)).toBeLessThanOrEqual(columns);
            expect(text).not.toMatch(/[\p{C}\p{Zl}\p{Zp}]/u);
          }
          const page = statusPage(report, STATE.where, columns).filter(({ text }) =>
            /^(TENANT|POOL)/.test(text),
          );
          for (const { text } of page) expect(textWidth(text)).toBeLessThanOrEqual(columns);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('leaves tenants their half where there are many endpoints, and says how many are not shown', () => {
    const many = Array.from({ length: 40 }, (_, i) =>
      aPool(`pool-${i}`, [anEndpoint(`http://10.0.0.${i}:8000`)]),
    );
    const tenants = Array.from({ length: 40 }, (_, i) => aTenant(`tenant-${i}`));
    const text = textOf(aStatus(tenants, many));
    expect(text).toContain('and 38 more');
    expect(text.match(/^tenant-/gm)?.length).toBeGreaterThanOrEqual(6);
  });

  it('says since when there is no answer, and why', () => {
    expect(textOf(aStatus(), { silentMs: 3_400, problem: 'no service answers' })).toContain(
      'no answer since 3 s: no service answers',
    );
    expect(textOf()).not.toContain('no answer');
  });

  it('says that nobody has requests', () => {
    expect(textOf(aStatus([]))).toContain('no tenant has requests');
  });
});

describe('keys', () => {
  it.each([
    ['q', [{ kind: 'quit' }]],
    ['Q', [{ kind: 'quit' }]],
    ['\u0003', [{ kind: 'quit' }]],
    ['\u001a', [{ kind: 'suspend' }]],
    ['t', [{ kind: 'sort', sort: 'tokens' }]],
    [
      'xrW',
      [
        { kind: 'sort', sort: 'running' },
        { kind: 'sort', sort: 'waiting' },
      ],
    ],
    // An arrow, and what is typed with Alt.
    ['\u001b[A', []],
    ['\u001bq', []],
    ['é日', []],
  ])('%j do what they say', (typed, actions) => {
    expect(actionsOf(typed)).toEqual(actions);
  });
});
