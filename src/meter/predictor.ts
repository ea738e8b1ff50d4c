/**
 * What a request will take, learned from what requests took: no tokenizer in the hot path.
 *
 * Prompt tokens come from the bytes of the prompt and a bytes-per-token ratio of the model; output tokens from
 * `min(max_tokens, what this tenant's requests to this model usually take)`.
 */
export interface Predictor {
  promptTokens(model: string, promptBytes: number): number;
  /** @param cap the request's own limit for all its outputs together, or undefined. */
  outputTokens(tenant: string, model: string, cap: number | undefined): number;
  /** Of a prompt of this tenant, what the engine's prefix cache usually has. */
  cachedTokens(tenant: string, model: string, promptTokens: number): number;
  /** Learns from an engine's usage. */
  learn(
    tenant: string,
    model: string,
    seen: {
      readonly promptBytes: number;
      readonly promptTokens: number;
      readonly cachedTokens: number;
      readonly outputTokens: number;
    },
  ): void;
}

/** English text under common tokenizers; only until the first answer of the model. */
const INITIAL_BYTES_PER_TOKEN = 4;
const INITIAL_OUTPUT_TOKENS = 256;
/** Old samples fade: a sample's weight halves about every 34 requests. */
const DECAY = 0.98;
/** Bounds on what may be learned, so that one odd answer cannot make prompts free or priceless. */
const MIN_BYTES_PER_TOKEN = 0.5;
const MAX_BYTES_PER_TOKEN = 16;

interface Ratio {
  bytes: number;
  tokens: number;
}
interface Mean {
  sum: number;
  promptTokens: number;
  cachedTokens: number;
  weight: number;
}

export function createPredictor(): Predictor {
  const ratios = new Map<string, Ratio>();
  const means = new Map<string, Mean>();
  const keyOf = (tenant: string, model: string): string => `${tenant}\n${model}`;

  return {
    promptTokens(model, promptBytes) {
      const ratio = ratios.get(model);
      const learned = ratio === undefined ? INITIAL_BYTES_PER_TOKEN : ratio.bytes / ratio.tokens;
      const bytesPerToken = Math.min(MAX_BYTES_PER_TOKEN, Math.max(MIN_BYTES_PER_TOKEN, learned));
      return Math.ceil(promptBytes / bytesPerToken);
    },
    outputTokens(tenant, model, cap) {
      const mean = means.get(keyOf(tenant, model));
      const usual = mean === undefined ? INITIAL_OUTPUT_TOKENS : Math.round(mean.sum / mean.weight);
      return cap === undefined ? usual : Math.min(cap, usual);
    },
    cachedTokens(tenant, model, promptTokens) {
      const mean = means.get(keyOf(tenant, model));
      if (mean === undefined || mean.promptTokens === 0) return 0;
      return Math.floor(promptTokens * Math.min(1, mean.cachedTokens / mean.promptTokens));
    },
    learn(tenant, model, { promptBytes, promptTokens, cachedTokens, outputTokens }) {
      if (promptBytes > 0 && promptTokens > 0) {
        const ratio = ratios.get(model) ?? { bytes: 0, tokens: 0 };
        ratio.bytes = ratio.bytes * DECAY + promptBytes;
        ratio.tokens = ratio.tokens * DECAY + promptTokens;
        ratios.set(model, ratio);
      }
      const key = keyOf(tenant, model);
      const mean = means.get(key) ?? { sum: 0, promptTokens: 0, cachedTokens: 0, weight: 0 };
      mean.promptTokens = mean.promptTokens * DECAY + promptTokens;
      mean.cachedTokens = mean.cachedTokens * DECAY + cachedTokens;
      mean.sum = mean.sum * DECAY + outputTokens;
      mean.weight = mean.weight * DECAY + 1;
      means.set(key, mean);
    },
  };
}
