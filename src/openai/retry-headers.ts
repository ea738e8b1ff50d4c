/** When a client shall try again, in the headers that its SDK obeys. */

/**
 * The longest wait that a client is told. The SDKs of OpenAI and Anthropic sleep as long as `retry-after` says before they try again, some
 * of them for days; others take no wait beyond a minute for an order, and try again at once.
 */
export const LONGEST_TOLD_WAIT_MS = 60_000;

/**
 * Whole seconds, rounded up: a client that comes back then is not refused for the same reason again. The SDKs read milliseconds first.
 * A longer wait is for whoever waits for the answer to decide on: no SDK tries again.
 */
export function retryHeaders(retryAfterMs: number): readonly (readonly [name: string, value: string])[] {
  if (retryAfterMs > LONGEST_TOLD_WAIT_MS) return [['x-should-retry', 'false']];
  const ms = Math.max(1, Math.ceil(retryAfterMs));
  return [
    ['retry-after', String(Math.ceil(ms / 1_000))],
    ['retry-after-ms', String(ms)],
  ];
}
