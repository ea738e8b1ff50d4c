import { describe, expect, it } from 'vitest';
import { createCapacities, factsOf, NO_FACTS } from '../../../src/engine/capacity.ts';
import { ADAPTERS, ALL_ADAPTERS } from '../../../src/engine/engines.ts';

const A = 'http://a:1';

describe('the KV cache of an endpoint', () => {
  it('is what its metrics say, else its own page, else the configuration', () => {
    const capacities = createCapacities();
    expect(capacities.kvTokensOf(A)).toBeUndefined();
    capacities.configured(1_000);
    expect(capacities.kvTokensOf(A)).toBe(1_000);
    capacities.saidPage(A, { kvCapacityTokens: 2_000, maxSequences: 4 });
    expect(capacities.kvTokensOf(A)).toBe(2_000);
    capacities.saidGauges(A, 3_000);
    expect(capacities.kvTokensOf(A)).toBe(3_000);
    capacities.saidGauges(A, undefined);
    expect(capacities.kvTokensOf(A)).toBe(2_000);
    capacities.saidPage(A, NO_FACTS);
    expect(capacities.kvTokensOf(A)).toBe(1_000);
  });

  it('is forgotten with its endpoint', () => {
    const capacities = createCapacities();
    capacities.saidGauges(A, 3_000);
    capacities.saidPage('http://b:1', { kvCapacityTokens: 2_000, maxSequences: 4 });
    capacities.keep(['http://b:1']);
    expect([A, 'http://b:1'].map((url) => capacities.kvTokensOf(url))).toEqual([undefined, 2_000]);
  });
});

describe('an engine’s own page', () => {
  it.each([
    [
      'llamacpp',
      { total_slots: 4, default_generation_settings: { n_ctx: 8_192 } },
      { kvCapacityTokens: 32_768, maxSequences: 4 },
    ],
    ['tgi', { max_batch_total_tokens: 50_000, max_batch_size: null }, { kvCapacityTokens: 50_000 }],
    [
      'sglang',
      { max_total_num_tokens: 90_000, internal_states: [{ effective_max_running_requests_per_dp: 48 }] },
      { kvCapacityTokens: 90_000, maxSequences: 48 },
    ],
    ['vllm', { max_num_seqs: 8 }, {}],
  ] as const)('of %s says what it holds and runs', (kind, page, expected) => {
    expect(factsOf(ADAPTERS[kind], page)).toEqual({
      kvCapacityTokens: undefined,
      maxSequences: undefined,
      ...expected,
    });
  });

  it.each([
    undefined,
    null,
    'text',
    [],
    {},
    { total_slots: -1, default_generation_settings: null },
    { total_slots: 1e300, default_generation_settings: { n_ctx: 1e300 } },
    { max_batch_size: 'all', max_batch_total_tokens: 1.5 },
    { internal_states: 'many', max_total_num_tokens: Number.NaN },
    { internal_states: [null, 3, {}], max_running_requests: true },
  ])('that is garbage says nothing: %j', (page) => {
    for (const adapter of ALL_ADAPTERS) expect(factsOf(adapter, page)).toEqual(NO_FACTS);
  });
});
