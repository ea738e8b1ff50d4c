import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type Canary,
  type CanaryConfig,
  createCanary,
  DEFAULT_CANARY,
  positionOf,
} from '../../../src/rollout/canary.ts';

const config = (more: Partial<CanaryConfig> = {}): CanaryConfig => ({
  ...DEFAULT_CANARY,
  salt: 'v2',
  weight: 0.1,
  ...more,
});
const keys = Array.from({ length: 20_000 }, (_, i) => `tenant-${i}`);
/** Every canary request fails, beside nine of the stable arm that do not. */
const failAll = (canary: Canary, requests: number) => {
  for (let i = 0; i < requests; i += 1) {
    for (let n = 0; n < 9; n += 1) canary.ended('stable', false, i);
    const back = canary.ended('canary', true, i);
    if (back !== undefined) return back;
  }
  return undefined;
};

describe('the split', () => {
  it('gives the canary its weight of the keys, and draws anew with another salt', () => {
    const onCanary = (salt: string, weight: number) => keys.filter((key) => positionOf(salt, key) < weight);
    for (const weight of [0.01, 0.1, 0.5]) {
      expect(Math.abs(onCanary('v2', weight).length / keys.length - weight)).toBeLessThan(0.01);
    }
    const both = onCanary('v3', 0.1).filter((key) => positionOf('v2', key) < 0.1);
    expect(both.length / keys.length).toBeLessThan(0.02);
    expect(onCanary('v2', 0)).toEqual([]);
    expect(onCanary('v2', 1)).toEqual(keys);
  });
  it('keeps each key on its arm, and those of the canary there when the weight is raised', () => {
    fc.assert(
      fc.property(
        fc.string(),
        fc.string(),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (salt, key, weight) => {
          const canary = createCanary(config({ salt, weight }));
          const arm = canary.assign(key);
          expect(canary.assign(key)).toBe(arm);
          canary.reconfigure(config({ salt, weight: Math.min(1, weight + 0.2) }));
          if (arm === 'canary') expect(canary.assign(key)).toBe('canary');
        },
      ),
    );
  });
});

describe('a rollout', () => {
  it('goes back at the third failed request of the canary while the stable arm has none, and says why', () => {
    const canary = createCanary(config());
    const back = failAll(canary, 10);
    expect(back).toMatchObject({ gate: 'failures', atMs: 2 });
    expect(back?.detail).toMatch(
      /^failed requests: \d+ times as likely of a worse canary as of an equal one$/,
    );
    expect(canary.rolledBack()).toEqual(back);
  });
  it('goes back when first tokens come late, and knows from when on they do', () => {
    const canary = createCanary(config());
    expect(canary.slowAfterMs(100)).toBeUndefined();
    for (let i = 0; i < 200; i += 1) canary.firstToken('stable', 100, 100 + (i % 50), i);
    expect(canary.slowAfterMs(100)).toBe(1.5 * 146);
    expect(canary.slowAfterMs(100_000)).toBeUndefined();
    let back: unknown;
    for (let i = 0; i < 10 && back === undefined; i += 1) {
      for (let n = 0; n < 9; n += 1) canary.firstToken('stable', 100, 120, 300);
      back = canary.firstToken('canary', 100, 1_000, 300 + i);
    }
    expect(back).toMatchObject({ gate: 'ttft' });
  });
  it('does not learn from the canary what is slow', () => {
    const canary = createCanary(config({ minSamples: 1_000 }));
    for (let i = 0; i < 200; i += 1) canary.firstToken('stable', 100, 100, i);
    for (let i = 0; i < 500; i += 1) canary.firstToken('canary', 100, 10_000, i);
    expect(canary.slowAfterMs(100)).toBe(150);
  });
  it('does not compare prompts of different sizes', () => {
    const canary = createCanary(config());
    for (let i = 0; i < 200; i += 1) canary.firstToken('stable', 100, 100, i);
    for (let i = 0; i < 200; i += 1) expect(canary.firstToken('canary', 50_000, 9_000, i)).toBeUndefined();
  });
  it('does not go back for what befalls both arms', () => {
    const canary = createCanary(config());
    for (let i = 0; i < 500; i += 1) {
      for (let n = 0; n < 9; n += 1) expect(canary.ended('stable', true, i)).toBeUndefined();
      expect(canary.ended('canary', true, i)).toBeUndefined();
    }
  });
  it('waits for the least number of samples', () => {
    const canary = createCanary(config({ minSamples: 8 }));
    expect(failAll(canary, 20)).toMatchObject({ atMs: 7 });
  });
  it('that went back is all stable until the configuration changes, and tells it once', () => {
    const canary = createCanary(config({ weight: 0.5 }));
    failAll(canary, 100);
    expect(canary.rolledBack()).toBeDefined();
    expect(keys.slice(0, 100).every((key) => canary.assign(key) === 'stable')).toBe(true);
    expect(canary.ended('canary', true, 9)).toBeUndefined();
    expect(canary.firstToken('canary', 1, 1e9, 9)).toBeUndefined();
    canary.reconfigure(config({ weight: 0.5 }));
    expect(canary.rolledBack()).toBeDefined();
    canary.reconfigure(config({ weight: 0.4 }));
    expect(canary.rolledBack()).toBeUndefined();
    expect(keys.slice(0, 100).some((key) => canary.assign(key) === 'canary')).toBe(true);
  });
  it('keeps what it has seen when only the weight changes', () => {
    const canary = createCanary(config());
    failAll(canary, 2);
    canary.reconfigure(config({ weight: 0.11 }));
    expect(failAll(canary, 1)).toBeDefined();
    const another = createCanary(config());
    failAll(another, 2);
    another.reconfigure(config({ salt: 'v3' }));
    expect(failAll(another, 1)).toBeUndefined();
  });
});
