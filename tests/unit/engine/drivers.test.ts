import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ALL_DRIVERS } from '../../../src/engine/drivers.ts';
import { readEngineError } from '../../../src/engine/errors.ts';
import { IDENTIFYING_PATHS, recognise } from '../../../src/engine/identify.ts';
import { LLAMACPP } from '../../../src/engine/llamacpp.ts';
import { SGLANG } from '../../../src/engine/sglang.ts';
import { TGI } from '../../../src/engine/tgi.ts';
import { VLLM } from '../../../src/engine/vllm.ts';

const NONSENSE: readonly unknown[] = [
  undefined,
  null,
  true,
  0,
  -1,
  1.5,
  Number.NaN,
  Infinity,
  '',
  '8',
  '<html>',
  [],
  [null],
  {},
];
/** The names that drivers read, so that the values are what is wrong. */
const KEYS = [
  'data',
  'id',
  'parent',
  'owned_by',
  'total_slots',
  'default_generation_settings',
  'n_ctx',
  'internal_states',
  'effective_max_running_requests_per_dp',
  'max_running_requests',
  'max_total_num_tokens',
  'model_id',
  'max_concurrent_requests',
  'max_batch_size',
  'is_sleeping',
  'error',
  'message',
  'code',
  'detail',
];
const anyAnswer = fc.oneof(
  fc.anything(),
  fc.dictionary(fc.constantFrom(...KEYS), fc.oneof(fc.anything(), fc.constantFrom(...NONSENSE))),
);

describe('what an engine answers, of the wrong type', () => {
  it('is taken for nothing, and never fails', () => {
    fc.assert(
      fc.property(anyAnswer, fc.integer({ min: 100, max: 599 }), (answer, status) => {
        for (const { info, health, lora, priority } of ALL_DRIVERS) {
          if (info !== undefined) {
            expect(typeof info.isOwn(answer)).toBe('boolean');
            for (const count of [info.maxSequences(answer), info.kvCapacityTokens?.(answer)]) {
              if (count !== undefined) expect(Number.isInteger(count) && count >= 1).toBe(true);
            }
          }
          for (const name of lora.listed(answer)) expect(typeof name).toBe('string');
          if (health.sleep !== undefined) expect(typeof health.sleep.isAsleep(answer)).toBe('boolean');
          if (priority?.found.by === 'info') priority.found.valuesOf(answer);
        }
        for (const path of IDENTIFYING_PATHS) recognise(path, answer);
        const body = JSON.stringify(answer) ?? '';
        for (const driver of [undefined, ...ALL_DRIVERS]) readEngineError(driver, status, body);
      }),
    );
  });

  it.each(NONSENSE.map((value) => [value]))('%j is no number of sequences', (value) => {
    expect(LLAMACPP.info?.maxSequences({ total_slots: value })).toBeUndefined();
    expect(TGI.info?.maxSequences({ max_batch_size: value })).toBeUndefined();
    expect(SGLANG.info?.maxSequences({ max_running_requests: value })).toBeUndefined();
    const states = [
      { effective_max_running_requests_per_dp: 8 },
      { effective_max_running_requests_per_dp: value },
    ];
    expect(SGLANG.info?.maxSequences({ internal_states: states })).toBeUndefined();
    expect(
      LLAMACPP.info?.kvCapacityTokens?.({ total_slots: 4, default_generation_settings: value }),
    ).toBeUndefined();
    expect(
      LLAMACPP.info?.kvCapacityTokens?.({ total_slots: 4, default_generation_settings: { n_ctx: value } }),
    ).toBeUndefined();
  });

  it('says who it is by nothing but the right words in the right place', () => {
    const models = (...owners: unknown[]) => ({ data: owners.map((owned_by) => ({ id: 'm', owned_by })) });
    expect(recognise('/v1/models', models('vllm'))).toBe('vllm');
    expect(recognise('/v1/models', models('library', 'llamacpp'))).toBe('llamacpp');
    expect(recognise('/v1/models', models('fairlane', 'openai', 'VLLM', null, ['vllm']))).toBeUndefined();
    expect(recognise('/v1/models', { data: 'vllm' })).toBeUndefined();
    expect(recognise('/props', { total_slots: 1, default_generation_settings: {} })).toBe('llamacpp');
    expect(recognise('/info', { total_slots: 1, default_generation_settings: {} })).toBeUndefined();
    expect(recognise('/nowhere', { model_id: 'm', max_concurrent_requests: 1 })).toBeUndefined();
    expect(recognise('/server_info', { vllm_config: '…' })).toBeUndefined();
  });
});

describe('an adapter of a model', () => {
  it('is what has a parent, and a text for a name', () => {
    const models = {
      data: [
        { id: 'base', parent: null },
        { id: 'adapter', parent: 'base' },
        { id: 7, parent: 'base' },
        { id: 'odd', parent: ['base'] },
        null,
        'text',
      ],
    };
    expect(VLLM.lora.listed(models)).toEqual(['adapter']);
    expect(SGLANG.lora.listed(models)).toEqual(['adapter']);
    expect(LLAMACPP.lora.listed(models)).toEqual([]);
  });

  it('is loaded by the names that its engine reads, each under its own path', () => {
    const calls = ALL_DRIVERS.flatMap(({ kind, lora }) => {
      const call = lora.load?.('n', '/p');
      return call === undefined ? [] : [[kind, call.path, call.json]];
    });
    expect(calls).toEqual([
      ['vllm', '/v1/load_lora_adapter', { lora_name: 'n', lora_path: '/p' }],
      ['sglang', '/load_lora_adapter', { lora_name: 'n', lora_path: '/p' }],
    ]);
    expect(SGLANG.lora.unload?.('n')).toMatchObject({
      path: '/unload_lora_adapter',
      json: { lora_name: 'n' },
    });
  });
});
