import { describe, expect, it } from 'vitest';
import { readerRefusalOf } from '../../../src/admin/command-source.ts';
import { DEFAULT_STATUS_QUERY, STATUS_SORTS, statusPath, statusQueryOf } from '../../../src/admin/status.ts';

describe('a question for the status', () => {
  it.each([
    ['', {}],
    ['tenants=0', { tenants: 0 }],
    ['tenants=1000&sort=name&idle=on', { tenants: 1_000, sort: 'name', idle: true }],
    ['idle=off&models=on', { models: true }],
  ])('%j is read', (search, expected) => {
    expect(statusQueryOf(search)).toEqual({ kind: 'query', query: { ...DEFAULT_STATUS_QUERY, ...expected } });
  });

  it.each([
    'tenants=1001',
    'tenants=-1',
    'tenants=1e3',
    'tenants=',
    'sort=__proto__',
    'sort=',
    'idle=yes',
    'x=1',
  ])('%j is refused', (search) => {
    expect(statusQueryOf(search)).toMatchObject({ kind: 'bad', problem: expect.stringMatching(/\w/) });
  });

  it('is read as it was asked', () => {
    for (const sort of STATUS_SORTS) {
      for (const on of [true, false]) {
        const query = { tenants: 7, sort, idle: on, models: !on };
        expect(statusQueryOf(statusPath(query).split('?')[1] ?? '')).toEqual({ kind: 'query', query });
      }
    }
  });
});

describe('who may read the status', () => {
  const host = 'localhost:9464';

  it.each([
    [{ host }, '127.0.0.1'],
    [{ host: '[::1]:9464' }, '::1'],
    [{ host, origin: `http://${host}` }, '127.0.0.1'],
    [{ host, 'sec-fetch-site': 'none' }, 'localhost'],
    [{ host: 'fairlane.internal', origin: 'http://fairlane.internal' }, '0.0.0.0'],
    [{ host: 'fairlane:9464' }, '0.0.0.0'],
    [{ host: 'fairlane.llm.svc.cluster.local:9464' }, '0.0.0.0'],
    [{ host: 'fairlane.llm.svc:9464' }, '0.0.0.0'],
    [{ host: '10.1.2.3:9464' }, '::'],
    [{ host }, '10.1.2.3'],
    // As `fairlane status` on that machine asks.
    [{ host: 'gpu1.corp.example:9464' }, 'GPU1.corp.example'],
  ])('%o on %s', (headers, listensOn) => {
    expect(readerRefusalOf(headers, listensOn)).toBeUndefined();
  });

  it.each([
    [{}, 'loopback'],
    [{ host: 'evil.example' }, 'loopback'],
    [{ host: '127.0.0.1.evil.example' }, 'loopback'],
    [{ host, origin: 'https://evil.example' }, 'origin'],
    [{ host, origin: 'http://localhost:3000' }, 'origin'],
    [{ host, origin: 'null' }, 'origin'],
    [{ host, 'sec-fetch-site': 'cross-site' }, 'site'],
  ])('not %o on a loopback address', (headers, why) => {
    expect(readerRefusalOf(headers, '127.0.0.1')).toContain(why);
  });

  it.each([
    [{}, 'address'],
    [{ host: 'evil.example:9464' }, 'address'],
    [{ host: 'local.evil.example' }, 'address'],
    [{ host: 'gpu1.corp.example' }, 'address'],
    [{ host: 'fairlane.internal', origin: 'https://console.internal' }, 'origin'],
    [{ host: '10.1.2.3:9464', 'sec-fetch-site': 'cross-site' }, 'site'],
  ])('not %o where others are listened to', (headers, why) => {
    for (const listensOn of ['0.0.0.0', '::', '10.1.2.3']) {
      expect(readerRefusalOf(headers, listensOn)).toContain(why);
    }
  });
});
