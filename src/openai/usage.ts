/** Token counts as engines report them, in the shapes of the APIs that they speak. */

export interface Usage {
  /** Whole prompt, cached part included. */
  readonly promptTokens: number;
  readonly completionTokens: number;
  /** Part of the prompt that came from the engine's prefix cache; ≤ promptTokens. */
  readonly cachedTokens: number;
}

/** No engine holds a context of this many tokens: a larger number is an error, not usage. */
const MAX_TOKENS = 2 ** 31 - 1;

export type Fields = Readonly<Record<string, unknown>>;

export function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * Usage in a parsed response body or stream event: OpenAI chat, completions and embeddings, Responses (also inside
 * `response`), Anthropic (also inside `message`), and llama.cpp's `timings` where it sends no usage.
 * Undefined if there is none or a number in it cannot be a count.
 */
export function usageOf(value: unknown): Usage | undefined {
  if (!isObject(value)) return undefined;
  const usage = own(value, 'usage') ?? own(value, 'response', 'usage') ?? own(value, 'message', 'usage');
  const timings = value['timings'];
  if (!isObject(usage)) return isObject(timings) ? usageOfTimings(timings) : undefined;
  if (usage['prompt_tokens'] !== undefined) {
    return withOtherChoices(usageOfOpenAi(usage, timings), value['choices'], timings);
  }
  return usageOfInputOutput(usage);
}

function own(value: Fields, ...path: readonly string[]): unknown {
  let current: unknown = value;
  for (const key of path) {
    if (!isObject(current)) return undefined;
    current = current[key];
  }
  return current ?? undefined;
}

function usageOfOpenAi(usage: Fields, timings: unknown): Usage | undefined {
  const cached =
    own(usage, 'prompt_tokens_details', 'cached_tokens') ?? own({ timings }, 'timings', 'cache_n');
  return usageFrom(usage['prompt_tokens'], usage['completion_tokens'] ?? 0, cached ?? 0);
}

/**
 * llama.cpp reports the tokens of one choice for all of them, as `timings`, which only it sends, show. The others are
 * taken to be as long.
 */
function withOtherChoices(usage: Usage | undefined, choices: unknown, timings: unknown): Usage | undefined {
  if (usage === undefined || !Array.isArray(choices) || choices.length < 2 || !isObject(timings))
    return usage;
  if (timings['predicted_n'] !== usage.completionTokens) return usage;
  return { ...usage, completionTokens: Math.min(MAX_TOKENS, usage.completionTokens * choices.length) };
}

/** Responses and Anthropic use the same two names, but only Anthropic's input_tokens leave out the cached ones. */
function usageOfInputOutput(usage: Fields): Usage | undefined {
  const input = usage['input_tokens'];
  const output = usage['output_tokens'];
  if (input === undefined && output === undefined) return undefined;
  const read = count(usage['cache_read_input_tokens'] ?? 0);
  const created = count(usage['cache_creation_input_tokens'] ?? 0);
  const plain = count(input ?? 0);
  if (read === undefined || created === undefined || plain === undefined) return undefined;
  const cached = own(usage, 'input_tokens_details', 'cached_tokens') ?? read;
  return usageFrom(plain + read + created, output ?? 0, cached);
}

/** llama.cpp: `prompt_n` counts only the tokens that were computed. */
function usageOfTimings(timings: Fields): Usage | undefined {
  const cached = count(timings['cache_n'] ?? 0);
  const prompt = count(timings['prompt_n']);
  if (cached === undefined || prompt === undefined) return undefined;
  return usageFrom(prompt + cached, timings['predicted_n'], cached);
}

function usageFrom(prompt: unknown, completion: unknown, cached: unknown): Usage | undefined {
  const promptTokens = count(prompt);
  const completionTokens = count(completion);
  const cachedTokens = count(cached);
  if (promptTokens === undefined || completionTokens === undefined || cachedTokens === undefined)
    return undefined;
  return { promptTokens, completionTokens, cachedTokens: Math.min(cachedTokens, promptTokens) };
}

function count(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= MAX_TOKENS
    ? value
    : undefined;
}
