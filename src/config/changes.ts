/** Which settings of a reload wait for a restart: of Fairlane, of Envoy, or both. */
import { isDeepStrictEqual } from 'node:util';
import type { Config } from './config.ts';

const SETTINGS: readonly (readonly [name: string, of: (config: Config) => unknown])[] = [
  ['mode', (config) => config.picker !== undefined],
  ['picker', (config) => config.picker],
  ['listen', (config) => config.listen],
  ['envoy.admin', (config) => config.envoy.admin],
  ['envoy.directory', (config) => config.envoy.directory],
  ['envoy.failureMode', (config) => config.envoy.failureMode],
  ['envoy.fallbackPool', (config) => config.envoy.fallbackPool],
  ['envoy.maxBodySize', (config) => config.envoy.maxBodyBytes],
  ['envoy.connectionBufferSize', (config) => config.envoy.connectionBufferBytes],
  ['envoy.maxHeapSize', (config) => config.envoy.maxHeapBytes],
  ['envoy.maxConnections', (config) => config.envoy.maxConnections],
  ['envoy.idleTimeout', (config) => config.envoy.idleTimeoutMs],
  ['envoy.uploads', (config) => config.envoy.uploads],
  ['routes', (config) => config.routes],
  ['service.address', (config) => config.service.address],
  ['service.metrics', (config) => config.service.metrics],
  ['redis', (config) => config.redis],
  ['rateLimit.snapshot', (config) => config.rateLimit.snapshot],
];

/** The names of changed settings that only take effect with a restart. */
export function restartNeeded(old: Config, next: Config): readonly string[] {
  return SETTINGS.filter(([, of]) => !isDeepStrictEqual(of(old), of(next))).map(([name]) => name);
}
