/** The rate limit service's part of the configuration, as the program uses it. */
import type { Config } from './config.ts';
import type { WrittenConfig } from './schema/schema.ts';

/** @param locate makes a path absolute that is relative to the configuration's folder. */
export function rateLimitOf(
  written: WrittenConfig['rateLimit'],
  locate: (path: string) => string,
): Config['rateLimit'] {
  const { snapshot, directory, http, nearLimitRatio, dynamicMetadata } = written;
  const { send, perUnit, ...names } = written.responseHeaders;
  const { send: sendUpstream, ...upstreamNames } = written.requestHeaders;
  return {
    mergeDomains: written.mergeDomains === 'on',
    shadowMode: written.shadowMode === 'on',
    quotaMode: written.quotaMode === 'on',
    chargeRefused: written.chargeRefused === 'on',
    nearLimitRatio,
    dynamicMetadata,
    ...(send === 'on' && { responseHeaders: names }),
    ...(perUnit === 'on' && { unitHeaders: names }),
    ...(sendUpstream === 'on' && { requestHeaders: upstreamNames }),
    ...(snapshot !== undefined && { snapshot: locate(snapshot) }),
    ...(directory !== undefined && { directory: locate(directory) }),
    ...(http !== undefined && { http }),
  };
}
