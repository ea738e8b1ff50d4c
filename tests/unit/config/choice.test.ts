/** `pools.NAME.choice`, `pools.NAME.kvCache` and `service.zone`. */
import { describe, expect, it } from 'vitest';
import { configOf, minimal, problemsOf, put, type Settings, warningsOf } from './parse.ts';

const A = 'http://a:1';
const B = 'http://b:1';

const pool = (settings: Settings, endpoints: readonly string[] = [A, B]): Settings => ({
  ...minimal(),
  pools: { main: { endpoints, ...settings } },
});
const choice = (settings: Settings, routing = 'class-aware'): Settings => pool({ routing, choice: settings });
const builtOf = (settings: Settings) => configOf(settings).pools.get('main');

describe('what the choice of an endpoint goes by', () => {
  it.each([
    'least-loaded',
    'balanced',
    'prefix-cache',
    'interactive',
    'large-tokens',
    'slow-client-isolation',
    'class-aware',
  ])('is one word: %s', (routing) => {
    expect(builtOf(pool({ routing }))?.routing).toBe(routing);
    expect(warningsOf(pool({ routing }))).toEqual([]);
  });

  it('has the weights that are written and no others', () => {
    expect(builtOf(choice({ weights: { zone: 2, prefix: 0 } }))?.choice.weights).toEqual({
      zone: 2,
      prefix: 0,
    });
  });

  it.each([
    [{ weights: { zone: -1 } }, 'weights.zone: must be a number from 0 to 100'],
    [{ weights: { zone: 1e9 } }, 'weights.zone: must be a number from 0 to 100'],
    [{ weights: { zone: '2' } }, 'weights.zone: must be a number from 0 to 100'],
    [{ weights: { zones: 2 } }, 'did you mean "zone"?'],
    [{ weights: 3 }, 'weights: must be a mapping'],
    [{ largeTokens: 0 }, 'largeTokens: must be a whole number'],
    [{ largeTokens: '8k' }, 'largeTokens: must be a whole number'],
    [{ slowClients: [] }, 'slowClients: must be a list of 1 to 255 URLs'],
    [{ slowClients: A }, 'slowClients: must be a list of 1 to 255 URLs'],
    [{ slowClients: ['http://c:1'] }, 'slowClients[0]: http://c:1 is no endpoint of pool "main"'],
    [{ slowClients: ['nowhere'] }, 'slowClients[0]: must be an http:// URL'],
    [{ slowClients: ['http://u:secret@a:1'] }, 'must not carry credentials'],
    [{ slowClients: ['env:MISSING'] }, 'MISSING'],
    [{ slowClients: [A, B] }, 'leaves no endpoint for other clients'],
    [{ sessionHeader: 'X-Session' }, 'sessionHeader: must be a header name in lower case'],
    [{ sessionHeader: 'a: b\r\nx' }, 'sessionHeader: must be a header name in lower case'],
    [{ zones: {} }, 'zones: must be a mapping of 1 to 64 zones'],
    [{ zones: { 'a b': [A] } }, 'the name must be 1 to 64 letters'],
    [{ zones: { eu: ['http://a:2'] } }, 'zones.eu[0]: http://a:2 is no endpoint of pool "main"'],
    [{ zones: { eu: [A], us: [B, 'http://A:1/'] } }, 'http://a:1 is in zone "eu" already'],
  ])('refuses %j: %s', (settings, expected) => {
    const problems = problemsOf(choice(settings));
    expect(problems.join()).toContain(expected);
    expect(problems.join()).not.toContain('secret');
  });

  it('knows endpoints however they are written', () => {
    const settings = choice({ slowClients: ['http://A:1/'], zones: { eu: ['env:WHERE'] } });
    const built = configOf(settings, { env: { WHERE: B } }).pools.get('main')?.choice;
    expect(built?.slowClients).toEqual([A]);
    expect(built?.zones).toEqual(new Map([['eu', [B]]]));
  });

  it('is warned of where it means nothing', () => {
    const all = { weights: { zone: 1 }, slowClients: [A], zones: { eu: [A] } };
    const warnings = warningsOf(choice(all, 'least-loaded'));
    expect(warnings).toHaveLength(3);
    expect(warnings.join()).toContain('choice.weights: has no effect with routing: least-loaded');
    const others = warningsOf(choice({ ...all, largeTokens: 5 }, 'balanced'));
    expect(others.map((line) => /choice\.(\w+)/.exec(line)?.[1])).toEqual([
      'slowClients',
      'zones',
      'largeTokens',
    ]);
  });

  it('has a zone that some endpoint is in', () => {
    const settings = put(choice({ zones: { eu: [A] } }), 'service.zone', 'eu');
    expect(configOf(settings).service.zone).toBe('eu');
    expect(warningsOf(settings)).toEqual([]);
    expect(warningsOf(put(settings, 'service.zone', 'us')).join()).toContain('no pool has endpoints in this');
  });
});

describe('the KV cache of an endpoint', () => {
  const shape = { layers: 32, kvHeads: 8, headDim: 128 };

  it('has a memory and the shape of a model, of 16 bits unless it says other', () => {
    const settings = pool({ kvCache: { memory: '20GiB', ...shape } });
    expect(builtOf(settings)?.kvCache).toEqual({
      memoryBytes: 20 * 1024 ** 3,
      shape: { ...shape, bytes: 2 },
    });
  });

  it.each([
    [{ memory: 20, ...shape }, 'kvCache.memory: must be a size from 1MiB to 65536GiB'],
    [{ memory: '20GB', ...shape }, 'for example 20GiB'],
    [{ ...shape }, 'kvCache.memory: is missing'],
    [{ memory: '20GiB', layers: 1.5, kvHeads: 8, headDim: 128 }, 'layers: must be a whole number'],
    [{ memory: '20GiB', ...shape, bytes: 16 }, 'bytes: must be a number from 0.25 to 8'],
    [{ memory: '20GiB', ...shape, layer: 3 }, 'did you mean "layers"?'],
    [{ memory: '1MiB', ...shape, headDim: 100_000 }, 'holds not one token of this model'],
  ])('refuses %j: %s', (kvCache, expected) => {
    expect(problemsOf(pool({ kvCache })).join()).toContain(expected);
  });
});
