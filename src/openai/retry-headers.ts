/** When a client shall try again, in the headers that its SDK obeys. */
import type { ApiError } from '../domain/api-error.ts';
import { NO_RETRY_HEADER } from '../domain/broke-twice.ts';

/**
 * The longest wait that a client is told. The SDKs of OpenAI and Anthropic sleep as long as `retry-after` says before they try again, some
 * of them for days; others take no wait beyond a minute for an order, and try again at once.
 */
export const LONGEST_TOLD_WAIT_MS = 60_000;

/**
 * Refusals that no wait mends, and that Claude Code tries again for minutes unless it is told not to. What is wrong with a token is
 * none of them: its client may have a fresh one.
 */
const FINAL: ReadonlySet<string> = new Set(['invalid_api_key', 'unknown_tenant']);

/** Of an error, whoever says it. */
export function retryHeadersOf({
  code,
  retryAfterMs,
}: Pick<ApiError, 'code' | 'retryAfterMs'>): readonly (readonly [name: string, value: string])[] {
  if (retryAfterMs !== undefined) return retryHeaders(retryAfterMs);
  return FINAL.has(code) ? [NO_RETRY_HEADER] : [];
}

/**
 * Whole seconds, rounded up: a client that comes back then is not refused for the same reason again. The SDKs read milliseconds first.
 * A longer wait is for whoever waits for the answer to decide on: no SDK tries again.
 */
export function retryHeaders(retryAfterMs: number): readonly (readonly [name: string, value: string])[] {
  if (retryAfterMs > LONGEST_TOLD_WAIT_MS) return [NO_RETRY_HEADER];
  const ms = Math.max(1, Math.ceil(retryAfterMs));
  return [
    ['retry-after', String(Math.ceil(ms / 1_000))],
    ['retry-after-ms', String(ms)],
  ];
}
