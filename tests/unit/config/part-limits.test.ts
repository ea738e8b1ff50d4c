/** Limits of single models and keys, as they are written. */
import { describe, expect, it } from 'vitest';
import type { Limits } from '../../../src/config/config.ts';
import { configOf, full, minimal, problemsOf, put, type Settings, warningsOf } from './parse.ts';

const models = { llama: { pool: 'main' }, 'org/7B: large': { pool: 'main' } };
const base = (settings: Settings = {}): Settings => ({
  ...minimal(),
  models,
  adapters: { legal: { base: 'llama' } },
  aliases: { best: 'llama' },
  tiers: { free: {} },
  ...settings,
});
const withModels = (modelLimits: unknown): Settings => put(base(), 'tenants.alice.modelLimits', modelLimits);
const limitsOf = (settings: unknown): Limits | undefined => configOf(settings).tenants.get('alice')?.limits;

describe('limits of a model', () => {
  it('override those of the tier, key by key, and unlimited lifts one', () => {
    const lifted = put(full(), 'tenants.alice.modelLimits.llama.requestsPerMinute', 'unlimited');
    const merged = limitsOf(lifted)?.byModel;
    expect([...(merged ?? [])]).toEqual([
      [
        'llama',
        expect.objectContaining({
          tokensPerMinute: 10_000,
          tokenBurst: 1_000,
          tokensPerMonth: 400_000,
          maxContext: 800,
        }),
      ],
    ]);
    const settings = base({
      tiers: { free: { modelLimits: { llama: { tokensPerMinute: 5 }, legal: { requestsPerMinute: 2 } } } },
      tenants: {
        alice: { keys: ['key-of-alice'], tier: 'free', modelLimits: { llama: { requestsPerMinute: 9 } } },
      },
    });
    expect(limitsOf(settings)?.byModel?.get('llama')).toMatchObject({
      tokensPerMinute: 5,
      requestsPerMinute: 9,
    });
    expect(limitsOf(settings)?.byModel?.get('legal')).toMatchObject({ requestsPerMinute: 2 });
    const lifting = { tokensPerMinute: 'unlimited', requestsPerMinute: 9 };
    const ofLlama = limitsOf(put(settings, 'tenants.alice.modelLimits.llama', lifting))?.byModel?.get(
      'llama',
    );
    expect(ofLlama).toMatchObject({ requestsPerMinute: 9 });
    expect(ofLlama).not.toHaveProperty('tokensPerMinute');
  });

  it('are not there where they bound nothing', () => {
    expect(limitsOf(base())).not.toHaveProperty('byModel');
    for (const nothing of [
      {},
      { llama: {} },
      { llama: { tokensPerMinute: 'unlimited' } },
      { llama: { tokenBurst: 5 } },
    ]) {
      expect(limitsOf(withModels(nothing))).not.toHaveProperty('byModel');
    }
  });

  it('are those of visitors of the tier, too', () => {
    const jwt = {
      issuer: 'https://issuer.test/',
      jwks: 'https://issuer.test/keys',
      tenantClaim: 'sub',
      unknownTenants: 'free',
    };
    const settings = base({
      identity: { jwt },
      tiers: { free: { modelLimits: { llama: { tokensPerMinute: 5 } } } },
    });
    const free = configOf(settings).jwt?.visitors?.limits.get('free');
    expect(free?.byModel?.get('llama')).toMatchObject({ tokensPerMinute: 5 });
  });

  it.each([
    ['nobody', { gpt: { tokensPerMinute: 1 } }, 'modelLimits.gpt: there is no model "gpt"'],
    [
      'an alias',
      { best: { tokensPerMinute: 1 } },
      'best: is an alias; name the model that it stands for: "llama"',
    ],
    ['all', { '*': { tokensPerMinute: 1 } }, 'modelLimits'],
    ['a list', ['llama'], 'must be a mapping'],
    ['a number', { llama: 5 }, 'must be a mapping'],
    ['no number', { llama: { tokensPerMinute: 0 } }, 'tokensPerMinute: must be a whole number'],
    ['text', { llama: { tokensPerMonth: '1e3' } }, 'tokensPerMonth: must be a whole number'],
    ['what only a tenant has', { llama: { maxQueued: 5 } }, 'maxQueued'],
    ['another weight', { llama: { weight: 5 } }, 'weight'],
    ['itself', { llama: { modelLimits: {} } }, 'modelLimits'],
    ['a prototype', { constructor: { tokensPerMinute: 1 } }, 'there is no model "constructor"'],
    [
      'too many',
      Object.fromEntries(Array.from({ length: 257 }, (_, i) => [`m${i}`, {}])),
      'must be a mapping of 0 to 256 models',
    ],
  ])('are refused of %s', (_, modelLimits, problem) => {
    expect(problemsOf(withModels(modelLimits)).join('\n')).toContain(problem);
    const tier = put(base(), 'tiers.free.modelLimits', modelLimits);
    expect(problemsOf(tier).join('\n')).toContain(problem.replace('tenants.alice.', 'tiers.free.'));
  });

  it('may be of a model that an engine announces', () => {
    const settings = put(minimal(), 'tenants.alice.modelLimits', { gpt: { tokensPerMinute: 5 } });
    expect(limitsOf(settings)?.byModel?.has('gpt')).toBe(true);
    const some = put(base(), 'pools.other', { endpoints: ['http://127.0.0.1:8001'] });
    expect(
      warningsOf(put(some, 'tenants.alice.modelLimits', { gpt: { tokensPerMinute: 5 } })).join(),
    ).toMatch(/gpt: no model "gpt" is configured; its limits count only if an engine announces it/);
  });

  it('are told when they have no effect', () => {
    const told = (modelLimits: object): string =>
      warningsOf(
        put(
          put(withModels(modelLimits), 'tenants.alice.limits', { tokensPerMinute: 10 }),
          'redis',
          undefined,
        ),
      ).join('\n');
    expect(told({ llama: { tokensPerMinute: 11 } })).toContain(
      "modelLimits.llama.tokensPerMinute: has no effect: the tenant's own tokensPerMinute is 10, which is less",
    );
    expect(told({ llama: { tokensPerMinute: 10 } })).toBe('');
    expect(told({ llama: { requestBurst: 3 } })).toContain(
      'requestBurst: has no effect without requestsPerMinute',
    );
    expect(told({ llama: { tokensPerMonth: 3 } })).toContain('begins anew at every restart');
  });
});

describe('limits of a key', () => {
  const withKeys = (...keys: readonly unknown[]): Settings => put(base(), 'tenants.alice.keys', keys);

  it('are found by the id of the key, which is that of its hash', () => {
    const limits = { requestsPerMinute: 5, tokensPerMonth: 100 };
    const settings = withKeys(
      'key-of-alice',
      { key: 'other-key-of-alice', limits },
      { key: 'third-key', limits: {} },
    );
    const alice = configOf(settings).tenants.get('alice');
    const id = alice?.keys[1]?.id ?? '';
    expect([...(alice?.limits.byKey ?? [])]).toEqual([[id, expect.objectContaining(limits)]]);
  });

  it('may be budgets, with their ends, warnings and raises; the month goes by the key’s name', () => {
    const written = {
      budgetPerMonth: '5 EUR',
      onBudgetSpent: 'warn',
      budgetAlerts: [90, 50],
      raises: [{ until: '2100-01-01', budgetPerMonth: '8 EUR' }],
    };
    const built = {
      budgetPerMonth: { currency: 'EUR', nano: 5e9 },
      onBudgetSpent: 'warn',
      budgetAlerts: [50, 90],
      raises: [{ untilMs: Date.UTC(2100, 0), budgetPerMonth: { currency: 'EUR', nano: 8e9 } }],
    };
    const settings = put(
      withKeys({ key: 'key-of-alice', name: 'ci', limits: written }),
      'tenants.alice.modelLimits',
      { llama: written },
    );
    const { limits } = configOf(settings).tenants.get('alice') ?? {};
    expect([...(limits?.byKey?.values() ?? [])]).toEqual([
      expect.objectContaining({ ...built, bucketsOf: 'name:ci' }),
    ]);
    expect(limits?.byModel?.get('llama')).toMatchObject(built);
    expect(
      configOf(withKeys({ key: 'key-of-alice', limits: { budgetAlerts: [] } })).tenants.get('alice')?.limits,
    ).not.toHaveProperty('byKey');
  });

  it('are in the currency of prices, and their raises raise something', () => {
    const prices = { models: { llama: { prompt: '1 EUR' } } };
    const of = (limits: object): Settings =>
      put(put(withKeys({ key: 'key-of-alice', limits }), 'prices', prices), 'tenants.alice.modelLimits', {
        llama: limits,
      });
    const problems = problemsOf(of({ budgetPerMonth: '5 USD' })).join('\n');
    for (const path of ['keys[0].limits', 'modelLimits.llama']) {
      expect(problems).toContain(`${path}.budgetPerMonth: is in USD, and prices are in EUR: write it in EUR`);
    }
    const raises = [{ until: '2100-01-01', tokensPerMonth: 5 }];
    const warnings = warningsOf(of({ tokensPerMonth: 10, raises })).join('\n');
    for (const path of ['keys[0].limits', 'modelLimits.llama']) {
      expect(warnings).toContain(
        `${path}.raises[0].tokensPerMonth: has no effect: tokensPerMonth is as high without it`,
      );
    }
    const wide = put(of({ budgetPerMonth: '6 EUR' }), 'tenants.alice.limits', { budgetPerMonth: '5 EUR' });
    expect(warningsOf(wide).join('\n')).toContain(
      "budgetPerMonth: has no effect: the tenant's own budgetPerMonth is 5.00 EUR, which is less",
    );
  });

  it.each([
    [{ limits: { weight: 3 } }, 'weight'],
    [{ limits: { requestsPerMinute: -1 } }, 'requestsPerMinute: must be a whole number'],
    [{ limits: 5 }, 'must be a mapping'],
    [{ limits: { modelLimits: {} } }, 'modelLimits'],
  ])('are refused: %j', (limits, problem) => {
    expect(problemsOf(withKeys({ key: 'key-of-alice', ...limits })).join('\n')).toContain(problem);
  });

  it('are told when they have no effect', () => {
    const settings = put(
      withKeys({ key: 'key-of-alice', limits: { maxContext: 50 } }),
      'tenants.alice.limits',
      {
        maxContext: 40,
      },
    );
    expect(warningsOf(settings).join('\n')).toContain(
      "keys[0].limits.maxContext: has no effect: the tenant's own maxContext is 40, which is less",
    );
  });
});
