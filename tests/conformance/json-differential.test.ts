import { describe, expect, it } from 'vitest';
import { difference, tokensOf } from '../prove/differential/tokens.ts';
import { run, told } from '../prove/differential.ts';
import { jsonDocumentOf } from '../support/documents.ts';

describe('what is accepted, Python’s json reads the same way', () => {
  it('in 2,000 bodies by chance, before and after they are edited', async () => {
    const { accepted, requests, differences } = await run({ mutations: 2_000, seed: 11, readers: 'python' });
    expect(differences.map(told)).toEqual([]);
    expect(accepted).toBe(2_000);
    // Enough of them are requests.
    expect(requests).toBeGreaterThan(800);
  });
});

describe('two readings differ', () => {
  it('when a value, a key, their order or a number does', () => {
    const ours = tokensOf(jsonDocumentOf({ a: [1, true, null], b: 'é' }));
    expect(ours).toBe('{ k61 [ #1 t n ] k62 sc3a9 }');
    expect(difference(ours, '{ k61 [ i1 t n ] k62 sc3a9 }')).toBeUndefined();
    expect(difference(ours, '{ k61 [ i1 t f ] k62 sc3a9 }')).toEqual(['n', 'f']);
    expect(difference(ours, '{ k61 [ i1 t n ] k63 sc3a9 }')).toEqual(['k62', 'k63']);
    expect(difference(ours, '{ k62 sc3a9 k61 [ i1 t n ] }')).toEqual(['k61', 'k62']);
    expect(difference(ours, '{ k61 [ i1 t n ] }')).toEqual(['k62', '}']);
    expect(difference(ours, '!Expecting value')).toEqual(['accepted', '!Expecting value']);
  });

  it.each([
    ['9007199254740993', 'i9007199254740993', true],
    ['9007199254740993', 'i9007199254740992', false],
    // A reader that makes a double of it.
    ['9007199254740993', 'd4340000000000000', true],
    ['9007199254740993', 'd4340000000000001', false],
    ['-0', 'i0', true],
    ['-0.0', 'd8000000000000000', true],
    ['-0.0', 'd0000000000000000', false],
    ['5e-324', 'd0000000000000001', true],
    ['1.0', 'i1', true],
    ['1', 't', false],
  ])('%s and %s: the same is %s', (text, token, isSame) => {
    expect(difference(`#${text}`, token) === undefined).toBe(isSame);
  });
});
