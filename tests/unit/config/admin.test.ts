import { describe, expect, it } from 'vitest';
import { restartNeeded } from '../../../src/config/changes.ts';
import { stateDirectoryOf } from '../../../src/config/state-directory.ts';
import { configOf, minimal, parse, problemsOf } from './parse.ts';

const TOKEN = 'token-that-may-write-0123456789abcdef';
const env = { ADMIN: TOKEN, READER: `${TOKEN}-read`, SHORT: 'x'.repeat(31), HOME: '/home/me' };
const settings = (admin: unknown) => ({ ...minimal(), tiers: { gold: { weight: 2 } }, admin });

describe('the section admin', () => {
  it('is off by default, and on the loopback address', () => {
    expect(configOf(minimal()).admin).toBeUndefined();
    expect(configOf(settings({ token: 'env:ADMIN' }), { env }).admin).toMatchObject({
      address: { host: '127.0.0.1', port: 9465 },
      token: TOKEN,
      directory: '/home/me/.local/state/fairlane',
    });
  });

  it('needs no tenants in the configuration', () => {
    expect(configOf({ ...settings({ token: 'env:ADMIN' }), tenants: {} }, { env }).tenants.size).toBe(0);
  });

  it.each([
    [{}, 'admin.token: is missing'],
    [{ token: TOKEN }, 'admin.token: must be env:NAME or file:PATH'],
    [{ token: 'env:SHORT' }, 'admin.token: the token has fewer than 32 characters'],
    [{ token: 'env:GONE' }, 'admin.token: environment variable GONE is not set'],
    [{ token: 'env:ADMIN', readToken: 'env:ADMIN' }, 'admin.readToken: is the same as admin.token'],
    [
      { token: 'env:ADMIN', address: '0.0.0.0:9465' },
      'admin.address: is not an address of this machine alone',
    ],
    [{ token: 'env:ADMIN', address: '[::]:9465' }, 'admin.address: is not an address of this machine alone'],
    [{ token: 'env:ADMIN', address: 'localhost:9465' }, 'admin.address: must be an IP address'],
    [{ token: 'env:ADMIN', tls: { cert: 'gone.pem', key: 'gone.pem' } }, 'admin.tls.cert: cannot read'],
    ['on', 'admin: must be a mapping'],
  ])('%j is refused', (admin, problem) => {
    const problems = problemsOf(settings(admin), { env, files: {} }).join('\n');
    expect(problems).toContain(problem);
    expect(problems).not.toContain(TOKEN);
  });

  it('says that an address is for a restart, and a token is not', () => {
    const of = (admin: Record<string, string>) => configOf(settings(admin), { env });
    const first = of({ token: 'env:ADMIN' });
    expect(restartNeeded(first, of({ token: 'env:READER' }))).toEqual([]);
    expect(restartNeeded(first, of({ token: 'env:ADMIN', address: '127.0.0.1:9466' }))).toEqual(['admin']);
    expect(restartNeeded(first, configOf(minimal()))).toEqual(['admin']);
  });

  it('is known without its secrets', () => {
    expect(parse(settings({ token: 'env:GONE' }), { env: {} }).kind).toBe('bad');
  });
});

describe('the state directory', () => {
  it.each([
    [{ STATE_DIRECTORY: '/var/lib/a:/var/lib/b', HOME: '/h' }, '/var/lib/a'],
    [{ XDG_STATE_HOME: '/s', HOME: '/h' }, '/s/fairlane'],
    [{ XDG_STATE_HOME: 's', HOME: '/h' }, '/h/.local/state/fairlane'],
    [{ STATE_DIRECTORY: 'relative' }, '/run/x'],
  ])('%j: %s', (found, directory) => {
    expect(stateDirectoryOf(found, '/run/x')).toBe(directory);
  });
});
