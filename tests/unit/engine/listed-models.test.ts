import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { listedModels } from '../../../src/engine/listed-models.ts';

const list = (...entries: readonly unknown[]) => ({ object: 'list', data: entries });
const VLLM = {
  id: 'Qwen/Qwen3-8B',
  object: 'model',
  created: 1_770_000_000,
  owned_by: 'vllm',
  root: 'Qwen/Qwen3-8B',
  parent: null,
  max_model_len: 40_960,
  permission: [
    { id: 'modelperm-1', object: 'model_permission', allow_view: true, group: null, is_blocking: false },
  ],
};
const LLAMA_CPP = {
  id: 'model.gguf',
  object: 'model',
  created: 1_770_000_000,
  owned_by: 'llamacpp',
  meta: {
    vocab_type: 2,
    n_vocab: 151_936,
    n_ctx_train: 40_960,
    n_embd: 4_096,
    n_params: 8_190_735_360,
    size: 5.02e9,
  },
};

describe('what an engine lists', () => {
  it('is passed on, but for what Fairlane says itself', () => {
    const models = listedModels(list(VLLM, LLAMA_CPP));
    const { root, parent, permission } = VLLM;
    expect(models.get(VLLM.id)).toEqual({ maxTokens: 40_960, facts: { root, parent, permission } });
    expect(models.get(LLAMA_CPP.id)).toEqual({ maxTokens: undefined, facts: { meta: LLAMA_CPP.meta } });
  });

  it.each([0, -1, 1.5, '4096', null, 1e300, {}])('has no context of %s tokens', (said) => {
    expect(listedModels(list({ id: 'm', max_model_len: said })).get('m')).toEqual({
      maxTokens: undefined,
      facts: {},
    });
  });

  it('loses what is too long, too deep, too much, or no text that is shown', () => {
    const deep = { a: { b: { c: { d: { e: 1 } } } } };
    const odd = {
      id: 'm',
      long: 'x'.repeat(513),
      escape: 'a\u001b[31m',
      deep,
      'a key': 1,
      wide: Array.from({ length: 33 }, () => 0),
      ok: [1],
    };
    expect(listedModels(list(odd)).get('m')?.facts).toEqual({ deep: { a: { b: {} } }, ok: [1] });
    const large = {
      id: 'l',
      ...Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`k${i}`, 'x'.repeat(400)])),
      max_model_len: 5,
    };
    expect(listedModels(list(large)).get('l')).toEqual({ maxTokens: 5, facts: {} });
    const many = listedModels(
      list(...Array.from({ length: 2_000 }, (_, i) => ({ id: `m${i}`, note: 'x'.repeat(500) }))),
    );
    expect(many.size).toBe(256);
    expect(JSON.stringify([...many]).length).toBeLessThan(100_000);
  });

  it('leaves out names that no model can have', () => {
    const names = ['', 'a b', 'é', 'x'.repeat(257), 7, null, ['m'], '__proto__', 'ok'];
    expect([...listedModels(list(...names.map((id) => ({ id })), null, 3, 'x')).keys()]).toEqual([
      '__proto__',
      'ok',
    ]);
  });

  it('pollutes no prototype', () => {
    const answer = JSON.parse(
      '{"data":[{"id":"m","__proto__":{"x":1},"meta":{"__proto__":{"x":1}}}]}',
    ) as unknown;
    const facts = listedModels(answer).get('m')?.facts as Record<string, unknown>;
    expect(facts).toEqual({ meta: {} });
    expect(facts['x']).toBeUndefined();
  });

  it('is bounded, and JSON, whatever comes', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.array(fc.jsonValue()), (answer, entries) => {
        listedModels(answer);
        for (const { facts } of listedModels({ data: entries }).values()) {
          expect(JSON.stringify(facts).length).toBeLessThanOrEqual(2_048);
        }
      }),
    );
  });
});
