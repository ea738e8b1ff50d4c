/** `tenants.NAME.keys` as mappings: names, ends, scopes, hashes. */
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { momentMs } from '../../../src/config/values.ts';
import { configOf, full, minimal, problemsOf, put, warningsOf } from './parse.ts';

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
const withKeys = (...keys: readonly unknown[]) => put(minimal(), 'tenants.alice.keys', keys);
const keysOf = (...keys: readonly unknown[]) => configOf(withKeys(...keys)).tenants.get('alice')?.keys ?? [];

describe('a key', () => {
  it('has a name, an end, models and routes, beside one that is a text', () => {
    const settings = put(full(), 'tenants.alice.keys', [
      'plain-text-key',
      {
        key: 'env:CI_KEY',
        name: 'ci',
        expires: '2027-01-01',
        models: ['llama'],
        routes: ['chat.completions', 'responses.retrieve'],
      },
    ]);
    const keys = configOf(settings, { env: { CI_KEY: 'key-from-the-env' } }).tenants.get('alice')?.keys;
    expect(keys).toEqual([
      { id: expect.stringMatching(/^cfg_[0-9a-f]{12}$/), secret: { kind: 'plain', value: 'plain-text-key' } },
      {
        id: expect.stringMatching(/^cfg_[0-9a-f]{12}$/),
        secret: { kind: 'plain', value: 'key-from-the-env' },
        name: 'ci',
        expiresMs: Date.UTC(2027, 0, 1),
        models: new Set(['llama']),
        routes: new Set(['chat.completions', 'responses.retrieve']),
      },
    ]);
  });

  it('may be its hash, in upper case too, and has the same id then', () => {
    const [plain] = keysOf('key-of-alice');
    const [hashed] = keysOf({ sha256: sha256('key-of-alice').toUpperCase() });
    expect(hashed).toEqual({ id: plain?.id, secret: { kind: 'sha256', digest: sha256('key-of-alice') } });
    expect(keysOf('key-of-bob')[0]?.id).not.toBe(plain?.id);
  });

  it.each<[string, unknown, string]>([
    ['neither', { name: 'x' }, 'tenants.alice.keys[0]: has neither key nor sha256'],
    ['both', { key: 'key-of-alice', sha256: sha256('x') }, 'tenants.alice.keys[0].sha256: stands beside key'],
    ['the hash of nothing', { sha256: sha256('') }, 'keys[0].sha256: is the SHA-256 of an empty text'],
    ['a bad hash', { sha256: 'abc' }, 'tenants.alice.keys[0].sha256: is no SHA-256 of a key'],
    ['an unknown member', { key: 'key-of-alice', expire: '2027-01-01' }, 'did you mean "expires"?'],
    ['a bad name', { key: 'key-of-alice', name: 'a\nb' }, 'keys[0].name: must be 1 to 64 letters'],
    ['a number', 7, 'tenants.alice.keys[0]: must be a key in quotes'],
    ['a key of another type', { key: 7 }, 'tenants.alice.keys[0].key: must be a key in quotes'],
    ['a day that is not', { key: 'key-of-alice', expires: '2027-02-30' }, 'keys[0].expires: must be a day'],
    ['a number as end', { key: 'key-of-alice', expires: 2027 }, 'keys[0].expires: must be a day'],
    [
      'an unknown route',
      { key: 'key-of-alice', routes: ['chat.completion'] },
      'did you mean "chat.completions"?',
    ],
    ['no models at all', { key: 'key-of-alice', models: [] }, 'keys[0].models: must be a list of 1 to'],
  ])('is refused with %s', (_, key, expected) => {
    expect(problemsOf(withKeys(key)).join('\n')).toContain(expected);
  });

  it('is for models that there are', () => {
    const settings = (model: string) =>
      put(full(), 'tenants.alice.keys', [{ key: 'key-of-alice', models: [model] }]);
    const told = [...problemsOf(put(settings('lama'), 'pools', full()['pools']))].join('\n');
    expect(told === '' ? warningsOf(settings('lama')).join('\n') : told).toContain('"lama"');
  });

  it('has another name than the others of its tenant, and is another one', () => {
    const one = { key: 'key-of-alice-1', name: 'ci' };
    expect(problemsOf(withKeys(one, { key: 'key-of-alice-2', name: 'ci' })).join()).toContain(
      'tenants.alice.keys[1].name: is the name of keys[0], too',
    );
    expect(problemsOf(withKeys(one, { sha256: sha256('key-of-alice-1') })).join()).toContain(
      'tenants.alice.keys[1].sha256: this tenant has the same key already',
    );
  });

  it('appears in no problem', () => {
    const secret = 'a-secret-in-a-mapping';
    for (const key of [
      { key: secret, name: secret.repeat(9) },
      { key: secret, expires: secret },
      { key: secret, models: [secret], [secret]: 1 },
      { key: `${secret} `, routes: [secret] },
      { sha256: secret },
    ]) {
      expect(problemsOf(withKeys(key)).join('\n')).not.toContain(secret);
    }
  });
});

describe('a moment', () => {
  it.each([
    ['2027-01-01', Date.UTC(2027, 0, 1)],
    ['2028-02-29', Date.UTC(2028, 1, 29)],
    ['2027-01-01T08:30Z', Date.UTC(2027, 0, 1, 8, 30)],
    ['2027-01-01T08:30:15.5+01:00', Date.UTC(2027, 0, 1, 7, 30, 15, 500)],
  ])('%s', (text, ms) => {
    expect(momentMs(text)).toBe(ms);
  });
  it.each([
    '',
    '2027',
    '2027-13-01',
    '2027-00-01',
    '2027-02-29',
    '2027-01-32',
    '2027-01-01T25:00Z',
    '2027-01-01T10:00',
    '01.01.2027',
    '2027-01-01\n',
    'never',
    '99999-01-01',
  ])('is not %j', (text) => {
    expect(momentMs(text)).toBeUndefined();
  });
});
