/** How calls of the rate limit service are answered where nothing is configured. */
import type { CallSettings } from '../../src/config/rate-limit.ts';

export const CALL_SETTINGS: CallSettings = {
  shadowMode: false,
  quotaMode: false,
  chargeRefused: true,
  nearLimitRatio: 0.8,
  dynamicMetadata: 'auto',
  responseHeaders: { limit: 'RateLimit-Limit', remaining: 'RateLimit-Remaining', reset: 'RateLimit-Reset' },
};
