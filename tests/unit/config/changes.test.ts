import { describe, expect, it } from 'vitest';
import { changesOf, restartNeeded, sourceChanges, type Written } from '../../../src/config/changes.ts';
import { configOf, full, parse, put } from './parse.ts';

const changed = (path: string, value: unknown) =>
  restartNeeded(configOf(full()), configOf(put(full(), path, value)));

describe('a restart', () => {
  it.each([
    ['mode', 'sidecar', ['mode', 'picker', 'identity.jwt', 'service.tls']],
    ['service.tls', undefined],
    ['service.tls.clientCa', undefined, ['service.tls']],
    ['picker.tenant', undefined, ['picker']],
    ['listen', '127.0.0.1:8082'],
    ['listen', ['127.0.0.2:8081', '127.0.0.1:8082']],
    ['listen.tls', undefined, ['listen']],
    ['listen.tls.clientCa', undefined, ['listen']],
    ['envoy.admin', '127.0.0.1:9903'],
    ['envoy.failureMode', 'open'],
    ['envoy.fallbackPool', 'main'],
    ['envoy.maxBodySize', '1MiB'],
    ['envoy.maxUnsizedBodySize', '16KiB'],
    ['envoy.connectionBufferSize', '32KiB'],
    ['envoy.maxHeapSize', '2GiB'],
    ['envoy.maxConnections', 200],
    ['envoy.idleTimeout', '1m'],
    ['envoy.uploads', { minRate: '4KiB' }],
    ['envoy.directory', '/run/there'],
    ['service.address', '127.0.0.1:9001'],
    ['service.metrics', '127.0.0.1:9466'],
    ['rateLimit.http', '127.0.0.1:8089'],
    ['log.format', 'pretty'],
  ])('is needed for %s', (path, value, names = [path]) => {
    expect(changed(path, value)).toEqual(names);
  });

  it('moves the socket with the directory', () => {
    const onSocket = put(put(full(), 'mode', 'sidecar'), 'service.address', 'unix:x.sock');
    const at = (directory: string) => configOf(put(onSocket, 'envoy.directory', directory));
    expect(restartNeeded(at('/a'), at('/b'))).toEqual(['envoy.directory', 'service.address']);
  });

  it.each([
    ['queue.maxWait', '5s'],
    ['pools.main.concurrencyLimit', 5],
    ['tenants.bob', { keys: ['key-of-bob'] }],
    ['listen.tls.clientCa', 'server.pem'],
    ['rateLimit.quotaMode', 'off'],
    ['rateLimit.responseHeaders.limit', 'X-Another'],
    ['service.tls.clientCa', 'server.pem'],
    ['log.level', 'debug'],
  ])('is not needed for %s', (path, value) => {
    expect(changed(path, value)).toEqual([]);
  });
});

const writtenOf = (settings: unknown): Written => {
  const parsed = parse(settings, { env: { NEW_KEY: 'value-of-the-variable', OLD_KEY: 'value-of-before' } });
  if (parsed.kind === 'bad') throw new Error(parsed.problems.join('\n'));
  return parsed.written;
};
const between = (path: string, value: unknown, before: unknown = full()) =>
  changesOf(writtenOf(before), writtenOf(put(before as ReturnType<typeof full>, path, value)));

describe('what a reload changes', () => {
  it.each([
    ['pools.main.concurrencyLimit', 16, 'pools.main.concurrencyLimit: 4 → 16'],
    ['pools.main.concurrencyLimit', undefined, 'pools.main.concurrencyLimit: 4 → default'],
    ['queue.maxWait', '5s', 'queue.maxWait: 200ms → 5s'],
    ['pools.small.headroom', 1, 'pools.small.headroom: default → 1'],
    ['tenants.bob', { keys: ['key-of-bob-is-long'] }, 'tenants.bob: added'],
    ['pools.main.health', undefined, 'pools.main.health: removed'],
    ['envoy.passHeaders', ['x-ours', 'x-more'], 'envoy.passHeaders: + x-more'],
    ['envoy.passHeaders', ['x-others'], 'envoy.passHeaders: - x-ours, + x-others'],
  ])('of %s to %j is told with both values', (path, value, expected) => {
    expect(between(path, value)).toEqual([expected]);
  });

  it('is nothing where nothing changed, and where only the order of keys did', () => {
    const settings = full();
    expect(changesOf(writtenOf(settings), writtenOf(settings))).toEqual([]);
    const turned = Object.fromEntries(Object.entries(settings).toReversed());
    expect(changesOf(writtenOf(settings), writtenOf(turned))).toEqual([]);
  });

  it('never has a key, a password or what a variable holds', () => {
    const before = put(full(), 'tenants.alice.keys', ['key-of-before-1', 'env:OLD_KEY']);
    const texts = [
      ...between('tenants.alice.keys', ['key-of-after-22', 'env:NEW_KEY'], before),
      ...between('redis.url', 'redis://user:other-secret@10.0.0.9:6380/2'),
      ...between('redis.keyPrefix', 'key-of-alice-x'),
    ].join('\n');
    expect(texts).toContain('env:OLD_KEY, + (hidden), + env:NEW_KEY');
    expect(texts).not.toMatch(/key-of-before|key-of-after|value-of|secret/);
  });

  it('is bounded, however much changed and however long it is', () => {
    const tenants = (count: number, weight: number) =>
      Object.fromEntries(
        Array.from({ length: count }, (_, i) => [
          `tenant-${i}`,
          { keys: [`key-of-tenant-${i}`], limits: { weight } },
        ]),
      );
    const texts = changesOf(
      writtenOf(put(full(), 'tenants', { alice: full().tenants.alice, ...tenants(1_000, 1) })),
      writtenOf(put(full(), 'tenants', { alice: full().tenants.alice, ...tenants(1_000, 2) })),
    );
    expect(texts).toHaveLength(51);
    expect(texts.at(-1)).toBe('and 950 more');
    const long = between(
      'envoy.passHeaders',
      Array.from({ length: 16 }, (_, i) => `x-${'y'.repeat(50)}-${i}`),
    );
    expect(long.join().length).toBeLessThan(500);
    expect(long.join()).toContain('and 12 more');
  });

  it('names the file of a secret whose content changed', () => {
    const written = { ...writtenOf(full()), file: '/etc/f.yaml' };
    const before = { ...written, digests: new Map([['/etc/alice.key', 'a']]) };
    const after = { ...written, digests: new Map([['/etc/alice.key', 'b']]) };
    expect(sourceChanges(before, after)).toEqual(['/etc/alice.key: other content']);
    expect(sourceChanges(before, { ...written, digests: new Map([['/etc/new.key', 'b']]) })).toEqual([]);
  });
});
