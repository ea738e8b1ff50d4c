/** Streamed answers of the simulated engine: the events of each API, in vLLM's shapes. */
import {
  finishOf,
  messageItem,
  messagesUsage,
  openAiUsage,
  responseObject,
  responsesUsage,
  stopReasonOf,
  textOf,
  wordOf,
} from './openai-answers.ts';
import type { Job } from './openai-requests.ts';

/** Writes the events of a streamed answer. */
export interface StreamWriter {
  /** Before the first token. */
  start(cachedTokens: number): string;
  token(choice: number, index: number): string;
  choiceEnd(choice: number): string;
  end(cachedTokens: number): string;
}

interface Answer {
  readonly id: string;
  readonly job: Job;
  readonly createdS: number;
  /** False for an engine that reports none. */
  readonly reportUsage: boolean;
}

/** @param reportUsage false for an engine that reports none. */
export function streamWriter(id: string, job: Job, createdS: number, reportUsage: boolean): StreamWriter {
  const answer: Answer = { id, job, createdS, reportUsage };
  if (job.route === '/v1/messages') return messagesWriter(answer);
  if (job.route === '/v1/responses') return responsesWriter(answer);
  return completionsWriter(answer);
}

const dataEvent = (value: object): string => `data: ${JSON.stringify(value)}\n\n`;
const namedEvent = (value: { readonly type: string; readonly [field: string]: unknown }): string =>
  `event: ${value.type}\n${dataEvent(value)}`;
const allTokens = ({ outputTokens, choices }: Job): number => outputTokens * choices;

function messagesWriter({ id, job, reportUsage }: Answer): StreamWriter {
  return {
    start: (cachedTokens) =>
      namedEvent({
        type: 'message_start',
        message: {
          id: `msg_${id}`,
          type: 'message',
          role: 'assistant',
          content: [],
          model: job.model,
          ...(reportUsage && { usage: messagesUsage(job, 0, cachedTokens) }),
        },
      }) + namedEvent({ type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } }),
    token: (_, index) =>
      namedEvent({
        type: 'content_block_delta',
        index: 0,
        delta: { type: 'text_delta', text: wordOf(index) },
      }),
    choiceEnd: () => '',
    end: (cachedTokens) =>
      namedEvent({ type: 'content_block_stop', index: 0 }) +
      namedEvent({
        type: 'message_delta',
        delta: { stop_reason: stopReasonOf(job) },
        ...(reportUsage && { usage: messagesUsage(job, allTokens(job), cachedTokens) }),
      }) +
      namedEvent({ type: 'message_stop' }),
  };
}

function responsesWriter({ id, job, createdS, reportUsage }: Answer): StreamWriter {
  const at = { item_id: `msg_${id}`, output_index: 0, content_index: 0 };
  const part = (text: string): object => ({ type: 'output_text', text, annotations: [] });
  return {
    start: () => {
      const response = responseObject(id, job, createdS, 'in_progress', '', {});
      const item = messageItem(id, 'in_progress', []);
      return [
        { type: 'response.created', response },
        { type: 'response.in_progress', response },
        { type: 'response.output_item.added', output_index: 0, item },
        { type: 'response.content_part.added', ...at, part: part('') },
      ]
        .map(namedEvent)
        .join('');
    },
    token: (_, index) => namedEvent({ type: 'response.output_text.delta', ...at, delta: wordOf(index) }),
    choiceEnd: () => '',
    end: (cachedTokens) => {
      const usage = reportUsage ? { usage: responsesUsage(job, allTokens(job), cachedTokens) } : {};
      const text = textOf(job.outputTokens);
      const item = messageItem(id, 'completed', [part(text)]);
      const response = responseObject(id, job, createdS, 'completed', text, usage);
      return [
        { type: 'response.output_text.done', ...at, text },
        { type: 'response.content_part.done', ...at, part: part(text) },
        { type: 'response.output_item.done', output_index: 0, item },
        { type: 'response.completed', response },
      ]
        .map(namedEvent)
        .join('');
    },
  };
}

/** Of chat and of legacy completions. */
function completionsWriter({ id, job, createdS, reportUsage }: Answer): StreamWriter {
  const chat = job.route === '/v1/chat/completions';
  const chunk = (choices: readonly object[], extra: object = {}): string =>
    dataEvent({
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
      `${reportUsage && job.includeUsage ? chunk([], { usage: openAiUsage(job, allTokens(job), cachedTokens) }) : ''}data: [DONE]\n\n`,
  };
}
