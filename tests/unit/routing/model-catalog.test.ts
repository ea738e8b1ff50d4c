import { describe, expect, it } from 'vitest';
import type { Config, TenantConfig } from '../../../src/config/config.ts';
import { type Catalog, createCatalog, mayUseAdapter } from '../../../src/routing/model-catalog.ts';
import { configOf } from '../config/parse.ts';

const tenantOf = (config: Config, name: string): TenantConfig => {
  const found = config.tenants.get(name);
  if (found === undefined) throw new Error(`no tenant ${name}`);
  return found;
};
const settings = (models: object) => ({
  pools: {
    main: { endpoints: ['http://127.0.0.1:8000'], adaptersPerEndpoint: 2 },
    other: { endpoints: ['http://127.0.0.1:8001'] },
  },
  models,
  aliases: { lawyer: 'legal', style: 'shared' },
  adapters: {
    legal: { base: 'llama', path: '/l', tenants: ['alice'] },
    shared: { base: 'llama', path: '/s' },
  },
  tenants: {
    alice: { keys: ['a'], models: ['llama'] },
    all: { keys: ['b'] },
    named: { keys: ['c'], models: ['shared'] },
    aliased: { keys: ['d'], models: ['style'] },
  },
});
const cost = { prompt: 1, cachedPrompt: 0, output: 7 };
const configured = configOf(settings({ llama: { pool: 'main', cost }, tiny: { pool: 'other' } }));

function choice(catalog: Catalog, config: Config, tenant: string, asked: string): string {
  const chosen = catalog.choose(tenantOf(config, tenant), asked, () => undefined);
  return chosen.kind === 'serve' ? chosen.model : chosen.kind;
}

describe('an adapter in the catalog', () => {
  const catalog = createCatalog(configured);
  it('is a model of its base’s pool, at its base’s cost', () => {
    expect(catalog.poolOf('legal')).toBe('main');
    expect(catalog.costOf('legal')).toEqual({ prompt: 1, cached: 0, output: 7 });
    expect(catalog.adapterOf('legal')?.path).toBe('/l');
    expect(catalog.adapterOf('llama')).toBeUndefined();
    expect(catalog.modelOfPool('main')).toBe('llama');
  });
  it('is there for its tenants, by its name and its alias, and denied to all others', () => {
    const asked = ['legal', 'lawyer', 'shared', 'style'];
    const all = (tenant: string) => asked.map((name) => choice(catalog, configured, tenant, name));
    expect(all('alice')).toEqual(['legal', 'legal', 'denied', 'denied']);
    expect(all('all')).toEqual(['denied', 'denied', 'shared', 'shared']);
    expect(all('named')).toEqual(['denied', 'denied', 'shared', 'shared']);
    expect(all('aliased')).toEqual(['denied', 'denied', 'denied', 'shared']);
  });
  it('is listed to who may use it, and to nobody else', () => {
    const listed = (tenant: string) => catalog.modelsOf(tenantOf(configured, tenant));
    expect(listed('alice')).toEqual(['lawyer', 'legal', 'llama']);
    expect(listed('all')).toEqual(['llama', 'shared', 'style', 'tiny']);
    expect(listed('named')).toEqual(['shared', 'style']);
    expect(listed('aliased')).toEqual(['style']);
  });
  it('is there with its base, where that is announced, and opened to nobody by being announced itself', () => {
    const config = configOf(settings({}));
    const discovering = createCatalog(config);
    discovering.discovered('other', ['legal', 'shared']);
    expect(discovering.poolOf('legal')).toBeUndefined();
    expect(choice(discovering, config, 'all', 'legal')).toBe('denied');
    discovering.discovered('main', ['legal', 'llama', 'unnamed']);
    expect(discovering.poolOf('legal')).toBe('main');
    expect(discovering.poolOf('shared')).toBe('main');
    expect(choice(discovering, config, 'all', 'legal')).toBe('denied');
    expect(choice(discovering, config, 'alice', 'legal')).toBe('legal');
    expect(choice(discovering, config, 'all', 'unnamed')).toBe('unnamed');
    discovering.reconfigure({ ...config, adapters: new Map() });
    expect(choice(discovering, config, 'all', 'legal')).toBe('legal');
    expect(discovering.adapterOf('legal')).toBeUndefined();
  });
});

describe('who may use an adapter', () => {
  const tenant = (models: TenantConfig['models']): TenantConfig => ({
    name: 'acme',
    keys: [],
    models,
    limits: { weight: 1, maxOutputs: 1, maxQueued: 1 },
  });
  it('is who it belongs to, or whose models name it', () => {
    const own = { name: 'tone', base: 'large', tenants: new Set(['acme']) };
    const others = { ...own, tenants: new Set(['other']) };
    const shared = { name: 'tone', base: 'large' };
    expect(mayUseAdapter(tenant(new Set()), own)).toBe(true);
    expect(mayUseAdapter(tenant('*'), others)).toBe(false);
    expect(mayUseAdapter(tenant('*'), shared)).toBe(true);
    expect(mayUseAdapter(tenant(new Set(['large'])), shared)).toBe(false);
    expect(mayUseAdapter(tenant(new Set(['tone'])), shared)).toBe(true);
  });
});
