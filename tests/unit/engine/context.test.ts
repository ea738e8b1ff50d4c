import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { contextIn } from '../../../src/engine/context.ts';

const list = (...entries: readonly unknown[]) => ({ object: 'list', data: entries });

describe('the context that a list of models tells', () => {
  it('is the largest max_model_len; adapters have none of their own', () => {
    const base = { id: 'm', object: 'model', owned_by: 'vllm', max_model_len: 32_768, parent: null };
    const adapter = { id: 'l', object: 'model', owned_by: 'vllm', max_model_len: null, parent: 'm' };
    expect(contextIn(list(base, adapter))).toBe(32_768);
    expect(contextIn(list({ ...base, max_model_len: 4_096 }, base))).toBe(32_768);
  });

  it.each([0, -1, 63, 1.5, 1e308, 1e9, Number.NaN, '32768', null, undefined, {}, [4_096], true])(
    '%s is none',
    (said) => {
      expect(contextIn(list({ id: 'm', max_model_len: said }))).toBeUndefined();
    },
  );

  it('is none of whatever is no such list', () => {
    fc.assert(
      fc.property(fc.anything(), (odd) => {
        expect(contextIn(odd)).toBeUndefined();
      }),
    );
    for (const odd of [null, 'x', [], {}, { data: {} }, list(null, 'x', 3, [])]) {
      expect(contextIn(odd)).toBeUndefined();
    }
  });
});
