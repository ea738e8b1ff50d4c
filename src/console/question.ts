/** What `POST /explain` is asked: a small request like one that has ended. Pure. */
import type { RequestLine } from '../admin/console-feed.ts';

const TEXT = 'Hello';
const MESSAGES = [{ role: 'user', content: TEXT }];

/** Routes whose requests are text alone, by name: where they go, and the least that they have. */
const ASKED: ReadonlyMap<string, { readonly path: string; readonly body: object }> = new Map([
  ['chat.completions', { path: '/v1/chat/completions', body: { messages: MESSAGES } }],
  ['completions', { path: '/v1/completions', body: { prompt: TEXT } }],
  ['embeddings', { path: '/v1/embeddings', body: { input: TEXT } }],
  ['responses', { path: '/v1/responses', body: { input: TEXT, store: false } }],
  ['messages', { path: '/v1/messages', body: { max_tokens: 16, messages: MESSAGES } }],
]);

/** @returns undefined: a request like it cannot be made up. */
export function questionOf({ tenant, model, route, stream }: RequestLine): object | undefined {
  const asked = ASKED.get(route);
  if (asked === undefined || model === undefined) return undefined;
  const body = JSON.stringify({ model, ...asked.body, ...(stream && { stream }) });
  return { tenant, method: 'POST', path: asked.path, headers: {}, body };
}
