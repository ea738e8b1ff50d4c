import { describe, expect, it } from 'vitest';
import { parseConfig } from '../../../src/config/load.ts';
import { withoutAbsent } from '../../../src/config/optional-references.ts';

const BASE = {
  pools: { main: { endpoints: ['http://127.0.0.1:8000'] } },
  tenants: { alice: { keys: ['key-of-alice'] } },
};
const FILES: Readonly<Record<string, string>> = {
  '/etc/there': 'key-in-a-file',
  '/etc/empty': ' \n',
  '/etc/odd?': 'key-in-an-odd-file',
};
function readFile(path: string): string {
  const found = FILES[path];
  if (found !== undefined) return found;
  throw Object.assign(new Error(path), { code: path === '/etc/closed' ? 'EACCES' : 'ENOENT' });
}
const load = (written: object, env: Readonly<Record<string, string>> = {}) =>
  parseConfig({
    text: JSON.stringify({ ...BASE, ...written }, undefined, 1),
    file: '/etc/f.yaml',
    defaults: { directory: '/run/f' },
    env,
    readFile,
  });
function good(...args: Parameters<typeof load>) {
  const loaded = load(...args);
  if (loaded.kind === 'bad') throw new Error(loaded.problems.join('\n'));
  return loaded.config;
}
function problems(...args: Parameters<typeof load>): string {
  const loaded = load(...args);
  return loaded.kind === 'bad' ? loaded.problems.join('\n') : '';
}
const keysOf = (keys: readonly unknown[], env = {}): number =>
  good({ tenants: { alice: { keys: ['key-of-alice', ...keys] } } }, env).tenants.get('alice')?.keys.length ??
  -1;

describe('an optional reference', () => {
  it.each([{}, { REDIS_URL: '' }, { REDIS_URL: '  ' }])('leaves a section out with %j', (env) => {
    expect(good({ redis: { url: 'env:REDIS_URL?' } }, env).redis).toBeUndefined();
  });

  it('is a plain one where it leads somewhere', () => {
    const env = { REDIS_URL: 'redis://127.0.0.1:6379' };
    expect(good({ redis: { url: 'env:REDIS_URL?' } }, env).redis).toBeDefined();
  });

  it.each([
    ['a variable that is not set', 'env:KEY?', 1],
    ['a file that is not there', 'file:/etc/gone?', 1],
    ['an empty file', 'file:/etc/empty?', 1],
    ['a file that is there', 'file:/etc/there?', 2],
    ['a file whose name ends so', 'file:/etc/odd?', 2],
  ])('of a key: %s', (_, reference, left) => {
    expect(keysOf([reference])).toBe(left);
  });

  it('of a key is there when its variable is', () => {
    expect(keysOf(['env:KEY?'], { KEY: 'another-long-key' })).toBe(2);
  });

  it('tells a file that is there and cannot be read', () => {
    expect(problems({ tenants: { alice: { keys: ['file:/etc/closed?'] } } })).toContain('permission denied');
  });

  it('leaves out an endpoint, and the others are told of where they were written', () => {
    const endpoints = ['env:GONE?', 'http://127.0.0.1:8000', 'env:ALSO_GONE?', 'ftp://x'];
    expect(problems({ pools: { main: { endpoints } } })).toContain('pools.main.endpoints[3]');
    expect(
      good({ pools: { main: { endpoints: endpoints.slice(0, 3) } } }).pools.get('main')?.endpoints,
    ).toHaveLength(1);
  });

  it.each(['endpoints', 'drain'])(
    'of a file is refused among %s, which no file can say: there or not',
    (list) => {
      for (const file of ['file:/etc/gone?', 'file:/etc/there?']) {
        const main = { ...BASE.pools.main, [list]: ['http://127.0.0.1:8000', file] };
        expect(problems({ pools: { main } })).toContain(`pools.main.${list}[1]`);
      }
    },
  );

  it('does not leave a pool without endpoints', () => {
    expect(problems({ pools: { main: { endpoints: ['env:GONE?'] } } })).toContain('pools.main.endpoints');
  });

  it('leaves out webhooks, also all of them', () => {
    expect(good({ webhooks: [{ url: 'env:HOOK?' }] }).webhooks).toEqual(good({}).webhooks);
  });

  it.each([
    ['listen', { listen: 'env:LISTEN?' }],
    ['the database', { ledger: { database: { url: 'env:DB?' } } }],
    ['a key of an engine', { pools: { main: { ...BASE.pools.main, apiKey: 'env:ENGINE_KEY?' } } }],
  ])('is refused where nothing may be absent: %s', (_, written) => {
    expect(load(written).kind).toBe('bad');
  });

  it('says where one may stand', () => {
    const written = { pools: { main: { ...BASE.pools.main, apiKey: 'env:ENGINE_KEY?' } } };
    expect(problems(written)).toContain('drained endpoint');
  });

  it('does not change what was written, and moves nothing without need', () => {
    const root = Object.freeze({ redis: Object.freeze({ url: 'env:A?' }), tenants: { a: { keys: ['x'] } } });
    const sources = { env: {}, readFile, locate: (path: string) => path };
    const { value, asWritten } = withoutAbsent(root, sources);
    expect(value).toEqual({ tenants: { a: { keys: ['x'] } } });
    expect(asWritten(['tenants', 'a', 'keys', 0])).toEqual(['tenants', 'a', 'keys', 0]);
  });

  it.each([
    null,
    7,
    'text',
    [],
    { redis: 7 },
    { pools: [] },
    { tenants: { a: null } },
    { webhooks: 'env:X?' },
  ])('reads %j without a fault', (root) => {
    expect(() => withoutAbsent(root, { env: {}, readFile, locate: (path) => path })).not.toThrow();
  });
});

describe('the keys of the demo', () => {
  const tenants = { quiet: { keys: ['demo-quiet-key'] } };
  const to = (listen: string, on?: string) =>
    load({ tenants, listen }, on === undefined ? {} : { FAIRLANE_PUBLISHED_ON: on });

  it.each(['127.0.0.1', '::1', 'localhost', '127.8.8.8'])('are taken where %s is published', (on) => {
    expect(to('0.0.0.0:8080', on)).toMatchObject({ kind: 'ok', warnings: [] });
  });
  it.each(['0.0.0.0', '::', '10.0.0.1', 'example.com', '127.0.0.1.example.com'])(
    'are refused on %s',
    (on) => {
      expect(to('127.0.0.1:8080', on).kind).toBe('bad');
    },
  );
  it('are warned of where nobody says what is published', () => {
    expect(to('0.0.0.0:8080')).toMatchObject({ kind: 'ok', warnings: [expect.stringContaining('openssl')] });
    expect(to('127.0.0.1:8080')).toMatchObject({ kind: 'ok', warnings: [] });
  });
});
