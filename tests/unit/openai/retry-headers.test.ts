import * as fc from 'fast-check';
import { expect, it } from 'vitest';
import { LONGEST_TOLD_WAIT_MS, retryHeaders, retryHeadersOf } from '../../../src/openai/retry-headers.ts';

it.each([
  [0, '1', '1'],
  [1, '1', '1'],
  [1_000, '1', '1000'],
  [1_000.5, '2', '1001'],
  [60_000, '60', '60000'],
])('%d ms are told in whole seconds, rounded up, and in milliseconds', (ms, seconds, told) => {
  expect(retryHeaders(ms)).toEqual([
    ['retry-after', seconds],
    ['retry-after-ms', told],
  ]);
});

it('no wait is told that is beyond the patience of SDKs, and none is told too short', () => {
  fc.assert(
    fc.property(fc.double({ min: 0, max: 3e9, noNaN: true }), (ms) => {
      const headers = new Map(retryHeaders(ms));
      if (ms > LONGEST_TOLD_WAIT_MS) expect([...headers]).toEqual([['x-should-retry', 'false']]);
      else {
        expect(Number(headers.get('retry-after')) * 1_000).toBeGreaterThanOrEqual(ms);
        expect(Number(headers.get('retry-after-ms'))).toBeGreaterThanOrEqual(ms);
      }
    }),
    { seed: 14 },
  );
});

it('a wrong key is not tried again; a token may be, by who has a fresh one', () => {
  const noRetry = [['x-should-retry', 'false']];
  for (const code of ['invalid_api_key', 'unknown_tenant']) expect(retryHeadersOf({ code })).toEqual(noRetry);
  for (const code of ['invalid_token', 'unknown_url', 'model_not_found']) {
    expect(retryHeadersOf({ code })).toEqual([]);
  }
  expect(retryHeadersOf({ code: 'queue_full', retryAfterMs: 1_000 })).toEqual(retryHeaders(1_000));
});
