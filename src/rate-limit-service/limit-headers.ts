/**
 * `RateLimit-*`: which limit of a call they are about, and what they say.
 * Source: envoyproxy/ratelimit, src/service/ratelimit.go, shouldRateLimitWorker, and its test
 * TestServiceWithPerUnitRatelimitHeaders.
 */
import type { LimitHeaderNames } from '../config/rate-limit.ts';
import { UNIT_NAMES } from './units.ts';

export type HeaderList = readonly (readonly [name: string, value: string])[];

/** What a header says of a limit. */
export interface ShownLimit {
  readonly requestsPerUnit: number;
  readonly unit: number;
  readonly remaining: number;
  readonly resetMs: number;
}

export const NO_HEADERS: HeaderList = [];

export function limitHeaders(names: LimitHeaderNames, shown: ShownLimit): HeaderList {
  return [
    [names.limit, String(shown.requestsPerUnit)],
    [names.remaining, String(shown.remaining)],
    [names.reset, String(Math.ceil(shown.resetMs / 1_000))],
  ];
}

/** `Seconds`, as the headers have it. */
function unitWord(unit: number): string {
  const name = UNIT_NAMES[unit] ?? UNIT_NAMES[0];
  return `${name.charAt(0)}${name.slice(1).toLowerCase()}s`;
}

/** Of each unit the limit with the least left, the first of equals; units in the order of the call. */
export function unitHeaders(names: LimitHeaderNames, limits: readonly ShownLimit[]): HeaderList {
  const tightest = new Map<number, ShownLimit>();
  for (const limit of limits) {
    const before = tightest.get(limit.unit);
    if (before === undefined || limit.remaining < before.remaining) tightest.set(limit.unit, limit);
  }
  return [...tightest].flatMap(([unit, { requestsPerUnit, remaining }]): HeaderList => {
    const word = unitWord(unit);
    return [
      [`${names.limit}-${word}`, String(requestsPerUnit)],
      [`${names.remaining}-${word}`, String(remaining)],
    ];
  });
}
