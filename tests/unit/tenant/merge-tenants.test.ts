import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createMemoryStore } from '../../../src/limit/memory-store.ts';
import { createTenantDirectory } from '../../../src/tenant/directory.ts';
import { makeKey } from '../../../src/tenant/made-key.ts';
import { CheckedTenants, mergeTenants } from '../../../src/tenant/merge-tenants.ts';
import { stateFromJson, stateToJson } from '../../../src/tenant/stored-json.ts';
import type { StoredKey, StoredState, StoredTenant } from '../../../src/tenant/tenant-store.ts';
import { cpuMs } from '../../support/cpu-time.ts';
import { configOf, minimal } from '../config/parse.ts';

const NOW = Date.UTC(2026, 10, 29);
const env = { ADMIN: 'token-that-may-write-0123456789abcdef' };
const files = (more: Record<string, unknown> = {}) =>
  configOf(
    { ...minimal(), tiers: { gold: { weight: 2 } }, admin: { token: 'env:ADMIN', directory: '/s' }, ...more },
    { env },
  );
const tenant = (
  name: string,
  settings: StoredTenant['settings'] = {},
  more: Partial<StoredTenant> = {},
): StoredTenant => ({
  name,
  settings,
  isDisabled: false,
  createdMs: 1,
  changedMs: 1,
  version: 1,
  ...more,
});
const key = (owner: string, more: Partial<StoredKey> = {}): StoredKey => {
  const { id, digest } = makeKey();
  return { id, digest, tenant: owner, createdMs: 1, ...more };
};
const stateOf = (tenants: readonly StoredTenant[], keys: readonly StoredKey[] = []): StoredState => ({
  version: 1,
  tenants: new Map(tenants.map((one) => [one.name, one])),
  keys: new Map(keys.map((one) => [one.id, one])),
});

describe('made tenants', () => {
  it('are served beside those of files, with their tier’s limits', () => {
    const own = key('acme', { name: 'ci', models: ['m'], routes: ['embeddings', 'of another version'] });
    const { config } = mergeTenants(
      files(),
      stateOf([tenant('acme', { tier: 'gold', limits: { maxQueued: 3 } })], [own]),
      NOW,
    );
    expect([...config.tenants.keys()]).toEqual(['alice', 'acme']);
    expect(config.tenants.get('acme')).toMatchObject({
      tier: 'gold',
      limits: { weight: 2, maxQueued: 3 },
      keys: [
        {
          id: own.id,
          name: 'ci',
          secret: { kind: 'sha256', digest: own.digest },
          routes: new Set(['embeddings']),
        },
      ],
    });
  });

  it('are not served while disabled, and neither are keys that ended', () => {
    const ended = [key('acme', { revokedMs: 5 }), key('acme', { expiresMs: NOW })];
    const { config } = mergeTenants(
      files(),
      stateOf([tenant('acme'), tenant('off', {}, { isDisabled: true })], [...ended, key('off')]),
      NOW,
    );
    expect(config.tenants.get('acme')?.keys).toEqual([]);
    expect(config.tenants.has('off')).toBe(false);
  });

  it('that a configuration no longer fits are kept out, the others are served', () => {
    const state = stateOf(
      [tenant('a', { tier: 'gold' }), tenant('b', { models: ['gone'] }), tenant('c')],
      [key('nobody')],
    );
    const without = files({ tiers: {}, models: { m: { pool: 'main' } } });
    const { config, keptOut } = mergeTenants(without, state, NOW);
    expect([...config.tenants.keys()]).toEqual(['alice', 'c']);
    expect(keptOut.map((one) => [one.tenant, one.problems[0]])).toEqual([
      ['a', expect.stringContaining('tier: there is no tier "gold"')],
      ['b', expect.stringContaining('models[0]: there is no model "gone"')],
      ['nobody', expect.stringContaining('its settings are gone')],
    ]);
  });

  it('that are not served come with no token either, and are back when they are', () => {
    const jwt = { issuer: 'https://i.test/', jwks: 'https://i.test/keys', tenantClaim: 'sub' };
    const base = configOf(
      {
        ...minimal(),
        tiers: { free: { requestsPerMinute: 5 } },
        admin: { token: 'env:ADMIN', directory: '/s' },
        identity: { jwt: { ...jwt, audience: 'us', unknownTenants: 'free' } },
      },
      { env },
    );
    const directoryOf = (...made: readonly StoredTenant[]) => mergeTenants(base, stateOf(made), NOW).config;
    const visit = (name: string) => {
      const found = directory.visit(name, () => '', 0);
      return typeof found === 'object' ? found.config.tier : found;
    };
    const directory = createTenantDirectory(directoryOf(), createMemoryStore(), () => NOW);
    expect([visit('off'), visit('unfit')]).toEqual(['free', 'free']);
    const unfit = tenant('unfit', { tier: 'gone' });
    directory.reconfigure(directoryOf(tenant('off', {}, { isDisabled: true }), unfit));
    expect([visit('off'), visit('unfit'), visit('other')]).toEqual(['locked-out', 'locked-out', 'free']);
    expect(directory.get('off')).toBeUndefined();
    directory.reconfigure(directoryOf(tenant('off'), unfit));
    expect(directory.visit('off', () => '', 0)).toMatchObject({ config: { name: 'off' } });
  });

  it('of a file have the file’s settings and the keys of both', () => {
    const own = key('alice');
    const { config, differs } = mergeTenants(
      files(),
      stateOf([tenant('alice', { tier: 'gold', models: ['x'] })], [own]),
      NOW,
    );
    expect(config.tenants.get('alice')?.tier).toBeUndefined();
    expect(config.tenants.get('alice')?.keys.at(-1)?.id).toBe(own.id);
    expect(differs.get('alice')).toEqual([
      'tier: file default, made "gold"',
      'models: file "*", made ["x"]',
      'limits.weight: file 1, made 2',
    ]);
    expect(mergeTenants(files(), stateOf([tenant('alice')]), NOW).differs.get('alice')).toEqual([]);
    const disabled = mergeTenants(files(), stateOf([tenant('alice', {}, { isDisabled: true })], [own]), NOW);
    expect(disabled.config.tenants.get('alice')?.keys).toHaveLength(1);
  });

  it('there are none without an admin API', () => {
    const alone = configOf(minimal());
    expect(mergeTenants(alone, stateOf([tenant('acme')]), NOW).config).toBe(alone);
  });

  it('of a thousand one changes: it costs some milliseconds', () => {
    const base = files();
    const many = Array.from({ length: 1_000 }, (_, i) =>
      tenant(`t${i}`, { tier: 'gold', limits: { requestsPerMinute: 60 } }),
    );
    const keys = many.map(({ name }) => key(name));
    const checks = new CheckedTenants();
    mergeTenants(base, stateOf(many, keys), NOW, checks);
    const changed = [tenant('t0', { tier: 'gold' }, { version: 2 }), ...many.slice(1)];
    const began = cpuMs();
    const { config } = mergeTenants(base, stateOf(changed, keys), NOW, checks);
    expect(cpuMs() - began).toBeLessThan(200);
    expect(config.tenants.get('t0')?.limits.requestsPerMinute).toBeUndefined();
    expect(config.tenants.get('t1')?.limits.requestsPerMinute).toBe(60);
  });

  it('whatever is stored, files are served as they were', () => {
    const base = files();
    const name = fc.oneof(fc.string(), fc.constantFrom('alice', '__proto__', 'constructor', 'a\nb'));
    fc.assert(
      fc.property(name, fc.dictionary(fc.string(), fc.jsonValue()), (called, settings) => {
        const { config } = mergeTenants(base, stateOf([tenant(called, settings)]), NOW);
        expect(config.tenants.get('alice')).toEqual(base.tenants.get('alice'));
        for (const served of config.tenants.keys())
          expect(served).toMatch(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/);
      }),
      { seed: 16, numRuns: 200 },
    );
  });
});

describe('the copy of made tenants', () => {
  it('has all of a state, and nothing else is one', () => {
    const state = stateOf(
      [tenant('acme', { limits: { weight: 2 } })],
      [key('acme', { name: 'n', expiresMs: 5 })],
    );
    expect(stateFromJson(stateToJson(state))).toEqual(state);
    for (const text of [
      '',
      '{}',
      'null',
      '{"version":1,"tenants":[{}],"keys":[]}',
      '{"version":-1,"tenants":[],"keys":[]}',
    ]) {
      expect(() => stateFromJson(text)).toThrow();
    }
  });
});
