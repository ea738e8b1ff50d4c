import type { ConcurrencyLimit } from './concurrency-limit.ts';

/** The limit that the configuration gives: limit = size. Nothing moves it. */
export const fixedLimit = (size: number): ConcurrencyLimit => ({
  limit: () => size,
  source: () => 'fixed',
  isProbing: () => false,
  isEager: () => false,
  isUnconfirmed: () => false,
  saturated() {},
  gauges() {},
  firstToken() {},
  interToken() {},
  slo() {},
  atMost() {},
});
