/**
 * Token counts as engines report them, in the shapes of the APIs that they speak.
 *
 * | API | who | where, and when | fields |
 * |---|---|---|---|
 * | chat, completions, in one piece | all | `usage` of the root | `prompt_tokens`, `completion_tokens` |
 * | the same, streamed | vLLM, SGLang, TGI, llama.cpp | `usage` of an event behind the last choice, whose `choices` are `[]`, null or absent | the same |
 * | | vLLM, SGLang with `continuous_usage_stats` | in every event: of its own choice so far; the last event without choices has the total | the same |
 * | | llama.cpp (completions), TGI | in the event of the finish reason | the same |
 * | | llama.cpp, several choices | one event without choices for each choice | tokens of that choice |
 * | | llama.cpp without usage | `timings` of the last event; with `timings_per_token` of every one: the answer so far | `prompt_n` + `cache_n`, `predicted_n` |
 * | cached part of the prompt | vLLM, SGLang | within `usage` | `prompt_tokens_details.cached_tokens` |
 * | | llama.cpp | the same, or beside it | `timings.cache_n` |
 * | reasoning part of the output | SGLang and others | within `usage` | `completion_tokens_details.reasoning_tokens`, `reasoning_tokens` |
 * | embeddings | all | `usage` of the root | `prompt_tokens`; no output, whatever is reported |
 * | ranks, scores, classes, pooling | vLLM, llama.cpp; SGLang but for ranks | the same | `prompt_tokens`, in older versions `total_tokens` alone; no output |
 * | audio | vLLM, SGLang | the same; `duration` of the root in verbose answers | `type: duration` with `seconds`; `type: tokens` with `input_tokens`, `output_tokens` |
 * | images | | `data` of the root | its entries |
 * | Responses, in one piece | vLLM, SGLang, llama.cpp | `usage` of the root | `input_tokens` (cached ones included), `output_tokens`, `input_tokens_details.cached_tokens`, `output_tokens_details.reasoning_tokens` |
 * | Responses, streamed | the same | `response.usage` of `response.completed`, `.incomplete`, `.failed` | the same |
 * | messages, in one piece | Anthropic, vLLM, llama.cpp | `usage` of the root | `input_tokens` (without the next two), `cache_read_input_tokens`, `cache_creation_input_tokens`, `output_tokens` |
 * | messages, streamed | the same | `message.usage` of `message_start`: the prompt; `usage` of `message_delta`: the output so far, and the prompt again, or not, or zeros | the same |
 *
 * The same table for users is docs/explanation/usage-shapes.md.
 */

export interface Usage {
  /** Whole prompt, cached part included. */
  readonly promptTokens: number;
  readonly completionTokens: number;
  /** Part of the prompt that came from the engine's prefix cache; ≤ promptTokens. */
  readonly cachedTokens: number;
  /** Part of the prompt that was written to a cache that is paid for (Anthropic); absent if none was reported. */
  readonly cacheCreationTokens?: number;
  /** Part of the output that was reasoning; ≤ completionTokens; absent if none was reported. */
  readonly reasoningTokens?: number;
}

/** What a body or an event says of usage. */
export interface UsageReport {
  readonly usage: Usage | undefined;
  /** Something stands where usage belongs, or in it, that no count can be. */
  readonly odd: boolean;
}

/** No engine holds a context of this many tokens: a larger number is an error, not usage. */
const MAX_TOKENS = 2 ** 31 - 1;

const NONE: UsageReport = { usage: undefined, odd: false };
const ODD: UsageReport = { usage: undefined, odd: true };

export type Fields = Readonly<Record<string, unknown>>;

export function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Usage in a parsed response body or stream event. Undefined if there is none or a number in it cannot be a count. */
export const usageOf = (value: unknown): Usage | undefined => usageReport(value).usage;

/**
 * What a parsed response body or stream event says of usage, in any shape of the table. An empty object, null, and a
 * field that is null say nothing. A part of a count (cached, reasoning) that is none is left out, and is odd.
 */
export function usageReport(value: unknown): UsageReport {
  if (!isObject(value)) return NONE;
  const usage = own(value, 'usage') ?? own(value, 'response', 'usage') ?? own(value, 'message', 'usage');
  const timings = value['timings'];
  if (usage === undefined) return isObject(timings) ? reportOfTimings(timings) : NONE;
  if (!isObject(usage)) return ODD;
  if (isSaid(usage['prompt_tokens']) || isSaid(usage['completion_tokens'])) {
    return withOtherChoices(reportOfOpenAi(usage, timings), value['choices'], timings);
  }
  if (isSaid(usage['input_tokens']) || isSaid(usage['output_tokens'])) return reportOfInputOutput(usage);
  return Object.keys(usage).some((key) => isSaid(usage[key])) ? ODD : NONE;
}

/** Whether a reported usage says how much was written: that of an answer's beginning need not. */
export function saysOutput(value: unknown): boolean {
  if (!isObject(value)) return false;
  const usage = own(value, 'usage') ?? own(value, 'response', 'usage');
  return isObject(usage) && (isSaid(usage['output_tokens']) || isSaid(usage['completion_tokens']));
}

/**
 * Whether a parsed body or event is an error, whatever the status: `error` of OpenAI, Anthropic, vLLM, llama.cpp and TGI,
 * `object: "error"` of SGLang and older vLLM, `type: "error"` of Anthropic and Responses, and a response that failed.
 */
export function isErrorShape(value: Fields): boolean {
  const { error, object, type } = value;
  return isSaid(error) || object === 'error' || type === 'error' || type === 'response.failed';
}

const isSaid = (value: unknown): boolean => value !== undefined && value !== null;

function own(value: Fields, ...path: readonly string[]): unknown {
  let current: unknown = value;
  for (const key of path) {
    if (!isObject(current)) return undefined;
    current = current[key];
  }
  return current ?? undefined;
}

function reportOfOpenAi(usage: Fields, timings: unknown): UsageReport {
  const cached =
    own(usage, 'prompt_tokens_details', 'cached_tokens') ?? own({ timings }, 'timings', 'cache_n');
  const reasoning =
    own(usage, 'completion_tokens_details', 'reasoning_tokens') ?? own(usage, 'reasoning_tokens');
  return reportFrom(usage['prompt_tokens'], usage['completion_tokens'], { cached, reasoning });
}

/**
 * llama.cpp reports the tokens of one choice for all of them, as `timings`, which only it sends, show. The others are
 * taken to be as long.
 */
function withOtherChoices(report: UsageReport, choices: unknown, timings: unknown): UsageReport {
  const { usage, odd } = report;
  if (usage === undefined || !Array.isArray(choices) || choices.length < 2 || !isObject(timings)) {
    return report;
  }
  if (timings['predicted_n'] !== usage.completionTokens) return report;
  const completionTokens = Math.min(MAX_TOKENS, usage.completionTokens * choices.length);
  return { usage: { ...usage, completionTokens }, odd };
}

/** Responses and Anthropic use the same two names, but only Anthropic's input_tokens leave out the cached ones. */
function reportOfInputOutput(usage: Fields): UsageReport {
  const read = count(usage['cache_read_input_tokens'] ?? 0);
  const created = count(usage['cache_creation_input_tokens'] ?? 0);
  const plain = count(usage['input_tokens'] ?? 0);
  if (read === undefined || created === undefined || plain === undefined) return ODD;
  const cached = own(usage, 'input_tokens_details', 'cached_tokens') ?? read;
  const reasoning = own(usage, 'output_tokens_details', 'reasoning_tokens');
  return reportFrom(plain + read + created, usage['output_tokens'], { cached, reasoning, created });
}

/** llama.cpp: `prompt_n` counts only the tokens that were computed. */
function reportOfTimings(timings: Fields): UsageReport {
  const cached = count(timings['cache_n'] ?? 0);
  const prompt = count(timings['prompt_n']);
  const predicted = timings['predicted_n'];
  // Not what it is for: without counts it is none, but no nonsense either.
  if (cached === undefined || prompt === undefined || count(predicted) === undefined) return NONE;
  return reportFrom(prompt + cached, predicted, { cached });
}

interface Parts {
  readonly cached?: unknown;
  readonly reasoning?: unknown;
  readonly created?: number;
}

function reportFrom(prompt: unknown, completion: unknown, parts: Parts): UsageReport {
  const promptTokens = count(prompt ?? 0);
  const completionTokens = count(completion ?? 0);
  if (promptTokens === undefined || completionTokens === undefined) return ODD;
  const { created = 0 } = parts;
  const cached = count(parts.cached ?? 0);
  const reasoning = count(parts.reasoning ?? 0);
  const reasoningTokens = Math.min(reasoning ?? 0, completionTokens);
  const plain = { promptTokens, completionTokens, cachedTokens: Math.min(cached ?? 0, promptTokens) };
  const usage =
    created > 0 || reasoningTokens > 0
      ? {
          ...plain,
          ...(created > 0 && { cacheCreationTokens: created }),
          ...(reasoningTokens > 0 && { reasoningTokens }),
        }
      : plain;
  return { usage, odd: cached === undefined || reasoning === undefined };
}

function count(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= MAX_TOKENS
    ? // Not minus zero.
      value + 0
    : undefined;
}
