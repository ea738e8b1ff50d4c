/** How many tokens an engine's models have room for, as `GET /v1/models` lists them. Pure. */
import { isObject } from '../openai/usage.ts';
import { positive } from './driver.ts';

/** Shorter is no context that anybody serves; longer none that an engine holds. */
const LEAST_TOKENS = 64;
const MOST_TOKENS = 1e8;

/**
 * The largest `max_model_len` of a list of models: vLLM and SGLang have it, adapters of theirs without a number.
 *
 * @param models whatever the engine answered, as JSON. @returns undefined where no entry has a number that can be.
 */
export function contextIn(models: unknown): number | undefined {
  const list: unknown = isObject(models) ? models['data'] : undefined;
  if (!Array.isArray(list)) return undefined;
  let most: number | undefined;
  for (const entry of list as readonly unknown[]) {
    const tokens = isObject(entry) ? positive(entry['max_model_len'], MOST_TOKENS) : undefined;
    if (tokens !== undefined && tokens >= LEAST_TOKENS) most = Math.max(most ?? 0, tokens);
  }
  return most;
}
