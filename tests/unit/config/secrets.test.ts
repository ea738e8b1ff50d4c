import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parse as parseYaml, stringify } from 'yaml';
import { parseConfig } from '../../../src/config/load.ts';
import { bootstrapOf } from '../../../src/envoy/bootstrap.ts';
import { plainTexts } from '../../support/plain-key.ts';
import { configOf, full, minimal, parse, problemsOf, put, type Surroundings, warningsOf } from './parse.ts';

const withKeys = (...keys: readonly unknown[]) => put(minimal(), 'tenants.alice.keys', keys);
const keysOf = (settings: unknown, surroundings: Surroundings) =>
  plainTexts(configOf(settings, surroundings).tenants.get('alice')?.keys);

describe('keys', () => {
  it('come from the environment, from files beside the configuration, or stand there', () => {
    const env = { ALICE_KEY: 'from-the-env' };
    const files = { '/etc/keys/alice': '  from-a-file\n', '/run/alice': 'absolute-file' };
    const settings = withKeys('env:ALICE_KEY', 'file:keys/alice', 'file:/run/alice', 'literal-key');
    expect(keysOf(settings, { env, files })).toEqual([
      'from-the-env',
      'from-a-file',
      'absolute-file',
      'literal-key',
    ]);
  });

  it.each([
    ['env:NOWHERE', 'environment variable NOWHERE is not set'],
    ['env:EMPTY', 'environment variable EMPTY is empty'],
    ['env:BLANK', 'environment variable BLANK has white space'],
    ['env:toString', 'environment variable toString is not set'],
    ['env:sk-pasted', 'needs a variable’s name'],
    ['file:nowhere', 'cannot read /etc/nowhere (no such file)'],
    ['file:', 'needs a path'],
    ['file:empty', 'the content of /etc/empty is empty'],
    ['file:lines', 'the content of /etc/lines has white space'],
    ['', 'the key is empty'],
    ['two words', 'the key has white space'],
    ['Bearer abcdefgh', 'the key has white space'],
    ['schlüssel', 'non-ASCII'],
    ['a\u0007bcdefgh', 'control'],
    ['x'.repeat(513), 'longer than 512'],
    [12_345_678, 'must be a key in quotes'],
  ])('%j is refused: %s', (key, expected) => {
    const env = { EMPTY: '', BLANK: 'a key' };
    const files = { '/etc/empty': '\n', '/etc/lines': 'one-line\nanother-line\n' };
    const problems = problemsOf(withKeys(key), { env, files });
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain('tenants.alice.keys[0]: ');
    expect(problems[0]).toContain(expected);
  });

  it('that are short are worth a warning', () => {
    expect(warningsOf(withKeys('1234567'))).toEqual([expect.stringContaining('fewer than 8 characters')]);
    expect(warningsOf(withKeys('12345678'))).toEqual([]);
  });

  it('belong to one tenant, wherever they come from', () => {
    const tenants = { alice: { keys: ['same-secret'] }, bob: { keys: ['env:K'] }, eve: { keys: ['file:k'] } };
    const problems = problemsOf(
      { ...minimal(), tenants },
      { env: { K: 'same-secret' }, files: { '/etc/k': 'same-secret\n' } },
    );
    expect(problems).toHaveLength(2);
    expect(problems[0]).toContain('tenants.bob.keys[0]: tenant "alice" has the same key already');
    expect(problems[1]).toContain('tenants.eve.keys[0]: ');
  });
});

describe('no problem and no warning ever contains a key', () => {
  const secret = fc.stringMatching(/^[!-~]{8,40}$/).filter((text) => !/^(env|file):/.test(text));
  /** Ways to put a key where it does not belong. */
  const mistakes: readonly ((key: string) => unknown)[] = [
    (key) => withKeys(key, key),
    (key) => withKeys(`${key} `),
    (key) => withKeys([key], key),
    (key) => put(minimal(), 'tenants.alice.keys', key),
    (key) => ({ ...minimal(), [key]: key, tenants: { [key]: { keys: [key], [key]: key } } }),
    (key) => ({
      ...full(),
      tenants: { alice: { keys: [key], tier: key, models: [key], limits: { [key]: 1 } } },
    }),
    (key) => ({ ...full(), envoy: { fallbackPool: key }, tenants: { alice: { keys: [key] } } }),
    (key) => ({ ...full(), listen: key, log: { level: key }, tenants: { alice: { keys: [key] } } }),
    (key) => ({
      pools: { [key]: { endpoints: [key, `http://${key}`] } },
      tenants: { alice: { keys: [key] } },
    }),
    (key) => ({
      ...full(),
      models: { [key]: { pool: key } },
      tenants: { alice: { keys: [key], models: ['x'] } },
    }),
    (key) => `${stringify(withKeys(key))}\n  broken: [${key}`,
    (key) => `tenants: { alice: { keys: [${key}] } }\npools: *${key}\n`,
    (key) => `tenants:\n  alice:\n    keys:\n    - ${key}\n   ${key}: 1\n`,
    (key) => `tenants: { alice: { keys: ["${key}] } }`,
    (key) => `tenants: { alice: { keys: [!${key} x, &${key} y, @${key}] } }`,
  ];

  it.each(mistakes.map((mistake, i) => [i, mistake] as const))('mistake %d', (_, mistake) => {
    const told = (key: string): string => {
      const outcome = parse(mistake(key));
      return (outcome.kind === 'bad' ? outcome.problems : outcome.warnings).join('\n');
    };
    const property = fc.property(secret, (key) => !told(key).includes(key));
    expect(() => fc.assert(property, { numRuns: 60 })).not.toThrow();
  });

  it('nor one that comes from a file or variable and stands elsewhere too', () => {
    const key = 'correct-horse';
    const settings = {
      ...put(minimal(), 'tenants.alice.keys', ['env:K', 'file:k']),
      [key]: 1,
      envoy: { fallbackPool: key },
    };
    const problems = problemsOf(settings, { env: { K: key }, files: { '/etc/k': `${key}\n` } });
    expect(problems).toHaveLength(3);
    expect(problems.join()).not.toContain(key);
  });
});

describe('redis', () => {
  const redis = (settings: object) => ({ ...minimal(), redis: settings });
  const target = (settings: object) =>
    configOf(redis(settings), { env: { R: 'redis://u:pw@h:1' } }).redis?.target;

  it('is one server, one behind sentinels, or a cluster', () => {
    expect(target({ url: 'env:R' })).toEqual({ kind: 'url', url: 'redis://u:pw@h:1' });
    expect(target({ sentinels: ['s1:26379', '[::1]:26379'], sentinelName: 'primary' })).toEqual({
      kind: 'sentinel',
      name: 'primary',
      sentinels: [
        { host: 's1', port: 26_379 },
        { host: '::1', port: 26_379 },
      ],
    });
    expect(target({ cluster: ['n1:6379'] })).toEqual({
      kind: 'cluster',
      nodes: [{ host: 'n1', port: 6_379 }],
    });
  });

  it.each<[string, object, string]>([
    ['nothing', {}, 'needs exactly one of url, sentinels and cluster'],
    ['two', { url: 'redis://h', cluster: ['h:1'] }, 'needs exactly one of url, sentinels and cluster'],
    ['no name of the primary', { sentinels: ['h:1'] }, 'needs sentinelName'],
    ['a URL of another kind', { url: 'http://h' }, 'must be redis://'],
    ['a variable that is not set', { url: 'env:NOWHERE' }, 'NOWHERE is not set'],
    ['no address', { cluster: ['h'] }, 'host:port'],
    ['a password in the file', { cluster: ['h:1'], password: 'hunter22' }, 'env:NAME or file:PATH'],
    ['a share of nothing', { url: 'redis://h', failureShare: 0 }, 'from 0.01 to 1'],
  ])('with %s is refused', (_, settings, problem) => {
    expect(problemsOf(redis(settings)).join('\n')).toContain(problem);
  });

  it('has the user and password of its URL, or else those beside it', () => {
    const beside = { username: 'u@', password: 'file:p' };
    const urlOf = (url: string) =>
      configOf(redis({ url, ...beside }), { files: { '/etc/p': 'p%/:' } }).redis?.target;
    expect(urlOf('redis://h:1/2')).toEqual({ kind: 'url', url: 'redis://u%40:p%25%2F%3A@h:1/2' });
    expect(urlOf('redis://x@h:1')).toEqual({ kind: 'url', url: 'redis://x:p%25%2F%3A@h:1' });
    expect(urlOf('redis://x:y@h:1')).toEqual({ kind: 'url', url: 'redis://x:y@h:1' });
    expect(problemsOf(redis({ url: 'redis://x:100%@h:1' })).join()).toContain('write it as %25');
  });

  it('speaks TLS with what the files hold', () => {
    const { redis: written } = full();
    const { caFile, certFile, keyFile } = written;
    const files = { caFile, certFile, keyFile };
    const tls = configOf(redis({ url: 'rediss://h', ...files })).redis?.tls;
    expect(tls?.ca).toContain('BEGIN CERTIFICATE');
    expect(tls?.cert).toContain('BEGIN CERTIFICATE');
    expect(tls?.key).toContain('BEGIN PRIVATE KEY');
    expect(configOf(redis({ url: 'rediss://h' })).redis?.tls).toEqual({});
    expect(configOf(redis({ url: 'redis://h', tls: 'on' })).redis?.tls).toEqual({});
    expect(configOf(redis({ url: 'redis://h' })).redis?.tls).toBeUndefined();
  });

  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const pemFiles = {
    '/etc/empty': '',
    '/etc/broken.pem': '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n',
    '/etc/other.key': privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    '/etc/locked.key': privateKey
      .export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'hunter22' })
      .toString(),
  };
  it.each<[string, object, string]>([
    [
      'a file that is not there',
      { caFile: 'nowhere' },
      'redis.caFile: cannot read /etc/nowhere (no such file)',
    ],
    ['no certificate', { caFile: 'empty' }, 'redis.caFile: /etc/empty holds no certificate'],
    [
      'a broken certificate',
      { caFile: 'broken.pem' },
      'redis.caFile: /etc/broken.pem is broken: certificate 1 of 1',
    ],
    [
      'a key where a certificate belongs',
      { caFile: 'redis.key' },
      'redis.caFile: /etc/redis.key holds no certificate',
    ],
    ['no key', { certFile: 'redis.pem' }, 'redis.certFile: needs keyFile'],
    ['no certificate for the key', { keyFile: 'redis.key' }, 'redis.keyFile: needs certFile'],
    ['the key of another', { certFile: 'redis.pem', keyFile: 'other.key' }, 'redis.keyFile: is not the key'],
    [
      'a locked key',
      { certFile: 'redis.pem', keyFile: 'locked.key' },
      'holds no private key that can be read',
    ],
    ['files and no TLS', { url: 'redis://h', caFile: 'redis-ca.pem' }, 'redis.caFile: needs TLS'],
  ])('with %s is refused', (_, settings, problem) => {
    expect(problemsOf(redis({ url: 'rediss://h', ...settings }), { files: pemFiles }).join()).toContain(
      problem,
    );
  });

  it('is written as docs/how-to/redis.md shows it', () => {
    const text = readFileSync(new URL('../../../docs/how-to/redis.md', import.meta.url), 'utf8');
    const blocks = [...text.matchAll(/^```yaml\n(.+?)^```/gms)].map(([, block = '']) => block);
    expect(blocks.length).toBe(4);
    for (const block of blocks) {
      const settings = { ...minimal(), ...(parseYaml(block) as object) };
      expect(problemsOf(settings, { env: { REDIS_PASSWORD: 'pw' } })).toEqual([]);
    }
  });

  it('never shows its password', () => {
    const problems = problemsOf(redis({ url: 'redis://user:hunter22@h:99999999/x' })).join('\n');
    expect(problems).toContain('must be redis://');
    expect(problems).not.toContain('hunter22');
  });
});

describe('a configuration whose secrets stay references', () => {
  const settings = () => ({
    ...full(),
    pools: {
      main: {
        endpoints: ['env:MAIN_URL', 'http://127.0.0.1:8000'],
        drain: ['env:MAIN_URL'],
      },
      small: { endpoints: ['env:SMALL_URL'], drain: ['http://127.0.0.1:9000'] },
    },
    tenants: { alice: { keys: ['env:ALICE_KEY', 'file:nowhere', 'literal-key-of-alice'] } },
    redis: {
      sentinels: ['10.0.0.1:26379'],
      sentinelName: 'p',
      password: 'env:P',
      sentinelPassword: 'file:p',
    },
  });
  const unresolved = (env: Record<string, string> = {}) =>
    parseConfig({
      text: stringify(settings()),
      file: '/etc/f.yaml',
      defaults: { directory: '/run/fairlane' },
      env,
      isUnresolved: true,
      readFile(path) {
        throw new Error(`read ${path}`);
      },
    });

  it('is good without a variable or a file of them, and reads none', () => {
    const parsed = unresolved();
    if (parsed.kind === 'bad') throw new Error(parsed.problems.join('\n'));
    expect(plainTexts(parsed.config.tenants.get('alice')?.keys)).toEqual(['literal-key-of-alice']);
    expect(parsed.config.redis).not.toHaveProperty('password');
    const set = unresolved({
      ALICE_KEY: 'value-of-the-variable',
      P: 'value-of-p',
      MAIN_URL: 'http://10.0.0.1',
    });
    const text = JSON.stringify(set, (_, value: unknown) =>
      typeof value === 'bigint' ? String(value) : value,
    );
    expect(text).not.toContain('value-of');
  });

  it('reads no certificate, no public keys and no file of a tenant', () => {
    const fail = (path: string): never => {
      throw new Error(`read ${path}`);
    };
    const parsed = parseConfig({
      text: stringify({
        pools: { main: { endpoints: ['http://127.0.0.1:8000'] } },
        listen: { address: '0.0.0.0:8443', tls: { cert: 'c.pem', key: 'k.pem', clientCa: 'ca.pem' } },
        identity: {
          jwt: { issuer: 'https://issuer.test', audience: 'fairlane', jwks: 'keys.json', tenantClaim: 'org' },
        },
        lanes: { batch: { when: [{ tenants: ['bob'] }] } },
        tenantDirectory: 'tenants.d',
      }),
      file: '/etc/f.yaml',
      defaults: { directory: '/run/fairlane' },
      env: {},
      isUnresolved: true,
      readFile: fail,
      readFolder: fail,
    });
    if (parsed.kind === 'bad') throw new Error(parsed.problems.join('\n'));
    const text = JSON.stringify(bootstrapOf(parsed.config));
    for (const part of ['certificate-0-0-0-0-8443', 'client-ca-0-0-0-0-8443', 'fairlane.jwt_authn']) {
      expect(text).toContain(part);
    }
    expect(text).not.toContain('unresolved');
  });

  it('has problems all the same', () => {
    const parsed = parseConfig({
      text: stringify({ ...settings(), poools: {} }),
      file: '/etc/f.yaml',
      defaults: { directory: '/run/fairlane' },
      env: {},
      isUnresolved: true,
      readFile: () => '',
    });
    expect(parsed.kind === 'bad' && parsed.problems.join()).toContain('poools');
  });
});

describe('the password of sentinels', () => {
  const redis = (more: object) => ({ ...minimal(), redis: { sentinelName: 'p', ...more } });
  const sentinels = ['10.0.0.1:26379'];

  it('is theirs alone', () => {
    const settings = redis({ sentinels, sentinelUsername: 'watcher', sentinelPassword: 'env:S' });
    const { redis: built } = configOf(settings, { env: { S: 'password-of-sentinels' } });
    expect(built?.target).toMatchObject({ username: 'watcher', password: 'password-of-sentinels' });
    expect(built).not.toHaveProperty('password');
  });

  it.each([
    [{ sentinels, sentinelPassword: 'pasted-secret' }, 'must be env:NAME or file:PATH'],
    [{ sentinels, sentinelPassword: 'env:NOWHERE' }, 'environment variable NOWHERE is not set'],
    [{ sentinels, sentinelPassword: 'file:nowhere' }, 'cannot read /etc/nowhere (no such file)'],
    [{ sentinels, sentinelUsername: 'watcher' }, 'needs sentinelPassword'],
    [{ cluster: ['10.0.0.1:6379'], sentinelPassword: 'env:S' }, 'has no effect without sentinels'],
  ])('%j is a problem', (more, expected) => {
    const problems = problemsOf(redis(more), { env: { S: 'password-of-sentinels' } }).join('\n');
    expect(problems).toContain(expected);
    expect(problems).not.toMatch(/pasted-secret|password-of/);
  });
});
