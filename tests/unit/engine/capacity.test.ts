import { describe, expect, it } from 'vitest';
import { createCapacities, factsOf, NO_FACTS } from '../../../src/engine/capacity.ts';
import { ALL_DRIVERS, DRIVERS } from '../../../src/engine/drivers.ts';

const A = 'http://a:1';

describe('the KV cache of an endpoint', () => {
  const page = (tokens: number) => ({ kv: { tokens, isDivided: true }, maxSequences: 4 });

  it('is what its metrics say, else its own page, else the configuration', () => {
    const capacities = createCapacities();
    expect(capacities.kvOf(A)).toBeUndefined();
    capacities.configured(1_000);
    expect(capacities.kvOf(A)).toEqual({ tokens: 1_000, isDivided: false });
    capacities.saidPage(A, page(2_000));
    expect(capacities.kvOf(A)).toEqual({ tokens: 2_000, isDivided: true });
    capacities.saidGauges(A, 3_000);
    expect(capacities.kvOf(A)).toEqual({ tokens: 3_000, isDivided: false });
    capacities.saidGauges(A, undefined);
    expect(capacities.kvOf(A)?.tokens).toBe(2_000);
    capacities.saidPage(A, NO_FACTS);
    expect(capacities.kvOf(A)?.tokens).toBe(1_000);
  });

  it('is forgotten with its endpoint', () => {
    const capacities = createCapacities();
    capacities.saidGauges(A, 3_000);
    capacities.saidPage('http://b:1', page(2_000));
    capacities.keep(['http://b:1']);
    expect([A, 'http://b:1'].map((url) => capacities.kvOf(url)?.tokens)).toEqual([undefined, 2_000]);
  });
});

describe('an engine’s own page', () => {
  it.each([
    [
      'llamacpp',
      { total_slots: 4, default_generation_settings: { n_ctx: 8_192 } },
      { kv: { tokens: 32_768, isDivided: true }, maxSequences: 4 },
    ],
    [
      'tgi',
      { max_batch_total_tokens: 50_000, max_batch_size: null },
      { kv: { tokens: 50_000, isDivided: false } },
    ],
    [
      'sglang',
      { max_total_num_tokens: 90_000, internal_states: [{ effective_max_running_requests_per_dp: 48 }] },
      { kv: { tokens: 90_000, isDivided: false }, maxSequences: 48 },
    ],
    ['vllm', { max_num_seqs: 8 }, {}],
  ] as const)('of %s says what it holds and runs', (kind, page, expected) => {
    expect(factsOf(DRIVERS[kind], page)).toEqual({ ...NO_FACTS, ...expected });
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
    for (const driver of ALL_DRIVERS) expect(factsOf(driver, page)).toEqual(NO_FACTS);
  });
});
