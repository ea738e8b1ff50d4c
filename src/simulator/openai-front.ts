/** The API of the simulated engine: reads requests as generously as vLLM does, and writes answers in its shapes. */
import { createHash } from 'node:crypto';
import type { EngineProfile } from './profile.ts';

export type SimulatedRoute =
  | '/v1/chat/completions'
  | '/v1/completions'
  | '/v1/embeddings'
  | '/v1/responses'
  | '/v1/messages';

export const SIMULATED_ROUTES: readonly string[] = [
  '/v1/chat/completions',
  '/v1/completions',
  '/v1/embeddings',
  '/v1/responses',
  '/v1/messages',
] satisfies readonly SimulatedRoute[];

export interface Job {
  readonly route: SimulatedRoute;
  readonly model: string;
  readonly stream: boolean;
  readonly includeUsage: boolean;
  readonly continuousUsage: boolean;
  readonly choices: number;
  readonly promptTokens: number;
  readonly prefixHashes: readonly string[];
  readonly outputTokens: number;
  /** The output ends because the cap was reached, not by itself. */
  readonly capped: boolean;
  readonly priority: number;
  /** Number of inputs of an embeddings request. */
  readonly inputs: number;
}

export type FrontResult =
  | { readonly kind: 'job'; readonly job: Job }
  | { readonly kind: 'error'; readonly status: number; readonly body: string };

type Body = Readonly<Record<string, unknown>>;

const BYTES_PER_TOKEN = 4;
const TEMPLATE_TOKENS = 8;
const DEFAULT_COMPLETION_TOKENS = 16;
const NATURAL_STOP = { least: 32, most: 256 };
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
const wordOf = (index: number): string => `${index === 0 ? '' : ' '}${WORDS[index % WORDS.length] ?? ''}`;
const textOf = (tokens: number): string =>
  Array.from({ length: tokens }, (_, index) => wordOf(index)).join('');

const error = (status: number, type: string, message: string, param: string | null = null): FrontResult => ({
  kind: 'error',
  status,
  body: JSON.stringify({ error: { message, type, param, code: status } }),
});
const anthropicError = (status: number, type: string, message: string): FrontResult => ({
  kind: 'error',
  status,
  body: JSON.stringify({ type: 'error', error: { type, message } }),
});

/** Every string that is part of the prompt, in order. */
function promptText(value: unknown): string {
  if (typeof value === 'string') return value;
  if (typeof value === 'number') return 'tok ';
  if (Array.isArray(value)) return value.map(promptText).join('\n');
  if (typeof value === 'object' && value !== null) {
    const { role, content, text, input } = value as Body;
    return [role, content, text, input]
      .filter((part) => part !== undefined && part !== null)
      .map(promptText)
      .join('\n');
  }
  return '';
}

const wholeNumber = (value: unknown): number | undefined => {
  const number = typeof value === 'string' ? Number(value) : value;
  return typeof number === 'number' && Number.isInteger(number) ? number : undefined;
};

/** Reads a request. Numbers in strings and `"stream": "yes"` are accepted, as vLLM does. */
export function readRequest(
  route: SimulatedRoute,
  text: string,
  profile: EngineProfile,
  models: readonly string[],
): FrontResult {
  const isMessages = route === '/v1/messages';
  const bad = (message: string, param: string | null = null): FrontResult =>
    isMessages
      ? anthropicError(400, 'invalid_request_error', message)
      : error(400, 'BadRequestError', message, param);
  let body: Body;
  try {
    const parsed: unknown = JSON.parse(text);
    if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
      return bad('The body is not an object.');
    body = parsed as Body;
  } catch {
    return bad('The body is not JSON.');
  }
  const model = typeof body['model'] === 'string' && body['model'] !== '' ? body['model'] : (models[0] ?? '');
  if (!models.includes(model)) {
    const message = `The model \`${model}\` does not exist.`;
    return isMessages
      ? anthropicError(404, 'not_found_error', message)
      : error(404, 'NotFoundError', message, 'model');
  }
  const prompt = body['messages'] ?? body['prompt'] ?? body['input'];
  if (prompt === undefined || prompt === null) return bad('There is no prompt.');
  const salt = typeof body['cache_salt'] === 'string' ? body['cache_salt'] : '';
  const promptString = promptText(
    [body['system'], body['instructions'], prompt].filter((part) => part !== undefined),
  );
  const bytes = Buffer.from(promptString, 'utf8');
  const promptTokens = Math.ceil(bytes.length / BYTES_PER_TOKEN) + TEMPLATE_TOKENS;

  const capacity = Math.min(profile.maxModelLen, (profile.kvBlocks - 1) * profile.blockTokens);
  const isEmbeddings = route === '/v1/embeddings';
  const asked = wholeNumber(body['max_completion_tokens'] ?? body['max_tokens'] ?? body['max_output_tokens']);
  if (asked !== undefined && (asked < 1 || asked > profile.maxModelLen)) {
    return bad(`max_tokens must be between 1 and ${profile.maxModelLen}, got ${asked}.`, 'max_tokens');
  }
  if (promptTokens + 1 > capacity) {
    return bad(
      `The maximum context length is ${capacity} tokens, the prompt has ${promptTokens}.`,
      'messages',
    );
  }
  const digest = createHash('sha256').update(bytes).digest();
  const natural =
    NATURAL_STOP.least + (digest.readUInt32BE(0) % (NATURAL_STOP.most - NATURAL_STOP.least + 1));
  const cap = Math.min(
    asked ?? (route === '/v1/completions' ? DEFAULT_COMPLETION_TOKENS : capacity),
    capacity - promptTokens,
  );
  const outputTokens = isEmbeddings ? 1 : body['ignore_eos'] === true ? cap : Math.min(cap, natural);

  const streamOptions = body['stream_options'] as Body | null | undefined;
  const choices = isEmbeddings ? 1 : Math.min(16, Math.max(1, wholeNumber(body['n']) ?? 1));
  return {
    kind: 'job',
    job: {
      route,
      model,
      stream: !isEmbeddings && ['true', 'yes', '1'].includes(String(body['stream'])),
      includeUsage: streamOptions?.['include_usage'] === true,
      continuousUsage: streamOptions?.['continuous_usage_stats'] === true,
      choices,
      promptTokens,
      prefixHashes: hashesOf(bytes, profile.blockTokens, salt),
      outputTokens,
      capped: outputTokens === cap,
      priority: wholeNumber(body['priority']) ?? 0,
      inputs: isEmbeddings && Array.isArray(prompt) ? prompt.length : 1,
    },
  };
}

/** A chain: the hash of a block covers everything before it, and the salt. */
function hashesOf(bytes: Uint8Array, blockTokens: number, salt: string): readonly string[] {
  const size = blockTokens * BYTES_PER_TOKEN;
  const hashes: string[] = [];
  let previous = salt;
  for (let at = 0; at + size <= bytes.length; at += size) {
    previous = createHash('md5')
      .update(previous)
      .update(bytes.subarray(at, at + size))
      .digest('base64');
    hashes.push(previous);
  }
  return hashes;
}

const openAiUsage = (job: Job, completionTokens: number, cachedTokens: number): object => ({
  prompt_tokens: job.promptTokens,
  total_tokens: job.promptTokens + completionTokens,
  completion_tokens: completionTokens,
  prompt_tokens_details: { cached_tokens: cachedTokens },
});
const responsesUsage = (job: Job, completionTokens: number, cachedTokens: number): object => ({
  input_tokens: job.promptTokens,
  input_tokens_details: { cached_tokens: cachedTokens },
  output_tokens: completionTokens,
  output_tokens_details: { reasoning_tokens: 0 },
  total_tokens: job.promptTokens + completionTokens,
});
/** Anthropic's input_tokens leave out what the cache had. */
const messagesUsage = (job: Job, completionTokens: number, cachedTokens: number): object => ({
  input_tokens: job.promptTokens - cachedTokens,
  cache_read_input_tokens: cachedTokens,
  output_tokens: completionTokens,
});
const finishOf = (job: Job): 'length' | 'stop' => (job.capped ? 'length' : 'stop');
const stopReasonOf = (job: Job): string => (job.capped ? 'max_tokens' : 'end_turn');

/** The whole answer of a request that does not stream. `reportUsage`: false for an engine that reports none. */
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

const responseObject = (
  id: string,
  job: Job,
  createdS: number,
  status: string,
  text: string,
  usage: object,
): object => ({
  id: `resp_${id}`,
  object: 'response',
  created_at: createdS,
  model: job.model,
  status,
  output:
    text === ''
      ? []
      : [
          {
            id: `msg_${id}`,
            type: 'message',
            role: 'assistant',
            status,
            content: [{ type: 'output_text', text, annotations: [] }],
          },
        ],
  ...usage,
});

/** Writes the events of a streamed answer. */
export interface StreamWriter {
  /** Before the first token. */
  start(cachedTokens: number): string;
  token(choice: number, index: number): string;
  choiceEnd(choice: number): string;
  end(cachedTokens: number): string;
}

export function streamWriter(id: string, job: Job, createdS: number, reportUsage: boolean): StreamWriter {
  const data = (value: object): string => `data: ${JSON.stringify(value)}\n\n`;
  const named = (value: { readonly type: string; readonly [field: string]: unknown }): string =>
    `event: ${value.type}\n${data(value)}`;
  const total = job.outputTokens * job.choices;

  if (job.route === '/v1/messages') {
    return {
      start: (cachedTokens) =>
        named({
          type: 'message_start',
          message: {
            id: `msg_${id}`,
            type: 'message',
            role: 'assistant',
            content: [],
            model: job.model,
            ...(reportUsage && { usage: messagesUsage(job, 0, cachedTokens) }),
          },
        }) + named({ type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } }),
      token: (_, index) =>
        named({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: wordOf(index) } }),
      choiceEnd: () => '',
      end: (cachedTokens) =>
        named({ type: 'content_block_stop', index: 0 }) +
        named({
          type: 'message_delta',
          delta: { stop_reason: stopReasonOf(job) },
          ...(reportUsage && { usage: messagesUsage(job, total, cachedTokens) }),
        }) +
        named({ type: 'message_stop' }),
    };
  }
  if (job.route === '/v1/responses') {
    return {
      start: () =>
        named({
          type: 'response.created',
          response: responseObject(id, job, createdS, 'in_progress', '', {}),
        }),
      token: (_, index) =>
        named({
          type: 'response.output_text.delta',
          item_id: `msg_${id}`,
          output_index: 0,
          content_index: 0,
          delta: wordOf(index),
        }),
      choiceEnd: () => '',
      end: (cachedTokens) =>
        named({
          type: 'response.completed',
          response: responseObject(
            id,
            job,
            createdS,
            'completed',
            textOf(job.outputTokens),
            reportUsage ? { usage: responsesUsage(job, total, cachedTokens) } : {},
          ),
        }),
    };
  }
  const chat = job.route === '/v1/chat/completions';
  const chunk = (choices: readonly object[], extra: object = {}): string =>
    data({
      id: `${chat ? 'chatcmpl' : 'cmpl'}-${id}`,
      object: chat ? 'chat.completion.chunk' : 'text_completion',
      created: createdS,
      model: job.model,
      choices,
      ...extra,
    });
  const choice = (index: number, delta: object, text: string, finish: string | null): object => ({
    index,
    ...(chat ? { delta } : { text }),
    logprobs: null,
    finish_reason: finish,
  });
  const continuous = (tokens: number): object =>
    job.continuousUsage && reportUsage ? { usage: openAiUsage(job, tokens, 0) } : {};
  return {
    start: () =>
      chat
        ? Array.from({ length: job.choices }, (_, index) =>
            chunk([choice(index, { role: 'assistant', content: '' }, '', null)], continuous(0)),
          ).join('')
        : '',
    token: (index, token) =>
      chunk([choice(index, { content: wordOf(token) }, wordOf(token), null)], continuous(token + 1)),
    choiceEnd: (index) => chunk([choice(index, {}, '', finishOf(job))], continuous(job.outputTokens)),
    end: (cachedTokens) =>
      `${reportUsage && job.includeUsage ? chunk([], { usage: openAiUsage(job, total, cachedTokens) }) : ''}data: [DONE]\n\n`,
  };
}
