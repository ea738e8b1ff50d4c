import { describe, expect, it } from 'vitest';
import { loadCommandLine } from '../../../src/loadtest/load-command-line.ts';
import { labSchedule } from '../../../src/loadtest/schedule.ts';
import { modelOfBoth, TwoTenantsCounts, twoTenants } from '../../../src/loadtest/two-tenants.ts';

const URL = 'http://127.0.0.1:8080';
const requestsOf = (durationMs: number, noisyPerSecond?: number) => {
  const schedule = labSchedule(
    twoTenants({ durationMs, seed: 1, ...(noisyPerSecond !== undefined && { noisyPerSecond }) }),
  );
  if (schedule.kind === 'bad') throw new Error(schedule.problem);
  return schedule;
};
const countOf = ({ requests }: ReturnType<typeof requestsOf>, name: string) =>
  requests.filter(({ tenant }) => tenant === name).length;

describe('the load of two tenants', () => {
  it('is one quiet request a second, from the first moment', () => {
    const quiet = requestsOf(5_000).requests.filter(({ tenant }) => tenant === 'quiet');
    expect(quiet.map(({ atMs }) => atMs)).toEqual([0, 1_000, 2_000, 3_000, 4_000]);
    expect(countOf(requestsOf(1_000), 'quiet')).toBe(1);
  });

  it('is noisy at 1.5 times what the demo’s engine can do, or at the rate asked for', () => {
    const schedule = requestsOf(60_000);
    const times = countOf(schedule, 'noisy') / 60 / (schedule.bucketPerSecond ?? 0);
    expect(times).toBeGreaterThan(1.3);
    expect(times).toBeLessThan(1.7);
    expect(countOf(requestsOf(60_000, 3), 'noisy') / 60).toBeCloseTo(3, 0);
  });
});

describe('what became of it', () => {
  it('is told by tenant: times to first token, and what each request ended with', () => {
    const counts = new TwoTenantsCounts();
    for (const tenant of ['quiet', 'noisy', 'noisy', 'noisy', 'noisy']) counts.sent(tenant);
    counts.firstToken('quiet', 80);
    counts.settled('quiet', 'completed');
    counts.firstToken('noisy', 4_000);
    counts.settled('noisy', 'completed');
    counts.settled('noisy', 'refused');
    counts.settled('noisy', 'failed', 'status 502');
    const [, quiet = '', noisy = '', reason] = counts.summaryLines();
    expect(quiet.split(/ +/)).toEqual(['quiet', '80', 'ms', '80', 'ms', '1', '1', '0', '0', '0']);
    expect(noisy.split(/ +/)).toEqual(['noisy', '4.0', 's', '4.0', 's', '4', '1', '1', '1', '1']);
    expect(reason).toBe('1 failed: status 502');
    expect(counts.progressLine(12_300, 60_000)).toBe(
      '12 of 60 s: quiet 1 sent, TTFT p50 80 ms, p99 80 ms; noisy 4 sent, TTFT p50 4.0 s, p99 4.0 s, 1 refused, 1 failed',
    );
  });

  it('without any answer has dashes, and is no failure', () => {
    const counts = new TwoTenantsCounts();
    expect(counts.summaryLines()[1]).toContain('–');
    expect([counts.isFailed(), counts.isHopeless()]).toEqual([false, false]);
  });

  it('is hopeless after ten failures and no answer; a refusal is an answer', () => {
    const counts = new TwoTenantsCounts();
    for (let i = 0; i < 9; i += 1) counts.settled('noisy', 'failed', 'ECONNREFUSED');
    expect([counts.isFailed(), counts.isHopeless()]).toEqual([true, false]);
    counts.settled('noisy', 'failed', 'ECONNREFUSED');
    expect(counts.isHopeless()).toBe(true);
    counts.settled('noisy', 'refused');
    expect([counts.isFailed(), counts.isHopeless()]).toEqual([false, false]);
  });
});

describe('the model asked for', () => {
  const both = (quiet: readonly string[], noisy: readonly string[], status = 200) => [
    { tenant: 'quiet', status: 200, models: quiet },
    { tenant: 'noisy', status, models: noisy },
  ];

  it('is the first that both may use, or the one that was named', () => {
    expect(modelOfBoth(URL, both(['a', 'b'], ['c', 'b']), undefined)).toEqual({ kind: 'ok', model: 'b' });
    expect(modelOfBoth(URL, both(['a'], ['c']), 'alias')).toEqual({ kind: 'ok', model: 'alias' });
    expect(modelOfBoth(URL, both(['a'], ['c']), undefined)).toMatchObject({
      problem: expect.stringContaining('--model'),
    });
  });

  it.each([
    [401, 'does not take the key of noisy (status 401); give one of its tenants’ with --noisy-key env:NAME'],
    [403, 'does not take the key of noisy'],
    [404, 'is no Fairlane'],
    [503, 'answers with 503: is its service running?'],
  ])('is not looked for where the answer is %i', (status, problem) => {
    expect(modelOfBoth(URL, both(['a'], [], status), 'a')).toMatchObject({
      problem: expect.stringContaining(problem),
    });
  });
});

describe('the line to paste', () => {
  it.each([
    ['/home/me/fairlane/dist/cli/start.js', true, false, URL, 'npm run --silent fairlane -- load'],
    ['/usr/lib/node_modules/fairlane/dist/cli/start.js', false, true, URL, 'fairlane load'],
    ['/home/me/app/node_modules/fairlane/dist/cli/start.js', false, false, URL, 'npx fairlane load'],
    ['/home/me/app/node_modules/fairlane/src/cli/start.ts', true, false, URL, 'npx fairlane load'],
    [
      '/home/me/.npm/_npx/1a2b/node_modules/fairlane/dist/cli/start.js',
      false,
      false,
      URL,
      'npx fairlane load',
    ],
    [
      '/home/me/fairlane/src/cli/start.ts',
      true,
      true,
      'http://127.0.0.1:8081',
      'npm run --silent fairlane -- load --url http://127.0.0.1:8081',
    ],
  ])('of %s is right for how it was started', (program, isClone, isOnPath, api, line) => {
    expect(loadCommandLine({ program, isClone, isOnPath, api })).toBe(line);
  });
});
