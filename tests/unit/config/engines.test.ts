/** Endpoints as mappings: keys, TLS and weights, of the pool and of each endpoint. */
import { beforeAll, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { parseConfig } from '../../../src/config/load.ts';
import { type Certificate, createAuthority, expired } from '../../support/certificates.ts';
import { configOf, minimal, parse, problemsOf, put, warningsOf } from './parse.ts';

const URL = 'https://engine:8443';
const authority = createAuthority();
let client: Certificate;
let other: Certificate;
let files: Record<string, string>;
beforeAll(() => {
  client = authority.issue(['client']);
  other = authority.issue(['other']);
  files = {
    '/etc/ca.pem': authority.ca,
    '/etc/client.pem': client.cert,
    '/etc/client.key': client.key,
    '/etc/other.key': other.key,
    '/etc/no.pem': 'no PEM at all',
    '/etc/old.pem': authority.issue(['old'], expired()).cert,
    '/etc/key': 'key-in-a-file\n',
    '/etc/own': 'own-key-in-a-file',
  };
});

const pool = (settings: object) => put(minimal(), 'pools.main', settings);
const endpointsOf = (settings: object) =>
  configOf(pool(settings), { files }).pools.get('main')?.endpoints ?? [];
const problems = (settings: object) => problemsOf(pool(settings), { files }).join('\n');
const pair = { cert: 'client.pem', key: 'client.key' };

describe('an endpoint', () => {
  it('is a URL, or a mapping with one, which says the same', () => {
    const [a, b] = endpointsOf({ endpoints: ['http://a:1', { url: 'http://b:1' }] });
    expect({ ...a, url: '', host: '' }).toEqual({ ...b, url: '', host: '' });
  });

  it('has the pool’s key, or its own', () => {
    const [a, b] = endpointsOf({
      endpoints: ['http://a:1', { url: 'http://b:1', apiKey: 'file:own' }],
      apiKey: 'file:key',
    });
    expect(a?.apiKey).toEqual({ value: 'key-in-a-file', of: 'pool' });
    expect(b?.apiKey).toEqual({ value: 'own-key-in-a-file', of: 'endpoint' });
  });

  it('has the pool’s TLS, but for what it has itself', () => {
    const [a, b] = endpointsOf({
      endpoints: [URL, { url: 'https://b', tls: { serverName: 'b.test', ca: 'file:ca.pem' } }],
      tls: { ca: 'ca.pem', ...pair, serverName: 'pool.test' },
    });
    const identity = { cert: client.cert, value: client.key, of: 'pool' };
    expect(a?.tls).toEqual({ ca: { value: authority.ca, of: 'pool' }, identity, serverName: 'pool.test' });
    expect(b?.tls).toEqual({ ca: { value: authority.ca, of: 'endpoint' }, identity, serverName: 'b.test' });
  });

  it('over plain HTTP has no TLS, whatever its pool has', () => {
    const [a, b] = endpointsOf({ endpoints: ['http://a:1', URL], tls: { ca: 'ca.pem' } });
    expect(a?.tls).toBeUndefined();
    expect(b?.tls).toBeDefined();
  });

  it('has a weight, 1 by default', () => {
    const list = endpointsOf({ endpoints: ['http://a:1', { url: 'http://b:1', weight: 2.5 }] });
    expect(list.map(({ weight }) => weight)).toEqual([undefined, 2.5]);
  });

  it('is meant by its URL elsewhere, however that is written', () => {
    const config = configOf(
      pool({
        endpoints: [{ url: 'https://a/llm/v1' }, 'http://b:8000/v1'],
        drain: ['https://a:443/llm'],
        choice: { zones: { here: ['http://b:8000'], there: ['https://A/llm/v1/'] } },
      }),
    );
    expect(config.pools.get('main')).toMatchObject({
      drain: ['https://a:443/llm'],
      choice: {
        zones: new Map([
          ['here', ['http://b:8000']],
          ['there', ['https://a:443/llm']],
        ]),
      },
    });
  });

  it('may share its address with one of another pool, behind another prefix', () => {
    const config = put(pool({ endpoints: ['https://gateway/a'] }), 'pools.second', {
      endpoints: ['https://gateway/b'],
    });
    expect(configOf(config).pools.size).toBe(2);
    expect(problems({ endpoints: ['https://gateway/a', 'https://gateway/b'] })).toContain('pool of its own');
    expect(problems({ endpoints: ['https://gateway/a', 'https://gateway/a/v1'] })).toContain('already');
  });
});

describe('what is wrong is told where it stands', () => {
  it.each<[string, object, string]>([
    ['no URL', { endpoints: [{}] }, 'endpoints[0].url: is missing'],
    [
      'an unknown key',
      { endpoints: [{ url: URL, apikey: 'x' }] },
      'endpoints[0].apikey: unknown setting; did you mean "apiKey"',
    ],
    ['a number', { endpoints: [5] }, 'endpoints[0]: must be a URL, env:NAME, or a mapping with url'],
    ['null', { endpoints: [null] }, 'endpoints[0]: is empty'],
    ['a list', { endpoints: [[URL]] }, 'endpoints[0]: must be a URL'],
    ['a wrong URL', { endpoints: [{ url: 'ftp://x' }] }, 'endpoints[0].url: must be an http:// URL'],
    ['a weight of 0', { endpoints: [{ url: URL, weight: 0 }] }, 'endpoints[0].weight: must be a number'],
    [
      'a key in the file',
      { endpoints: [URL], apiKey: 'sk-plain' },
      'pools.main.apiKey: must be env:NAME or file:PATH',
    ],
    ['a key that is not there', { endpoints: [URL], apiKey: 'file:none' }, 'apiKey: cannot read /etc/none'],
    ['a variable that is not set', { endpoints: [URL], apiKey: 'env:NONE' }, 'variable NONE is not set'],
    [
      'a CA that is no PEM',
      { endpoints: [URL], tls: { ca: 'no.pem' } },
      'tls.ca: /etc/no.pem holds no certificate',
    ],
    [
      'a CA that is not there',
      { endpoints: [URL], tls: { ca: 'none.pem' } },
      'tls.ca: cannot read /etc/none.pem',
    ],
    [
      'a key of another certificate',
      { endpoints: [URL], tls: { cert: 'client.pem', key: 'other.key' } },
      'tls.key: is not the key of the first certificate',
    ],
    [
      'a certificate as the key',
      { endpoints: [URL], tls: { cert: 'client.pem', key: 'client.pem' } },
      'tls.key: /etc/client.pem holds no private key',
    ],
    ['half a pair', { endpoints: [URL], tls: { cert: 'client.pem' } }, 'tls.cert: needs tls.key'],
    [
      'the other half',
      { endpoints: [{ url: URL, tls: { key: 'client.key' } }] },
      'endpoints[0].tls.key: needs tls.cert',
    ],
    [
      'TLS over plain HTTP',
      { endpoints: [{ url: 'http://a:1', tls: { ca: 'ca.pem' } }] },
      'endpoints[0].tls: needs an https:// URL',
    ],
    [
      'a name that is none',
      { endpoints: [URL], tls: { serverName: 'https://x' } },
      'tls.serverName: must be a host name',
    ],
    [
      'a word for a truth',
      { endpoints: [URL], tls: { insecureSkipVerify: 'maybe' } },
      'insecureSkipVerify: must be true or false',
    ],
  ])('%s', (_, settings, expected) => {
    expect(problems(settings)).toContain(expected);
    expect(problems(settings).split('\n')).toHaveLength(1);
    expect(problems(settings)).not.toContain('sk-plain');
  });

  it('without the credentials of a URL', () => {
    const text = problems({ endpoints: [{ url: 'https://user:secret@engine' }] });
    expect(text).toContain('apiKey');
    expect(text).not.toContain('secret');
  });

  it('without a key that stands elsewhere by mistake', () => {
    const text = problemsOf(
      { ...pool({ endpoints: [URL], apiKey: 'file:key' }), tenants: { 'key-in-a-file': {} } },
      { files },
    ).join();
    expect(text).not.toContain('key-in-a-file');
  });
});

describe('warnings', () => {
  it.each<[object, string]>([
    [{ endpoints: [URL], tls: { insecureSkipVerify: true } }, 'insecureSkipVerify'],
    [{ endpoints: ['http://a:1'], tls: { ca: 'ca.pem' } }, 'pools.main.tls: has no effect'],
  ])('%j: %s', (settings, expected) => {
    expect(warningsOf(pool(settings), { files }).join()).toContain(expected);
  });

  it.each(['authorization', 'x-api-key', 'api-key', 'cookie', 'proxy-authorization'])(
    'of %s among the headers that pass: it does not',
    (name) => {
      const settings = put(minimal(), 'envoy.passHeaders', ['x-team', name]);
      expect(warningsOf(settings).join()).toContain('envoy.passHeaders[1]: has no effect');
    },
  );

  it('of a certificate that has expired: what else there is is served', () => {
    const settings = pool({ endpoints: [URL], tls: { ca: 'old.pem' } });
    const at = (nowMs: number) =>
      parseConfig({
        text: stringify(settings),
        file: '/etc/f.yaml',
        defaults: { directory: '/run/fairlane' },
        env: {},
        nowMs,
        readFile: (path) => files[path] ?? '',
      });
    const late = at(Date.now());
    const early = at(Date.now() - 500 * 86_400_000);
    const inTime = at(Date.now() - 2 * 86_400_000);
    expect(late.kind === 'ok' && late.warnings.join()).toMatch(/tls\.ca: has expired on \d{4}-\d\d-\d\d/);
    expect(early.kind === 'ok' && early.warnings.join()).toContain('is not valid before');
    expect(inTime).toMatchObject({ kind: 'ok', warnings: [] });
  });

  it('of none where everything is right', () => {
    const settings = pool({
      endpoints: [{ url: URL, apiKey: 'file:own', tls: { ca: 'ca.pem', ...pair }, weight: 2 }],
    });
    expect(parse(settings, { files })).toMatchObject({ kind: 'ok', warnings: [] });
  });
});

describe('a pool of an API like OpenAI’s', () => {
  const main = (settings: object) =>
    configOf(pool({ endpoints: [URL], ...settings }), { files }).pools.get('main');

  it('has its list of models for health, unless a path is written; others have /health', () => {
    expect(main({ engine: 'openai' })?.health.path).toBe('/v1/models');
    expect(main({ engine: 'openai', health: { path: '/readyz' } })?.health.path).toBe('/readyz');
    for (const engine of ['auto', 'vllm', 'lmdeploy']) expect(main({ engine })?.health.path).toBe('/health');
  });

  it('is not called otherwise', () => {
    for (const engine of ['OpenAI', 'openai-compatible', 'ollama', '', 1]) {
      expect(problems({ endpoints: [URL], engine })).toContain('pools.main.engine');
    }
  });
});
