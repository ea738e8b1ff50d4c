/** How long a request was in its engine, and how much of the KV cache it held for how long. Pure arithmetic. */
import type { UsageRecord } from '../usage/usage-record.ts';

export interface RunSeen {
  /** From the release to the first token; undefined: none was seen. */
  readonly firstTokenMs: number | undefined;
  /** From the release to the last thing that the engine computed, as far as is known. */
  readonly computedMs: number;
  /** What its prompt was thought to take, where the first token cannot be seen; undefined: it could, and was not there. */
  readonly expectedPrefillMs: number | undefined;
  readonly promptTokens: number;
  readonly completionTokens: number;
}

export type RunTimes = Required<Pick<UsageRecord, 'prefillMs' | 'decodeMs' | 'kvTokenSeconds'>>;

/**
 * KV token-seconds: the prompt's tokens from the release on, and half of the output's while it is written, as it grows from nothing.
 *
 *   prompt × (prefill + decode) + output ÷ 2 × decode
 */
export function runTimes(seen: RunSeen): RunTimes {
  const computedMs = Math.max(0, seen.computedMs);
  const prefill = seen.firstTokenMs ?? seen.expectedPrefillMs ?? computedMs;
  const prefillMs = Math.max(0, Math.min(prefill, computedMs));
  const decodeMs = computedMs - prefillMs;
  const { promptTokens, completionTokens } = seen;
  return {
    prefillMs,
    decodeMs,
    kvTokenSeconds: (promptTokens * computedMs + (completionTokens / 2) * decodeMs) / 1_000,
  };
}
