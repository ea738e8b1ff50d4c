import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { anyHeaderBut } from '../../../src/envoy/names-pattern.ts';
import { ANSWER_HEADERS_TO_CLIENTS, REQUEST_HEADERS_TO_ENGINES } from '../../../src/openai/engine-headers.ts';

const matcher = (names: readonly string[]) => {
  // As Envoy does: the whole name, one of the patterns.
  const patterns = anyHeaderBut(names).map((pattern) => new RegExp(`^(?:${pattern})$`, 's'));
  return (name: string): boolean => patterns.some((pattern) => pattern.test(name));
};
const isOneOf = (names: readonly string[], name: string): boolean =>
  names.some((one) => (one.endsWith('*') ? name.startsWith(one.slice(0, -1)) : one === name));

const letters = fc.constantFrom('a', 'b', 'c', 'x', '-', '1');
const name = fc.array(letters, { minLength: 1, maxLength: 12 }).map((list) => list.join(''));
const listed = fc.array(
  fc.tuple(name, fc.boolean()).map(([text, isPrefix]) => (isPrefix ? `${text}*` : text)),
  { maxLength: 12 },
);

describe('the patterns for all headers but some', () => {
  it('match every other name, and none of them', () => {
    fc.assert(
      fc.property(listed, fc.array(name, { minLength: 1, maxLength: 40 }), fc.nat(), (names, tried, cut) => {
        const matches = matcher(names);
        const near = names.flatMap((one) => {
          const plain = one.replace('*', '');
          return [plain, `${plain}x`, plain.slice(0, cut % (plain.length + 1)), `${plain}-`];
        });
        for (const text of [...tried, ...near].filter((one) => one !== '')) {
          expect([text, matches(text)]).toEqual([text, !isOneOf(names, text)]);
        }
      }),
    );
  });

  it('leave alone what begins with a colon: those are Envoy’s', () => {
    for (const names of [[], REQUEST_HEADERS_TO_ENGINES]) {
      for (const own of [':path', ':status', ':fairlane-pool']) expect(matcher(names)(own)).toBe(false);
    }
  });

  it.each([
    'x-vllm-priority',
    'x-sglang-rid',
    'x-override-model',
    'x-smg-routing-key',
    'x-prefiller-host-port',
    'x-data-parallel-rank',
    'x-session-id',
    'accept-encoding',
    'authorization',
    'cookie',
    'x_request_id',
    'x-request-id-2',
    'content-typ',
    'connection',
    'te',
    'expect',
    'x-envoy-max-retries',
    'x-fairlane-tenant',
  ])('take %s from what engines get', (header) => {
    expect(matcher(REQUEST_HEADERS_TO_ENGINES)(header)).toBe(true);
  });

  it.each([
    'server',
    'set-cookie',
    'location',
    'x-fairlane-model',
    'x-envoy-retry-on',
    'alt-svc',
    'x-ratelimit-limit-tokens',
  ])('take %s from what clients get', (header) => {
    expect(matcher(ANSWER_HEADERS_TO_CLIENTS)(header)).toBe(true);
  });
});
