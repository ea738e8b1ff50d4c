/**
 * Responses that the simulated engine stores, and the routes that ask for them: in memory and until it ends, as vLLM does with
 * VLLM_ENABLE_RESPONSES_API_STORE. Deleting and listing the input are OpenAI's; vLLM has neither.
 */
import { responseObject, responsesUsage, textOf } from './openai-answers.ts';
import type { Job } from './openai-requests.ts';

/** vLLM forgets none; a simulator may run for long. */
const MOST_STORED = 10_000;

interface Stored {
  readonly response: object;
  /** Items of the request, without what was said before. */
  readonly said: readonly unknown[];
}

export interface StoredAnswer {
  readonly status: number;
  readonly body: string;
}

const PATH = /^\/v1\/responses\/([^/]+)(\/cancel|\/input_items)?$/;

const notFound = (id: string): StoredAnswer => ({
  status: 404,
  body: JSON.stringify({
    error: {
      message: `Response with id '${id}' not found.`,
      type: 'invalid_request_error',
      param: 'response_id',
      code: 404,
    },
  }),
});

export class StoredResponses {
  readonly #stored = new Map<string, Stored>();

  /** All that was said up to and with a response; undefined: it is not known. */
  conversation(id: string): readonly unknown[] | undefined {
    const stored = this.#stored.get(id);
    if (stored === undefined) return undefined;
    const { output } = stored.response as { readonly output: readonly unknown[] };
    return [...stored.said, ...output];
  }

  /** An answer has come to its end. */
  keep(id: string, job: Job, createdS: number, cachedTokens: number): void {
    const { responseId, said, outputTokens, choices } = job;
    if (responseId === undefined || said === undefined) return;
    const tokens = outputTokens * choices;
    const usage = { usage: responsesUsage(job, tokens, cachedTokens) };
    const response = responseObject(id, job, createdS, 'completed', textOf(outputTokens), usage);
    this.#stored.set(responseId, { response, said });
    const [oldest = ''] = this.#stored.keys();
    if (this.#stored.size > MOST_STORED) this.#stored.delete(oldest);
  }

  /** Undefined: there is no such route. */
  answer(method: string, path: string): StoredAnswer | undefined {
    const [, id = '', tail = ''] = PATH.exec(path) ?? [];
    const what = `${method} ${tail}`;
    if (id === '' || !['GET ', 'DELETE ', 'POST /cancel', 'GET /input_items'].includes(what))
      return undefined;
    const stored = this.#stored.get(id);
    if (stored === undefined) return notFound(id);
    switch (what) {
      case 'DELETE ':
        this.#stored.delete(id);
        return { status: 200, body: JSON.stringify({ id, object: 'response', deleted: true }) };
      case 'POST /cancel':
        return {
          status: 400,
          body: JSON.stringify({
            error: {
              message: 'Cannot cancel a synchronous response.',
              type: 'invalid_request_error',
              param: 'response_id',
              code: 400,
            },
          }),
        };
      case 'GET /input_items':
        return {
          status: 200,
          body: JSON.stringify({
            object: 'list',
            data: stored.said,
            has_more: false,
            first_id: null,
            last_id: null,
          }),
        };
      default:
        return { status: 200, body: JSON.stringify(stored.response) };
    }
  }
}
