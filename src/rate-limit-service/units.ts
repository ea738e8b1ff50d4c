/** Names of envoy.service.ratelimit.v3.RateLimitResponse.RateLimit.Unit, by their numbers. */
export const UNIT_NAMES = ['UNKNOWN', 'SECOND', 'MINUTE', 'HOUR', 'DAY', 'MONTH', 'YEAR', 'WEEK'] as const;
