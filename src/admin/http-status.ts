/** `GET /status`: read by commands, a console and whoever else may read the metrics. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { readerRefusalOf } from './command-source.ts';
import { type StatusQuery, statusQueryOf } from './status.ts';

/** Gives the document, as JSON. */
export type StatusText = (query: StatusQuery) => string;

/** @param host what the server listens on. */
export function answerStatus(
  status: StatusText,
  host: string,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const answer = (code: number, text: string): void => {
    response
      .writeHead(code, { 'content-type': 'application/json', 'cache-control': 'no-store' })
      .end(`${text}\n`);
  };
  const refusal = readerRefusalOf(request.headers, host);
  if (refusal !== undefined) return answer(403, JSON.stringify({ error: refusal }));
  const [, search = ''] = (request.url ?? '').split('?', 2);
  const read = statusQueryOf(search);
  if (read.kind === 'bad') return answer(400, JSON.stringify({ error: read.problem }));
  let text: string;
  try {
    text = status(read.query);
  } catch (error) {
    // A bug costs the question, not the process.
    return answer(500, JSON.stringify({ error: `no status; please report this: ${String(error)}` }));
  }
  answer(200, text);
}
