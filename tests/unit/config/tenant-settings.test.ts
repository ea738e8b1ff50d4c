/** Settings of tenants that are made while Fairlane runs: the same mistakes as in a file. */
import { describe, expect, it } from 'vitest';
import { checkTenantSettings } from '../../../src/config/tenant-settings.ts';
import { configOf, full, problemsOf, put, warningsOf } from './parse.ts';

const env = { ADMIN: 'token-that-may-write-0123456789abcdef' };
const withAdmin = (more: Record<string, unknown> = {}) => ({
  ...full(),
  admin: { token: 'env:ADMIN', directory: '/s' },
  ...more,
});

function checked(settings: unknown, more: Record<string, unknown> = {}) {
  const { admin } = configOf(withAdmin(more), { env });
  if (admin === undefined) throw new Error('there is no admin API');
  return checkTenantSettings('acme', settings, admin.tenants);
}
const prices = { default: { prompt: '1 EUR' } };
const problemsIn = (result: ReturnType<typeof checked>): string =>
  result.kind === 'bad' ? result.problems.join('\n') : '';
const warningsIn = (result: ReturnType<typeof checked>): string =>
  result.kind === 'ok' ? result.warnings.join('\n') : '';

describe('settings of a made tenant', () => {
  it('have a budget in the currency of prices', () => {
    const of = (budgetPerMonth: string) => checked({ limits: { budgetPerMonth } }, { prices });
    expect(problemsIn(of('5 USD'))).toContain('limits.budgetPerMonth: is in USD, and prices are in EUR');
    expect(of('5 EUR')).toMatchObject({ kind: 'ok', warnings: [] });
  });

  it('are told that a budget counts nothing without prices', () => {
    const { prices: _, ...unpriced } = full() as Record<string, unknown>;
    const { admin } = configOf({ ...unpriced, admin: { token: 'env:ADMIN', directory: '/s' } }, { env });
    if (admin === undefined) throw new Error('there is no admin API');
    const result = checkTenantSettings('acme', { limits: { budgetPerMonth: '5 EUR' } }, admin.tenants);
    expect(warningsIn(result)).toContain('limits.budgetPerMonth: has no effect without prices');
  });

  it('have raises of the limits that their tier has', () => {
    const tiers = { gold: { tokensPerMonth: 1_000, budgetPerMonth: '5 EUR' } };
    const of = (raise: Record<string, unknown>) => {
      const { tenants, lanes: _, ...rest } = withAdmin({ prices, tiers }) as Record<string, unknown>;
      const { admin } = configOf(
        { ...rest, tenants: { alice: { ...aliceOf(tenants), tier: 'gold' } } },
        { env },
      );
      if (admin === undefined) throw new Error('there is no admin API');
      const settings = { tier: 'gold', limits: { raises: [{ until: '2100-01-01', ...raise }] } };
      return checkTenantSettings('acme', settings, admin.tenants);
    };
    expect(of({ tokensPerMonth: 2_000 })).toMatchObject({ kind: 'ok', warnings: [] });
    expect(problemsIn(of({ budgetPerMonth: '9 USD' }))).toContain('is in another currency');
  });

  it('limit models by the names that they have themselves', () => {
    const aliases = { other: 'llama' };
    const result = checked({ modelLimits: { other: { tokensPerMinute: 5 } } }, { aliases });
    expect(problemsIn(result)).toContain('modelLimits.other: is an alias');
  });
});

const aliceOf = (tenants: unknown): Record<string, unknown> =>
  (tenants as Record<string, Record<string, unknown>>)['alice'] ?? {};

describe('a made tenant', () => {
  const lanes = { fast: { when: [{ tenants: ['made'] }] } };

  it('may be named by lanes and adapters before it is there, which is told', () => {
    const settings = put(withAdmin({ lanes }), 'adapters.legal', {
      base: 'llama',
      tenants: ['made'],
    });
    const warnings = warningsOf(settings, { env }).join('\n');
    expect(warnings).toContain('lanes.fast.when[0].tenants[0]: no tenant "made" is configured');
    expect(warnings).toContain('adapters.legal.tenants[0]: no tenant "made" is configured');
  });

  it('may not where none is made', () => {
    expect(problemsOf({ ...full(), lanes }).join('\n')).toContain('there is no tenant "made"');
  });
});
