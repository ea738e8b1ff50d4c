import { describe, expect, it } from 'vitest';
import { configOf, minimal, problemsOf, put, type Settings, warningsOf } from './parse.ts';

const settings = (adapters: unknown, more: Settings = {}): Settings => ({
  pools: { main: { endpoints: ['http://127.0.0.1:8000'], adaptersPerEndpoint: 2 } },
  models: { llama: { pool: 'main' } },
  tenants: { alice: { keys: ['key-of-alice-that-is-long'] }, bob: { keys: ['key-of-bob-that-is-long'] } },
  adapters,
  ...more,
});
const legal = { base: 'llama', path: '/adapters/legal', tenants: ['alice'] };

describe('an adapter', () => {
  it('has a base, and a path and tenants where they are given', () => {
    const { adapters, pools } = configOf(settings({ legal, plain: { base: 'llama' } }));
    expect([...adapters.values()]).toEqual([
      { name: 'legal', base: 'llama', path: '/adapters/legal', tenants: new Set(['alice']) },
      { name: 'plain', base: 'llama' },
    ]);
    expect(pools.get('main')?.adaptersPerEndpoint).toBe(2);
    expect(configOf(minimal()).pools.get('main')).not.toHaveProperty('adaptersPerEndpoint');
    expect(warningsOf(settings({ legal, plain: { base: 'llama' } }))).toEqual([]);
  });

  it.each<[string, Settings, string]>([
    [
      'a base that is nowhere',
      settings({ legal: { base: 'lama' } }),
      'adapters.legal.base: there is no model "lama"; did you mean "llama"?',
    ],
    [
      'itself as its base',
      settings({ legal: { base: 'legal' } }),
      'adapters.legal.base: is an adapter itself',
    ],
    [
      'an adapter as its base',
      settings({ legal, more: { base: 'legal' } }),
      'adapters.more.base: is an adapter itself',
    ],
    [
      'an alias as its base',
      settings({ legal: { base: 'x' } }, { aliases: { x: 'llama' } }),
      'adapters.legal.base: is an alias',
    ],
    ['a model’s name', settings({ llama: { base: 'llama' } }), "adapters.llama: is a model's own name"],
    [
      'an alias’s name',
      settings({ legal }, { aliases: { legal: 'llama' } }),
      "aliases.legal: is a model's own name",
    ],
    [
      'a tenant that is nowhere',
      settings({ legal: { ...legal, tenants: ['alice', 'carol'] } }),
      'adapters.legal.tenants[1]: there is no tenant "carol"',
    ],
    [
      'no tenant at all',
      settings({ legal: { ...legal, tenants: [] } }),
      'adapters.legal.tenants: must be a list of 1 to 1000 tenants',
    ],
    [
      'a canary',
      put(settings({ legal }), 'models.llama.canary', { model: 'legal' }),
      'models.llama.canary.model: is an adapter, and a canary may not be one',
    ],
    [
      'no place',
      put(settings({ legal }), 'pools.main.adaptersPerEndpoint', 0),
      'pools.main.adaptersPerEndpoint: must be a whole number from 1 to 1000',
    ],
    ['an empty path', settings({ legal: { ...legal, path: '' } }), 'adapters.legal.path: must be a path'],
    [
      'a path on two lines',
      settings({ legal: { ...legal, path: '/a\n/b' } }),
      'adapters.legal.path: must be a path',
    ],
    [
      'a huge path',
      settings({ legal: { ...legal, path: `/${'x'.repeat(2_000)}` } }),
      'adapters.legal.path: must be a path',
    ],
    [
      'an unknown key',
      settings({ legal: { ...legal, tenant: 'alice' } }),
      'adapters.legal.tenant: unknown setting; did you mean "tenants"?',
    ],
    [
      'the name of all models',
      settings({ '*': legal }),
      'adapters."*": the name must be 1 to 256 printable characters',
    ],
  ])('with %s is refused where it stands', (_, config, problem) => {
    expect(problemsOf(config).join('\n')).toContain(problem);
  });

  it('may be an alias’s model, a fallback, and in a tenant’s list', () => {
    const config = put(
      put(settings({ legal }, { aliases: { lawyer: 'legal' } }), 'models.llama.fallback', ['legal']),
      'tenants.alice.models',
      ['llama', 'legal', 'lawyer'],
    );
    expect(problemsOf(config)).toEqual([]);
    expect(warningsOf(config)).toEqual([]);
  });

  it('may have a base that an engine announces, where one is asked', () => {
    const config = put(settings({ legal }), 'models', undefined);
    expect(problemsOf(config)).toEqual([]);
    expect(warningsOf(config)).toEqual([]);
    const mixed = put(
      put(settings({ legal: { ...legal, base: 'lama' } }), 'pools.other', {
        endpoints: ['http://127.0.0.1:8001'],
        adaptersPerEndpoint: 1,
      }),
      'pools.main.adaptersPerEndpoint',
      undefined,
    );
    expect(warningsOf(mixed)).toEqual([
      expect.stringContaining(
        'no model "lama" is configured; the adapter can be used only if an engine announces it; did you mean "llama"?',
      ),
    ]);
  });

  it('is warned of when it has a path and no place, or a place has no adapter', () => {
    const without = put(settings({ legal }), 'pools.main.adaptersPerEndpoint', undefined);
    expect(warningsOf(without)).toEqual([
      expect.stringContaining(
        'adapters.legal.path: is never loaded: pools.main has no adaptersPerEndpoint; set it',
      ),
    ]);
    expect(warningsOf(settings({ legal: { base: 'llama' } }))).toEqual([
      expect.stringContaining('pools.main.adaptersPerEndpoint: has no effect'),
    ]);
    expect(warningsOf(settings({}))).toHaveLength(1);
  });

  it('that a tenant names and that is for others is warned of', () => {
    expect(warningsOf(put(settings({ legal }), 'tenants.bob.models', ['legal']))).toEqual([
      expect.stringContaining('tenants.bob.models: names the adapter "legal", which is for other tenants'),
    ]);
  });
});
