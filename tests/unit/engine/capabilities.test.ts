import { describe, expect, it } from 'vitest';
import { cacheSaltOf } from '../../../src/admission/cache-salt.ts';
import type { TenantConfig } from '../../../src/config/config.ts';
import { commonCapabilities, NO_CAPABILITIES } from '../../../src/engine/capabilities.ts';
import { SGLANG } from '../../../src/engine/sglang.ts';
import { VLLM } from '../../../src/engine/vllm.ts';

describe("an engine's help", () => {
  it('is used in the direction that the engine has', () => {
    const probe = VLLM.priority?.found;
    const info = SGLANG.priority?.found;
    if (probe?.by !== 'probe' || info?.by !== 'info') throw new Error('vLLM is tried, SGLang asked');
    expect(probe.valuesOf(200)).toEqual({ belowFairShare: 0, other: 10 });
    expect([400, 500, 0].map((status) => probe.valuesOf(status))).toEqual([undefined, undefined, undefined]);
    expect(info.valuesOf({ enable_priority_scheduling: true })).toEqual({ belowFairShare: 10, other: 0 });
    expect(
      info.valuesOf({ enable_priority_scheduling: true, schedule_low_priority_values_first: true }),
    ).toEqual({ belowFairShare: 0, other: 10 });
    for (const page of [undefined, null, {}, [], 'yes', { enable_priority_scheduling: 'true' }]) {
      expect(info.valuesOf(page)).toBeUndefined();
    }
  });

  it('is that of all endpoints of a pool', () => {
    const lower = { priority: { belowFairShare: 0, other: 10 }, cacheSalt: true };
    const higher = { priority: { belowFairShare: 10, other: 0 }, cacheSalt: true };
    expect(commonCapabilities([lower, lower])).toEqual(lower);
    expect(commonCapabilities([lower, higher])).toEqual({ priority: undefined, cacheSalt: true });
    expect(commonCapabilities([lower, NO_CAPABILITIES])).toEqual(NO_CAPABILITIES);
    expect(commonCapabilities([])).toEqual(NO_CAPABILITIES);
  });
});

describe('a cache salt', () => {
  const tenant = (name: string, trustGroup?: string): TenantConfig => ({
    name,
    ...(trustGroup !== undefined && { trustGroup }),
    keys: [],
    models: '*',
    limits: { weight: 1, maxOutputs: 16, maxQueued: 1 },
  });
  it('is one of its own for each tenant, and one for a trust group, of characters that every engine takes', () => {
    const salts = [tenant('a'), tenant('b'), tenant('c', 'a'), tenant('d', 'g')].map(cacheSaltOf);
    expect(new Set(salts).size).toBe(4);
    expect(cacheSaltOf(tenant('e', 'g'))).toBe(salts[3]);
    for (const salt of salts) expect(salt).toMatch(/^[0-9a-f]{32}$/);
  });
});
