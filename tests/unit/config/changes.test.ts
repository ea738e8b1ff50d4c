import { describe, expect, it } from 'vitest';
import { restartNeeded } from '../../../src/config/changes.ts';
import { configOf, full, put } from './parse.ts';

const changed = (path: string, value: unknown) =>
  restartNeeded(configOf(full()), configOf(put(full(), path, value)));

describe('a restart', () => {
  it.each([
    ['mode', 'sidecar', ['mode', 'picker', 'identity.jwt']],
    ['picker.tenant', undefined, ['picker']],
    ['listen', '127.0.0.1:8082'],
    ['listen', ['127.0.0.2:8081', '127.0.0.1:8082']],
    ['listen.tls', undefined, ['listen']],
    ['listen.tls.clientCa', undefined, ['listen']],
    ['envoy.admin', '127.0.0.1:9903'],
    ['envoy.failureMode', 'open'],
    ['envoy.fallbackPool', 'main'],
    ['envoy.maxBodySize', '1MiB'],
    ['envoy.connectionBufferSize', '32KiB'],
    ['envoy.maxHeapSize', '2GiB'],
    ['envoy.maxConnections', 200],
    ['envoy.idleTimeout', '1m'],
    ['envoy.uploads', { minRate: '4KiB' }],
    ['envoy.directory', '/run/there'],
    ['service.address', '127.0.0.1:9001'],
    ['service.metrics', '127.0.0.1:9466'],
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
    ['log.level', 'debug'],
  ])('is not needed for %s', (path, value) => {
    expect(changed(path, value)).toEqual([]);
  });
});
