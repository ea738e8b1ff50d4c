/**
 * Tenants that lie about what their requests cost, or make them odd. Each shares an engine with an honest tenant that always has
 * requests waiting, in the real queue and the simulated engine: the honest one must get as much as beside its own kind.
 */
import { beforeAll, describe, expect, it } from 'vitest';
import { allRequests, type TenantLoad } from '../../src/loadtest/load.ts';
import { quantileOf } from '../../src/loadtest/outcome.ts';
import type { FairlaneOptions } from '../../src/loadtest/virtual-fairlane.ts';
import { type Arm, runArm } from '../../src/loadtest/virtual-lab.ts';
import { parseProfile } from '../../src/simulator/profile.ts';

const profile = parseProfile('8b', { maxSequences: 32 });
const DURATION_MS = 60_000;

const honest: TenantLoad = {
  name: 'honest',
  weight: 1,
  quiet: false,
  arrivals: { kind: 'poisson', perSecond: 60 },
  prompt: { kind: 'lognormal', median: 200, sigma: 0.6, max: 2_000 },
  output: { kind: 'lognormal', median: 120, sigma: 0.5, max: 600 },
  sharedPrefix: 0,
  saysLength: false,
};
const quiet: TenantLoad = {
  ...honest,
  name: 'quiet',
  quiet: true,
  arrivals: { kind: 'poisson', perSecond: 2 },
  output: { kind: 'fixed', tokens: 40 },
};

function run(tenants: readonly TenantLoad[], arm: Arm = { kind: 'fairlane', fairlane: {} }) {
  const requests = allRequests(tenants, { seed: 3, durationMs: DURATION_MS, capacityPerSecond: 0 });
  return runArm(arm, { profile, tenants, requests, durationMs: DURATION_MS, hopMs: 0.5 });
}
/** Weighted tokens that a tenant got while requests arrived. */
const service = (outcome: ReturnType<typeof run>, tenant: string): number =>
  outcome.requests
    .filter(
      (one) => one.tenant === tenant && one.outcome === 'completed' && (one.endedMs ?? 1e9) <= DURATION_MS,
    )
    .reduce((sum, { promptTokens, outputTokens }) => sum + promptTokens + 2 * outputTokens, 0);
const p99 = (outcome: ReturnType<typeof run>, tenant: string): number =>
  quantileOf(
    outcome.requests.flatMap(({ tenant: whose, firstTokenMs, atMs }) =>
      whose === tenant && firstTokenMs !== undefined ? [firstTokenMs - atMs] : [],
    ),
    0.99,
  ) ?? Number.NaN;

describe('an honest tenant gets its half', () => {
  let beside: number;
  beforeAll(() => {
    beside = service(run([honest, { ...honest, name: 'twin' }]), 'honest');
  });

  it.each<[string, Partial<TenantLoad>]>([
    [
      'thousands of tiny requests',
      {
        arrivals: { kind: 'poisson', perSecond: 600 },
        prompt: { kind: 'fixed', tokens: 5 },
        output: { kind: 'fixed', tokens: 1 },
      },
    ],
    [
      'max_tokens of 1 with ignore_eos, and long prompts',
      {
        arrivals: { kind: 'poisson', perSecond: 80 },
        prompt: { kind: 'fixed', tokens: 1_000 },
        output: { kind: 'fixed', tokens: 1 },
        saysLength: true,
      },
    ],
    [
      'answers ten times as long as before, of which it says nothing',
      { arrivals: { kind: 'poisson', perSecond: 20 }, output: { kind: 'uniform', from: 1, to: 2_400 } },
    ],
    [
      'huge prompts',
      { arrivals: { kind: 'poisson', perSecond: 4 }, prompt: { kind: 'fixed', tokens: 30_000 } },
    ],
  ])('beside %s', (_, liar) => {
    const outcome = run([honest, { ...honest, name: 'liar', ...liar }]);
    expect(service(outcome, 'liar') / service(outcome, 'honest')).toBeLessThan(1.1);
    // What an engine can do depends on what it is asked; a quarter less is not the liar's gain.
    expect(service(outcome, 'honest') / beside).toBeGreaterThan(0.75);
  });
});

describe('a quiet tenant is answered as quickly', () => {
  it.each<[string, Partial<TenantLoad>, FairlaneOptions]>([
    [
      'tiny requests',
      {
        arrivals: { kind: 'poisson', perSecond: 600 },
        prompt: { kind: 'fixed', tokens: 5 },
        output: { kind: 'fixed', tokens: 1 },
      },
      {},
    ],
    [
      'answers that do not end, in an engine of known size',
      { output: { kind: 'uniform', from: 1_000, to: 3_000 } },
      { concurrencyLimit: 32, headroom: 4 },
    ],
  ])('beside %s as with a perfect scheduler, within half as much again', (_, liar, fairlane) => {
    const tenants = [quiet, { ...honest, name: 'liar', ...liar }];
    const floor = p99(run(tenants, { kind: 'floor' }), 'quiet');
    expect(p99(run(tenants, { kind: 'fairlane', fairlane }), 'quiet') / floor).toBeLessThan(1.5);
  });

  it('beside a huge prompt now and then within the steps that it takes', () => {
    const tenants: TenantLoad[] = [
      quiet,
      honest,
      {
        ...honest,
        name: 'liar',
        arrivals: { kind: 'poisson', perSecond: 0.1 },
        prompt: { kind: 'fixed', tokens: 30_000 },
      },
    ];
    const stepMs = profile.stepBaseMs + profile.tokensPerStep * profile.msPerPrefillToken;
    // An engine goes on with a prompt that it has begun, four steps of it, whatever is asked of it meanwhile.
    expect(p99(run(tenants), 'quiet')).toBeLessThan(5 * stepMs);
  });
});
