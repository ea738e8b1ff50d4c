import { describe, expect, it } from 'vitest';
import { ARMS } from '../../../src/loadtest/arms.ts';
import { type Comparison, compare } from '../../../src/loadtest/compare.ts';
import { comparisonJson } from '../../../src/loadtest/comparison-json.ts';
import { runLabArm } from '../../../src/loadtest/lab-arm.ts';
import { lateness, type Measured, type Saturation, saturationOf } from '../../../src/loadtest/measured.ts';
import { createQuantiles, type RequestOutcome } from '../../../src/loadtest/outcome.ts';
import { htmlReport } from '../../../src/loadtest/report-html.ts';
import { textReport } from '../../../src/loadtest/report-text.ts';
import type { Scenario } from '../../../src/loadtest/scenario.ts';
import { labSchedule } from '../../../src/loadtest/schedule.ts';
import { HTTP, lonely, NOISY } from '../../support/scenarios.ts';

const inLab = (scenario: Scenario): Comparison => {
  const schedule = labSchedule(scenario);
  if (schedule.kind === 'bad') throw new Error(schedule.problem);
  return compare({
    scenario,
    mode: 'virtual',
    measured: ARMS.map((arm) => runLabArm(arm, scenario, schedule)),
    remarks: [],
    targets: new Map(),
    interrupted: false,
  });
};

/** An arm of one quiet request a second with the same TTFT, and a noisy tenant. */
function measured(arm: string, ttftMs: number, saturated: Saturation, usefulTokens = 1_000): Measured {
  const requests = Array.from({ length: 20 }, (_, i): RequestOutcome => {
    const atMs = i * 500;
    return {
      tenant: i % 2 === 0 ? 'quiet' : 'noisy',
      atMs,
      outcome: 'completed',
      firstTokenMs: atMs + ttftMs,
      endedMs: atMs + ttftMs + 100,
      promptTokens: 10,
      outputTokens: 5,
    };
  });
  return {
    saturated,
    outcome: {
      arm,
      durationMs: 10_000,
      requests,
      itl: new Map([['quiet', createQuantiles()]]),
      usefulTokens,
      notes: [],
    },
  };
}
const madeUp = (arms: readonly Measured[], remarks: readonly string[] = []): Comparison =>
  compare({
    scenario: { ...HTTP, durationMs: 10_000 },
    mode: 'http',
    measured: arms,
    remarks,
    targets: new Map([['direct', 'http://127.0.0.1:8000']]),
    interrupted: false,
  });

describe('a comparison in the lab', () => {
  const comparison = inLab({ ...NOISY, durationMs: 20_000 });
  const arm = (name: string) => comparison.arms.find((one) => one.arm === name);
  const ratios = (name: string) => comparison.ratios.find((one) => one.arm === name);

  it('has each request in each arm, and only the quiet ones in solo', () => {
    const counts = comparison.arms.map(({ tenants }) => tenants.reduce((sum, one) => sum + one.requests, 0));
    expect(new Set(counts.slice(1)).size).toBe(1);
    expect(arm('solo')?.tenants.map(({ tenant }) => tenant)).toEqual(['quiet']);
    for (const { tenants } of comparison.arms) {
      for (const { requests, completed, refused, failed } of tenants) {
        expect(completed + refused + failed).toBe(requests);
      }
    }
  });

  it('saturates the engine directly, where the quiet tenant suffers and Fairlane helps', () => {
    expect(comparison.saturated).toBe('yes');
    expect(comparison.warnings).toEqual([]);
    expect(ratios('direct')?.toSolo).toBeGreaterThan(10);
    expect(ratios('fairlane')?.toDirect).toBeLessThan(0.2);
    expect(ratios('direct')?.tokensKept).toBe(1);
  });

  it('gives the same figures again for the same seed', () => {
    const again = inLab({ ...NOISY, durationMs: 20_000 });
    expect(JSON.stringify(comparisonJson(again))).toBe(JSON.stringify(comparisonJson(comparison)));
  });

  it('warns when the load is too small to say anything', () => {
    const small = inLab(lonely('quiet: true, arrivals: { perSecond: 1 }'));
    expect(small.saturated).toBe('no');
    expect(small.warnings).toEqual([
      expect.stringMatching(
        /^The arm direct did not saturate the engine: work waited for it in \d+ % of the time/,
      ),
    ]);
    expect(textReport(small, { colour: false })).toContain('WARNING: The arm direct did not saturate');
    expect(htmlReport(small)).toContain('<p class="warning">The arm direct did not saturate');
    expect(comparisonJson(small)).toMatchObject({ saturated: 'no', warnings: small.warnings });
  });
});

describe('saturation of a real engine', () => {
  it.each([
    [[], 'unknown'],
    [[0, 0, 0], 'no'],
    [[3, 0, 0], 'no'],
    [[3, 0], 'yes'],
    [[3, 1, 0], 'yes'],
  ] as const)('with %j waiting in the scrapes is %s', (waiting, expected) => {
    expect(saturationOf(waiting)).toBe(expected);
  });

  it('that is unknown or absent is warned of', () => {
    expect(madeUp([measured('direct', 10, 'unknown')]).warnings[0]).toContain('It is unknown whether');
    expect(madeUp([measured('solo', 10, 'no')]).warnings[0]).toContain('The arm direct did not run');
    expect(madeUp([measured('direct', 10, 'yes')]).warnings).toEqual([]);
  });
});

describe('figures', () => {
  it('are ratios of the quiet tenants’ p99, and of useful tokens', () => {
    const { ratios } = madeUp([
      measured('solo', 20, 'no', 100),
      measured('direct', 400, 'yes', 2_000),
      measured('fairlane', 40, 'unknown', 1_900),
      measured('floor', 10, 'yes', 2_000),
    ]);
    expect(ratios[2]).toEqual({
      arm: 'fairlane',
      quietTtftP99Ms: 40,
      toFloor: 4,
      toSolo: 2,
      toDirect: 0.1,
      tokensKept: 0.95,
    });
    expect(ratios[0]?.tokensKept).toBeUndefined();
  });

  it('show the first tenth of the time apart, and keep it in the whole', () => {
    const slowStart = measured('direct', 10, 'yes');
    const requests = slowStart.outcome.requests.map((one) =>
      one.atMs < 1_000 ? { ...one, firstTokenMs: one.atMs + 900 } : one,
    );
    const { arms } = madeUp([{ ...slowStart, outcome: { ...slowStart.outcome, requests } }]);
    const quiet = arms[0]?.tenants.find(({ tenant }) => tenant === 'quiet');
    expect(quiet?.startTtftMs.p99).toBe(900);
    expect(quiet?.ttftMs).toMatchObject({ p50: 10, p99: 900 });
  });

  it('say when quiet requests did not complete', () => {
    const one = measured('direct', 10, 'yes');
    const requests = one.outcome.requests.map((request, i) =>
      i === 0 ? { ...request, outcome: 'refused' as const } : request,
    );
    const { arms } = madeUp([{ ...one, outcome: { ...one.outcome, requests } }]);
    expect(arms[0]?.notes[0]).toContain('1 of 10 quiet requests did not complete');
  });

  it('say when the generator was late at p99, not for a single one', () => {
    const prompt = Array.from({ length: 200 }, () => 1);
    expect(lateness([...prompt, 500])).toEqual([]);
    expect(lateness([...prompt, 30, 30, 30])).toEqual([expect.stringContaining('late: 30 ms at p99')]);
    expect(lateness([])).toEqual([]);
  });
});

/** Every key with its place. */
function keysOf(value: unknown, path = ''): readonly string[] {
  if (Array.isArray(value)) return value.slice(0, 1).flatMap((item) => keysOf(item, `${path}[]`));
  if (typeof value !== 'object' || value === null) return [path];
  return Object.entries(value).flatMap(([key, child]) => keysOf(child, path === '' ? key : `${path}.${key}`));
}

describe('the JSON', () => {
  it('has the same keys whatever is known, and survives the way through text', () => {
    const poor = comparisonJson(madeUp([measured('direct', 10, 'unknown')]));
    const keys = keysOf(poor);
    for (const key of [
      'formatVersion',
      'name',
      'mode',
      'seed',
      'durationMs',
      'saturated',
      'arms[].arm',
      'arms[].usefulTokensPerSecond',
      'arms[].jain',
      'arms[].engine',
      'arms[].quiet.ttftMs.p99',
      'arms[].tenants[].ttftMs.p50',
      'arms[].tenants[].startTtftMs.p99',
      'arms[].tenants[].itlMs.p99',
      'arms[].tenants[].goodputPerSecond',
      'ratios[].toFloor',
      'ratios[].tokensKept',
    ]) {
      expect(keys).toContain(key);
    }
    expect(JSON.parse(JSON.stringify(poor))).toEqual(poor);
  });
});

describe('the reports', () => {
  const nasty = `<script>alert("x")</script> & 'quotes'`;
  const comparison = madeUp(
    [measured('solo', 20, 'no'), measured('direct', 400, 'yes'), measured('fairlane', 40, 'unknown')],
    [nasty],
  );
  const named = { ...comparison, scenario: { ...comparison.scenario, name: nasty, description: nasty } };

  it('in text have a table for each arm, one of arms and one of ratios', () => {
    const text = textReport(comparison, { colour: false });
    for (const heading of ['\nsolo\n', '\ndirect\n', '\nfairlane\n', '\narms\n', '\nratios\n']) {
      expect(text).toContain(heading);
    }
    expect(text).toMatch(/fairlane +40 +– +2\.00× +0\.10× +100 %/);
    expect(text).not.toContain('\u001b');
    expect(textReport(comparison, { colour: true })).toContain('\u001b[33mWARNING');
    for (const width of [80, 100]) {
      const lines = textReport(comparison, { colour: false, width }).split('\n');
      expect(Math.max(...lines.map(({ length }) => length))).toBeLessThanOrEqual(width);
    }
    expect(text.replaceAll(/\n +/g, ' ')).toMatch(
      /Note: A run of \d+ s is short: its first seconds are warm-up/,
    );
  });

  it('in HTML escape all text', () => {
    const html = htmlReport(named);
    expect(html).not.toContain('<script');
    expect(html).toContain('&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; &#39;quotes&#39;');
  });

  it('in HTML need nothing from elsewhere', () => {
    const html = htmlReport(comparison);
    expect(html).not.toMatch(/\b(src|href|xlink:href)=|url\(|@import|<(script|link|img|iframe)/i);
    expect(html).toContain("default-src 'none'");
    expect(html).toContain('prefers-color-scheme: dark');
    expect(html.match(/<svg /g)).toHaveLength(4);
    expect(html.match(/<svg /g)?.length).toBe(html.match(/<\/svg>/g)?.length);
  });

  it('stand an arm in which nothing was answered', () => {
    const silent = measured('direct', 10, 'yes');
    const requests = silent.outcome.requests.map(({ tenant, atMs, promptTokens }) => ({
      tenant,
      atMs,
      promptTokens,
      outputTokens: 0,
      outcome: 'failed' as const,
    }));
    const nothing = madeUp([{ ...silent, outcome: { ...silent.outcome, requests, usefulTokens: 0 } }]);
    const html = htmlReport(nothing);
    expect(`${html}${textReport(nothing, { colour: false })}`).not.toMatch(/NaN|Infinity|undefined/);
  });
});
