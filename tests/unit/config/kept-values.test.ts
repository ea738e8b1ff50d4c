import { describe, expect, it } from 'vitest';
import { withKeptValues } from '../../../src/config/kept-values.ts';

const ENV = { SET: 'value-of-set' };
const before = {
  pools: { main: { endpoints: ['http://a:1', { url: 'http://b:1', apiKey: 'file:b' }], apiKey: 'env:SET' } },
  redis: { url: 'redis://a', password: 'env:SET' },
  tenants: { alice: { keys: ['first', 'second'] } },
  admin: { token: 'env:SET' },
  webhooks: [{ url: 'https://a', secret: 'env:SET' }],
  models: { demo: { pool: 'main' } },
};
const keep = (now: unknown) => withKeptValues(now, before, ENV);
const namesOf = (now: unknown) =>
  keep(now).warnings.map(({ path, message }) => [path.join('.'), /variable (\w+)/.exec(message)?.[1]]);

describe('values of a reload whose variable is not set', () => {
  it.each([
    [
      'a key',
      { tenants: { alice: { keys: ['env:NEW', 'second'] } } },
      'tenants.alice.keys.0',
      ['first', 'second'],
    ],
    ['a password', { redis: { url: 'redis://a', password: 'env:NEW' } }, 'redis.password', 'env:SET'],
    ['the token of the admin API', { admin: { token: 'env:NEW' } }, 'admin.token', 'env:SET'],
    [
      'the key of a receiver of events',
      { webhooks: [{ url: 'https://a', secret: 'env:NEW' }] },
      'webhooks.0.secret',
      'env:SET',
    ],
    ['the key of an engine', { pools: { main: { apiKey: 'env:NEW' } } }, 'pools.main.apiKey', 'env:SET'],
    [
      'an endpoint',
      { pools: { main: { endpoints: ['env:NEW'] } } },
      'pools.main.endpoints.0',
      ['http://a:1'],
    ],
    [
      'the key of an endpoint',
      { pools: { main: { endpoints: ['http://a:1', { url: 'http://b:1', apiKey: 'env:NEW' }] } } },
      'pools.main.endpoints.1.apiKey',
      ['http://a:1', { url: 'http://b:1', apiKey: 'file:b' }],
    ],
    [
      'the key of an endpoint that has another place in its list',
      { pools: { main: { endpoints: [{ url: 'http://b:1', apiKey: 'env:NEW' }, 'http://a:1'] } } },
      'pools.main.endpoints.0.apiKey',
      [{ url: 'http://b:1', apiKey: 'file:b' }, 'http://a:1'],
    ],
  ])('%s stays, and is told of', (_, now, path, value) => {
    const { root } = keep(now);
    expect(namesOf(now)).toEqual([[path, 'NEW']]);
    const section = path.split('.')[0] as 'tenants';
    expect(JSON.stringify((root as typeof before)[section])).toContain(JSON.stringify(value));
  });

  it.each([
    ['one that is set', { tenants: { alice: { keys: ['env:SET'] } } }],
    ['one where nothing was before', { tenants: { bob: { keys: ['env:NEW'] } } }],
    ['one behind those that were', { tenants: { alice: { keys: ['first', 'second', 'env:NEW'] } } }],
    [
      'the key of an endpoint elsewhere, in the place of one before',
      { pools: { main: { endpoints: ['http://a:1', { url: 'http://b:2', apiKey: 'env:NEW' }] } } },
    ],
    ['the key of another receiver', { webhooks: [{ url: 'https://b', secret: 'env:NEW' }] }],
    ['the password of another Redis', { redis: { url: 'redis://b', password: 'env:NEW' } }],
    ['one where another kind of value was', { redis: { url: 'x', password: { a: 'env:NEW' } } }],
    ['a value that has moved in its list', { tenants: { alice: { keys: ['env:NEW', 'first'] } } }],
    ['what is no variable’s name', { redis: { password: 'env:my secret' } }],
    ['a section without references', { models: { demo: { pool: 'env:NEW' } } }],
    ['no mapping', 'env:NEW'],
    ['an empty file', undefined],
    ['a key that objects have', { tenants: { constructor: { keys: ['env:NEW'] }, alice: 'env:NEW' } }],
  ])('leaves alone %s', (_, now) => {
    expect(keep(now)).toEqual({ root: now, warnings: [] });
  });

  it('keeps an address and what belongs to it', () => {
    const endpoint = { url: 'env:NEW_URL', apiKey: 'env:NEW' };
    const { root } = keep({ pools: { main: { endpoints: ['http://a:1', endpoint] } } });
    expect(root).toEqual({
      pools: { main: { endpoints: ['http://a:1', { url: 'http://b:1', apiKey: 'file:b' }] } },
    });
  });

  it('keeps nothing at a start', () => {
    const now = { tenants: { alice: { keys: ['env:NEW'] } } };
    expect(withKeptValues(now, undefined, ENV)).toEqual({ root: now, warnings: [] });
  });
});

describe('keys with settings', () => {
  const first = { key: 'key-of-ci', name: 'ci' };
  const second = { key: 'key-of-bob', name: 'bob' };
  const keepKeys = (...keys: readonly unknown[]): unknown =>
    withKeptValues({ tenants: { alice: { keys } } }, { tenants: { alice: { keys: [first, second] } } }, ENV)
      .root;
  const isKept = (kept: unknown, key: string): boolean => JSON.stringify(kept).includes(key);

  it('keep their values by their names, wherever they stand', () => {
    const kept = keepKeys({ key: 'env:NEW', name: 'bob' });
    expect([isKept(kept, 'key-of-bob'), isKept(kept, 'key-of-ci')]).toEqual([true, false]);
  });

  it('never get that of another name, which may be for less', () => {
    for (const other of [{ key: 'env:NEW', name: 'other' }, { key: 'env:NEW' }]) {
      const kept = keepKeys(other);
      expect([isKept(kept, 'key-of-bob'), isKept(kept, 'key-of-ci')]).toEqual([false, false]);
    }
  });
});
