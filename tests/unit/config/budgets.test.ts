import { describe, expect, it } from 'vitest';
import { checkBudgets, currenciesOf } from '../../../src/config/checks/budgets.ts';
import { createReport } from '../../../src/config/report.ts';
import { momentMs } from '../../../src/config/values.ts';
import { configOf, minimal, problemsOf, put, warningsOf } from './parse.ts';

const withLimits = (limits: unknown) => put(minimal(), 'tenants.alice.limits', limits);
const limitsOf = (limits: unknown) => configOf(withLimits(limits)).tenants.get('alice')?.limits;
const DECEMBER = Date.UTC(2026, 11, 1);

describe('budgetPerMonth', () => {
  it('is an amount, exact, with its currency', () => {
    expect(
      limitsOf({ budgetPerMonth: '500 EUR', onBudgetSpent: 'warn', budgetAlerts: [100, 50, 50] }),
    ).toMatchObject({
      budgetPerMonth: { currency: 'EUR', nano: 500e9 },
      onBudgetSpent: 'warn',
      budgetAlerts: [50, 100],
    });
    expect(limitsOf({ budgetPerMonth: '0.000000001 USD' })?.budgetPerMonth?.nano).toBe(1);
    expect(limitsOf({ budgetPerMonth: '9000000 EUR' })?.budgetPerMonth?.nano).toBe(9e15);
  });

  it.each([
    500,
    '500',
    'EUR 500',
    '500EUR',
    '500 eur',
    '0 EUR',
    '-5 EUR',
    '9000000.000000001 EUR',
    '0.0000000001 EUR',
    '1e3 EUR',
    '',
    null,
    ['500 EUR'],
    { amount: 500 },
    `${'9'.repeat(10_000)} EUR`,
  ])('is no %s', (budget) => {
    expect(problemsOf(withLimits({ budgetPerMonth: budget })).join('\n')).toMatch(
      /alice\.limits\.budgetPerMonth: (must be|is empty; it must be) an amount with its currency, for example 500 EUR/,
    );
  });

  it('of a tier is lifted by unlimited, and overridden', () => {
    const settings = put(minimal(), 'tiers', { gold: { budgetPerMonth: '5 EUR' } });
    const of = (limits: unknown) =>
      configOf(put(settings, 'tenants.alice', { keys: ['key-of-alice'], tier: 'gold', limits })).tenants.get(
        'alice',
      )?.limits.budgetPerMonth;
    expect(of({})).toEqual({ currency: 'EUR', nano: 5e9 });
    expect(of({ budgetPerMonth: '7 EUR' })).toEqual({ currency: 'EUR', nano: 7e9 });
    expect(of({ budgetPerMonth: 'unlimited' })).toBeUndefined();
  });

  it('without prices is warned of, and where nothing is kept over a restart', () => {
    const warnings = warningsOf(withLimits({ budgetPerMonth: '5 EUR' })).join('\n');
    expect(warnings).toContain(
      'budgetPerMonth: has no effect without prices: nothing is charged; add prices',
    );
    expect(warnings).toContain('budgetPerMonth: begins anew at every restart');
    expect(warningsOf(withLimits({ onBudgetSpent: 'warn' })).join('\n')).toContain(
      'onBudgetSpent: has no effect without budgetPerMonth',
    );
  });

  it('must be in a currency of the prices, wherever they stand', () => {
    const root = {
      prices: { default: { prompt: '1 EUR' }, tenants: { a: { models: { m: [{ prompt: '2 CHF' }] } } } },
      tiers: { gold: { budgetPerMonth: '5 USD', modelLimits: { m: { budgetPerMonth: '1 USD' } } } },
      tenants: {
        a: { limits: { budgetPerMonth: '5 CHF' } },
        b: {
          limits: { budgetPerMonth: '5 USD' },
          modelLimits: { m: { budgetPerMonth: '1 USD' }, n: { budgetPerMonth: '1 EUR' } },
          keys: ['key', { key: 'other', limits: { budgetPerMonth: '1 USD' } }],
        },
      },
    };
    expect(currenciesOf(root)).toEqual(new Set(['EUR', 'CHF']));
    expect(currenciesOf({ prices: { currency: 'EUR', models: {} } })).toEqual(new Set(['EUR']));
    expect(currenciesOf({ prices: {} })).toBeUndefined();
    const report = createReport({
      file: 'f',
      hide: (text) => text,
      position: () => ({ line: 1, column: 1 }),
    });
    checkBudgets({ root, report, hide: (text) => text, env: {}, isUnresolved: false, nowMs: undefined });
    const problem = 'is in USD, and prices are in CHF or EUR: write it in CHF or EUR';
    expect(report.problems()).toEqual([
      `f:1:1: tiers.gold.budgetPerMonth: ${problem}`,
      `f:1:1: tiers.gold.modelLimits.m.budgetPerMonth: ${problem}`,
      `f:1:1: tenants.b.limits.budgetPerMonth: ${problem}`,
      `f:1:1: tenants.b.modelLimits.m.budgetPerMonth: ${problem}`,
      `f:1:1: tenants.b.keys[1].limits.budgetPerMonth: ${problem}`,
    ]);
  });

  it('must be in a currency of the prices of a whole configuration, whose costs may be in another', () => {
    const priced = (budgetPerMonth: string) => ({
      ...withLimits({ budgetPerMonth }),
      prices: { default: { prompt: '1 EUR' } },
      pools: {
        main: { endpoints: ['http://127.0.0.1:8000'], gpuPrice: { perHour: '2.50 USD', per: 'endpoint' } },
      },
    });
    expect(problemsOf(priced('5 EUR'))).toEqual([]);
    expect(problemsOf(priced('5 USD')).join()).toContain(
      'alice.limits.budgetPerMonth: is in USD, and prices are in EUR: write it in EUR',
    );
  });
});

describe('budgetAlerts', () => {
  it.each([[[0]], [[101]], [[80.5]], ['80'], [[1, 2, 3, 4, 5, 6, 7, 8, 9]], [['80']]])(
    'are not %j',
    (alerts) => {
      expect(problemsOf(withLimits({ budgetAlerts: alerts }))).toHaveLength(1);
    },
  );
});

describe('raises', () => {
  it('have an end, and limits', () => {
    const raises = [
      { until: '2026-12-01T00:00:00Z', budgetPerMonth: '800 EUR', tokensPerMonth: 'unlimited' },
      { until: '2026-12-01', requestsPerMinute: 5 },
    ];
    expect(limitsOf({ raises })?.raises).toEqual([
      {
        untilMs: DECEMBER,
        budgetPerMonth: { currency: 'EUR', nano: 800e9 },
        tokensPerMonth: Number.POSITIVE_INFINITY,
      },
      { untilMs: DECEMBER, requestsPerMinute: 5 },
    ]);
  });

  it('end at a time that there is, with its zone', () => {
    expect(momentMs('2026-12-01T01:00:00+01:00')).toBe(DECEMBER);
    expect(momentMs('2028-02-29')).toBe(Date.UTC(2028, 1, 29));
    const bad = [
      '2026-02-30',
      '2026-13-01',
      '2026-12-01T00:00:00',
      '2026-12-01T24:00:00Z',
      '1.12.2026',
      '',
      '2026',
    ];
    expect(bad.map(momentMs)).toEqual(bad.map(() => undefined));
    expect(problemsOf(withLimits({ raises: [{ until: '2026-02-30', tokensPerMonth: 5 }] })).join()).toContain(
      'raises[0].until: must be a time with its zone',
    );
    expect(problemsOf(withLimits({ raises: [{ tokensPerMonth: 5 }] })).join()).toContain('until: is missing');
  });

  it('that do nothing are warned of', () => {
    const until = '2026-12-01';
    const warned = (limits: object, raise: object, nowMs = 0) =>
      warningsOf(withLimits({ ...limits, raises: [{ until, ...raise }] }), { nowMs }).join('\n');
    expect(warned({ tokensPerMinute: 5 }, { tokensPerMinute: 9 })).toBe('');
    expect(warned({ tokensPerMinute: 5 }, { tokensPerMinute: 9 }, DECEMBER)).toContain('is over');
    expect(warned({ tokensPerMinute: 5 }, { tokensPerMinute: 5 })).toContain('is as high without it');
    expect(warned({}, { tokensPerMinute: 5 })).toContain('tokensPerMinute is not limited');
    expect(warned({}, {})).toContain('raises nothing');
    const budget = { budgetPerMonth: '5 EUR' };
    expect(
      problemsOf(withLimits({ ...budget, raises: [{ until, budgetPerMonth: '9 USD' }] })).join(),
    ).toContain('is in another currency than the budgetPerMonth that it raises');
  });
});

describe('webhooks', () => {
  const SECRET = `whsec_${Buffer.alloc(32, 5).toString('base64')}`;
  const env = { HOOK_SECRET: SECRET, HOOK_URL: 'https://hooks.example.com/x?token=abcdefgh' };
  const hooked = (hook: object) =>
    put(minimal(), 'webhooks', [{ url: 'https://hooks.example.com/x', secret: 'env:HOOK_SECRET', ...hook }]);

  it('have a URL, a key and topics', () => {
    expect(configOf(hooked({ events: ['redis', 'budget'] }), { env }).webhooks).toEqual([
      {
        url: 'https://hooks.example.com/x',
        host: 'hooks.example.com',
        secret: SECRET.slice(6),
        events: new Set(['budget', 'redis']),
      },
    ]);
    expect(configOf(hooked({ url: 'env:HOOK_URL' }), { env }).webhooks).toMatchObject([
      { url: env.HOOK_URL, events: new Set(['budget']) },
    ]);
    expect(configOf(minimal())).not.toHaveProperty('webhooks');
  });

  it.each(['http://127.0.0.1:9000/x', 'http://localhost/x', 'http://[::1]:80/x'])(
    'may be %s, on this machine',
    (url) => {
      expect(problemsOf(hooked({ url }), { env })).toEqual([]);
    },
  );

  it.each([
    ['http://hooks.example.com/x', 'is http:// to another machine'],
    ['http://127.0.0.1.example.com/x', 'is http:// to another machine'],
    ['ftp://hooks.example.com', 'must be an https:// URL'],
    ['https://user:password-1@hooks.example.com', 'must not carry credentials'],
    ['https://hooks.example.com/#x', 'must not have a fragment'],
    ['env:NOT_SET', 'environment variable NOT_SET is not set'],
    [5, 'must be an https:// URL'],
  ])('are not at %s', (url, problem) => {
    const problems = problemsOf(hooked({ url }), { env }).join('\n');
    expect(problems).toContain(problem);
    expect(problems).not.toContain('password-1');
  });

  it('may be insecure where that is said', () => {
    expect(problemsOf(hooked({ url: 'http://hooks.example.com/x', insecure: true }), { env })).toEqual([]);
  });

  it('need a key of 24 to 64 bytes, which is never shown', () => {
    for (const bytes of [0, 23, 65]) {
      const HOOK_SECRET = `whsec_${Buffer.alloc(bytes, 5).toString('base64')}`;
      const problems = problemsOf(hooked({}), { env: { HOOK_SECRET } }).join('\n');
      expect(problems).toContain('must be whsec_ and 24 to 64 bytes in base64');
      if (bytes > 0) expect(problems).not.toContain(HOOK_SECRET);
    }
    expect(warningsOf(hooked({ secret: SECRET })).join('\n')).toContain('is a secret in this file');
    expect(warningsOf(hooked({ secret: SECRET })).join('\n')).not.toContain(SECRET);
  });

  it.each([{ events: [] }, { events: ['everything'] }, { insecure: 'yes' }, { secret: 5 }, { other: 1 }])(
    'are not %j',
    (hook) => {
      expect(problemsOf(hooked(hook), { env })).toHaveLength(1);
    },
  );
});
