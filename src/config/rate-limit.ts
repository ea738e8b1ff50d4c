/** `rateLimit` as the program uses it. */

/** What a header with a limit, with what is left of it, and with the time until it is whole again is called. */
export interface LimitHeaderNames {
  readonly limit: string;
  readonly remaining: string;
  readonly reset: string;
}

/** How calls of the rate limit service are answered. */
export interface CallSettings {
  /** Everything is counted, and nothing refused. */
  readonly shadowMode: boolean;
  /** All limits are quotas: a call is refused when no group of them has anything left. */
  readonly quotaMode: boolean;
  /** Limits that had room are charged for a call that another one refused. */
  readonly chargeRefused: boolean;
  /** The part of a limit, 0 to 1, beyond which hits are counted as near it. */
  readonly nearLimitRatio: number;
  /** Whether answers have dynamic metadata; `auto`: those to calls of which a limit has `metadata`. */
  readonly dynamicMetadata: 'auto' | 'on' | 'off';
  /** Absent: none are sent. */
  readonly responseHeaders?: LimitHeaderNames;
  /** Response headers for each unit of which the call has a limit, in these names. Absent: none are sent. */
  readonly unitHeaders?: LimitHeaderNames;
  /** For the upstream. Absent: none are sent. */
  readonly requestHeaders?: LimitHeaderNames;
}

export interface RateLimitConfig extends CallSettings {
  /** Absolute; absent: no limits. */
  readonly directory?: string;
  /** File that keeps the levels over a restart. */
  readonly snapshot?: string;
  readonly mergeDomains: boolean;
  /** Where calls are taken as JSON over HTTP; absent: nowhere. */
  readonly http?: { readonly host: string; readonly port: number };
}
