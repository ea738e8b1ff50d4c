/** What a request will take, and how much of it is reserved. Pure arithmetic over what was learned. */
import type { Limits, TenantConfig } from '../config/config.ts';
import type { ApiError } from '../domain/api-error.ts';
import { meteredOf } from '../domain/routes.ts';
import { contextLengthExceeded } from '../openai/error-body.ts';
import type { RequestFacts } from '../openai/parsed-request.ts';
import type { Predictor } from '../usage/predictor.ts';

export interface Prediction {
  readonly promptTokens: number;
  /** Of those, what the engine's prefix cache usually has. */
  readonly cachedTokens: number;
  /** What it has of such prompts in the mean, however long they are. */
  readonly usualCachedTokens: number;
  /** Of all outputs together. */
  readonly outputTokens: number;
  /** Most tokens of one output: what the request says, or the room that the tenant's maxContext leaves. */
  readonly cap: number | undefined;
  /** Most tokens of all outputs together. */
  readonly outputLimit: number | undefined;
}

const MIN_OUTPUT_TOKENS = 1;
/** Of what costs no tokens. */
const NOTHING: Prediction = {
  promptTokens: 0,
  cachedTokens: 0,
  usualCachedTokens: 0,
  outputTokens: 0,
  cap: 0,
  outputLimit: 0,
};

/** Most tokens of one output, or why the request does not fit into the tenant's maxContext. */
function outputCap(
  { route, maxOutputTokens: asked, pairs = 1 }: RequestFacts,
  promptTokens: number,
  maxContext: number | undefined,
): number | ApiError | undefined {
  const metered = meteredOf(route);
  if (metered !== 'tokens') {
    const prompt = Math.ceil(promptTokens / pairs);
    return metered === 'prompt' && maxContext !== undefined && prompt > maxContext
      ? contextLengthExceeded(route, { maxContext, prompt, output: 0 })
      : 0;
  }
  if (maxContext === undefined) return asked;
  const room = maxContext - promptTokens;
  if (room < MIN_OUTPUT_TOKENS || (asked !== undefined && asked > room)) {
    const output = asked ?? MIN_OUTPUT_TOKENS;
    return contextLengthExceeded(route, { maxContext, prompt: promptTokens, output });
  }
  return asked ?? room;
}

/** @param request with the model that serves it. */
export function predict(
  predictor: Predictor,
  { name, limits }: TenantConfig,
  request: RequestFacts,
): Prediction | ApiError {
  const { model, outputs, heldTokens = 0 } = request;
  if (meteredOf(request.route) === 'requests') return NOTHING;
  const promptTokens = predictor.promptTokens(name, model, request.promptBytes) + heldTokens;
  const cap = outputCap(request, promptTokens, limits.maxContext);
  if (typeof cap === 'object') return cap;
  const outputLimit = cap === undefined ? undefined : cap * outputs;
  return {
    promptTokens,
    cachedTokens: predictor.cachedTokens(name, model, promptTokens),
    usualCachedTokens: predictor.usualCachedTokens(name, model),
    outputTokens: predictor.outputTokens(name, model, outputLimit),
    cap,
    outputLimit,
  };
}

/**
 * Tokens to take from the tenant's bucket. The output is a guess and must not make a request impossible; the prompt
 * may.
 */
export function tokensToReserve({ promptTokens, outputTokens }: Prediction, limits: Limits): number {
  const burst = limits.tokenBurst ?? limits.tokensPerMinute;
  const predicted = promptTokens + outputTokens;
  return burst !== undefined && promptTokens < burst ? Math.min(predicted, burst) : predicted;
}

/** Prompt and predicted output, of all sequences. */
export const totalTokens = ({ promptTokens, outputTokens }: Prediction, outputs: number): number =>
  promptTokens * outputs + outputTokens;
