import { describe, expect, it } from 'vitest';
import { configOf, full, minimal, problemsOf, put } from './parse.ts';

const withLedger = (ledger: unknown) => ({ ...minimal(), ledger });

describe('ledger', () => {
  it('is off where nothing is said', () => {
    expect(configOf(minimal()).ledger).toBeUndefined();
  });

  it('is a file in the state directory, relative to the configuration, or a PostgreSQL database', () => {
    expect(configOf(withLedger({ directory: 'state' })).ledger).toEqual({
      directory: '/etc/state',
      target: { kind: 'sqlite', path: '/etc/state/ledger.db' },
      keepMs: 90 * 86_400_000,
      maxSpoolBytes: 256 * 1_024 ** 2,
    });
    const url = 'postgresql://user:secret-of-ledger@10.0.0.9:5433/fairlane';
    expect(configOf(full()).ledger).toEqual({
      directory: '/etc/state',
      target: { kind: 'postgresql', url },
      keepMs: 30 * 86_400_000,
      maxSpoolBytes: 8 * 1_024 ** 2,
    });
    expect(configOf(withLedger({ url })).ledger?.directory).toMatch(/^\/.+\/ledger$/);
  });

  it.each([
    [{}, 'needs directory'],
    [{ url: 'mysql://a@b/c' }, 'must be postgresql://'],
    [{ url: 'postgresql://host' }, 'must be postgresql://'],
    [{ url: 'postgresql://u:p%ss@host/db' }, 'written as %25'],
    [{ url: 'env:NOT_SET_LEDGER' }, 'environment variable NOT_SET_LEDGER is not set'],
    [{ directory: 'x', keep: '6d' }, 'from 7d to 3650d'],
    [{ directory: 'x', keep: '90' }, 'from 7d to 3650d'],
    [{ directory: 'x', keep: '24h' }, 'from 7d to 3650d'],
    [{ directory: 'x', maxSpool: '1KiB' }, 'from 1MiB to 64GiB'],
  ])('%j: %s', (ledger, text) => {
    expect(problemsOf(withLedger(ledger)).join('\n')).toContain(text);
  });

  it('never shows the password', () => {
    const problems = problemsOf(put(full(), 'ledger.url', 'mysql://user:secret-of-ledger@10.0.0.9/x'));
    expect(problems.join('\n')).not.toContain('secret-of-ledger');
  });
});
