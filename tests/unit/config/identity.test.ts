import { describe, expect, it } from 'vitest';
import { keySet, rsaKey } from '../../support/tokens.ts';
import { configOf, minimal, problemsOf, put, type Settings, warningsOf } from './parse.ts';

const jwt = {
  issuer: 'https://issuer.test/',
  jwks: 'https://issuer.test/keys',
  audience: 'us',
  tenantClaim: 'sub',
};
const tiers = { free: { requestsPerMinute: 60 }, paid: { weight: 2 } };
const settings = (more: Settings = {}): Settings => ({
  ...minimal(),
  tiers,
  identity: { jwt: { ...jwt, ...more } },
});
const key = rsaKey('one');
const inFile = (text: string) => ({ files: { '/etc/keys.json': text } });

describe('identity.jwt', () => {
  it('is what Envoy and the service need', () => {
    expect(configOf(settings()).jwt).toEqual({
      issuer: jwt.issuer,
      audiences: ['us'],
      tenantClaim: 'sub',
      jwks: {
        kind: 'url',
        url: 'https://issuer.test/keys',
        host: 'issuer.test',
        port: 443,
        ca: 'the authorities of the system',
      },
    });
    const open = configOf(
      settings({ unknownTenants: 'free', audience: ['a', 'b'], maxUnknownTenants: 7 }),
    ).jwt;
    expect(open?.audiences).toEqual(['a', 'b']);
    expect(open?.visitors).toMatchObject({ tier: 'free', most: 7 });
    expect([...(open?.visitors?.limits.keys() ?? [])]).toEqual(['free']);
    const tiered = configOf(settings({ unknownTenants: 'free', tierClaim: 'plan' })).jwt?.visitors;
    expect([...(tiered?.limits ?? [])].map(([tier, { weight }]) => [tier, weight])).toEqual([
      ['free', 1],
      ['paid', 2],
    ]);
  });

  it('may stand alone: then tenants need no keys, and none need be configured', () => {
    const { tenants: _, ...rest } = settings({ unknownTenants: 'free' });
    expect(configOf(rest).tenants.size).toBe(0);
    expect(configOf(put(settings(), 'tenants.alice', {})).tenants.get('alice')?.keys).toEqual([]);
    const { tenants: __, ...closed } = settings();
    expect(problemsOf(closed).join()).toContain(
      'tenants: is missing; it must be a mapping of 1 to 10000 tenants',
    );
    expect(problemsOf(put(minimal(), 'tenants.alice', {})).join()).toContain(
      'tenants.alice.keys: is missing',
    );
  });

  it.each([
    ['ftp://issuer.test/keys', 'must be an https:// or http:// URL'],
    ['https://', 'must be an https:// or http:// URL'],
    ['https://user:secret-of-user@issuer.test/keys', 'must not carry credentials'],
    ['https://issuer.test/keys#x', 'must not have a fragment'],
    ['keys.json', 'cannot read /etc/keys.json (no such file)'],
  ])('jwks %s is refused', (jwks, problem) => {
    const problems = problemsOf(settings({ jwks })).join('\n');
    expect(problems).toContain(`identity.jwt.jwks: ${problem}`);
    expect(problems).not.toContain('secret-of-user');
  });

  it.each([
    ['no JSON', 'x', 'is no JSON'],
    ['no keys', '{}', 'has no "keys"'],
    ['an empty list', '{"keys":[]}', 'has no key in "keys"'],
    ['no kind of key', '{"keys":[{}]}', 'has no "kty" in keys[0]'],
    ['a shared secret', '{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}', 'has a shared secret in keys[0]'],
    ['a private key', '{"keys":[{"kty":"RSA","d":"c2VjcmV0"}]}', 'has a private key in keys[0]'],
  ])('a file with %s is refused, and not repeated', (_, text, problem) => {
    const problems = problemsOf(settings({ jwks: 'keys.json' }), inFile(text)).join('\n');
    expect(problems).toContain(`identity.jwt.jwks: /etc/keys.json ${problem}`);
    expect(problems).not.toContain('c2VjcmV0');
  });

  it('takes public keys from a file', () => {
    const { jwks } = configOf(settings({ jwks: 'keys.json' }), inFile(keySet(key))).jwt ?? {};
    expect(jwks).toEqual({ kind: 'keys', text: keySet(key) });
    expect(
      problemsOf(settings({ jwks: 'keys.json', jwksCa: 'idp-ca.pem' }), inFile(keySet(key))).join(),
    ).toContain('identity.jwt.jwksCa: needs an https:// URL in jwks');
  });

  it.each<readonly [Settings, string]>([
    [{ audience: undefined }, 'has no audience'],
    [{ jwks: 'http://issuer.test/keys' }, 'is read without TLS'],
    [{ tierClaim: 'plan' }, 'identity.jwt.tierClaim: has no effect without unknownTenants'],
  ])('warns of %j', (more, warning) => {
    expect(warningsOf(settings(more)).join('\n')).toContain(warning);
  });

  it.each<readonly [Settings, string]>([
    [{ unknownTenants: 'fre' }, 'there is no tier "fre"; did you mean "free"?'],
    [{ maxUnknownTenants: 0 }, 'must be a whole number from 1'],
    [{ issuer: '' }, 'identity.jwt.issuer: must be'],
    [{ audience: [] }, 'identity.jwt.audience: '],
    [{ tenantsClaim: 'x' }, 'did you mean "tenantClaim"?'],
  ])('refuses %j', (more, problem) => {
    expect(problemsOf(settings(more)).join('\n')).toContain(problem);
  });

  it('allows no key that looks like a token', () => {
    const token = 'eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoiYW5vbiJ9.c2lnbmF0dXJl';
    const problems = problemsOf(put(settings(), 'tenants.alice.keys', [token])).join('\n');
    expect(problems).toContain('tenants.alice.keys[0]: has the form of a token (JWT)');
    expect(problems).not.toContain(token);
    expect(problemsOf(put(minimal(), 'tenants.alice.keys', [token]))).toEqual([]);
  });

  it('means nothing where a gateway says who a tenant is', () => {
    const picker = { ...settings(), mode: 'endpoint-picker', service: { address: '127.0.0.1:9000' } };
    expect(configOf(picker).jwt).toBeUndefined();
  });
});
