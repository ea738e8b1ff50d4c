/** Answers of the simulated engine in one piece, in vLLM's shapes. */
import type { Job } from './openai-requests.ts';

const WORDS = [
  'the',
  'engine',
  'says',
  'one',
  'word',
  'for',
  'every',
  'token',
  'it',
  'makes',
  'and',
  'then',
  'ends',
];

/** The text of a token, the same every time. */
export const wordOf = (index: number): string =>
  `${index === 0 ? '' : ' '}${WORDS[index % WORDS.length] ?? ''}`;
export const textOf = (tokens: number): string =>
  Array.from({ length: tokens }, (_, index) => wordOf(index)).join('');

export const openAiUsage = (job: Job, completionTokens: number, cachedTokens: number): object => ({
  prompt_tokens: job.promptTokens,
  total_tokens: job.promptTokens + completionTokens,
  completion_tokens: completionTokens,
  prompt_tokens_details: { cached_tokens: cachedTokens },
});
export const responsesUsage = (job: Job, completionTokens: number, cachedTokens: number): object => ({
  input_tokens: job.promptTokens,
  input_tokens_details: { cached_tokens: cachedTokens },
  output_tokens: completionTokens,
  output_tokens_details: { reasoning_tokens: 0 },
  total_tokens: job.promptTokens + completionTokens,
});
/** Anthropic's input_tokens leave out what the cache had. */
export const messagesUsage = (job: Job, completionTokens: number, cachedTokens: number): object => ({
  input_tokens: job.promptTokens - cachedTokens,
  cache_read_input_tokens: cachedTokens,
  output_tokens: completionTokens,
});
export const finishOf = (job: Job): 'length' | 'stop' => (job.capped ? 'length' : 'stop');
export const stopReasonOf = (job: Job): string => (job.capped ? 'max_tokens' : 'end_turn');

/**
 * The whole answer of a request that does not stream. `reportUsage`: false for an engine that reports none.
 */
export function jsonAnswer(
  id: string,
  job: Job,
  createdS: number,
  cachedTokens: number,
  reportUsage: boolean,
): string {
  const tokens = job.outputTokens * job.choices;
  const text = textOf(job.outputTokens);
  const usage = (value: object): object => (reportUsage ? { usage: value } : {});
  switch (job.route) {
    case '/v1/embeddings':
      return JSON.stringify({
        id: `embd-${id}`,
        object: 'list',
        created: createdS,
        model: job.model,
        data: Array.from({ length: job.inputs }, (_, index) => ({
          index,
          object: 'embedding',
          embedding: Array.from({ length: 8 }, (__, i) => Math.sin(index * 8 + i)),
        })),
        ...usage({ prompt_tokens: job.promptTokens, total_tokens: job.promptTokens, completion_tokens: 0 }),
      });
    case '/v1/messages':
      return JSON.stringify({
        id: `msg_${id}`,
        type: 'message',
        role: 'assistant',
        content: [{ type: 'text', text }],
        model: job.model,
        stop_reason: stopReasonOf(job),
        ...usage(messagesUsage(job, tokens, cachedTokens)),
      });
    case '/v1/responses':
      return JSON.stringify(
        responseObject(
          id,
          job,
          createdS,
          'completed',
          text,
          usage(responsesUsage(job, tokens, cachedTokens)),
        ),
      );
    case '/v1/chat/completions':
    case '/v1/completions': {
      const chat = job.route === '/v1/chat/completions';
      return JSON.stringify({
        id: `${chat ? 'chatcmpl' : 'cmpl'}-${id}`,
        object: chat ? 'chat.completion' : 'text_completion',
        created: createdS,
        model: job.model,
        choices: Array.from({ length: job.choices }, (_, index) => ({
          index,
          ...(chat ? { message: { role: 'assistant', content: text } } : { text }),
          logprobs: null,
          finish_reason: finishOf(job),
        })),
        ...usage(openAiUsage(job, tokens, cachedTokens)),
      });
    }
  }
}

/** The one item of a response's output. */
export const messageItem = (id: string, status: string, content: readonly object[]): object => ({
  id: `msg_${id}`,
  type: 'message',
  role: 'assistant',
  status,
  content,
});

/** The Responses API's object; without text it has no output yet. */
export const responseObject = (
  id: string,
  job: Job,
  createdS: number,
  status: string,
  text: string,
  usage: object,
): object => ({
  id: job.responseId ?? `resp_${id}`,
  object: 'response',
  created_at: createdS,
  model: job.model,
  status,
  output: text === '' ? [] : [messageItem(id, status, [{ type: 'output_text', text, annotations: [] }])],
  ...usage,
});
