/** `GET /status`: read by commands, a console and whoever else may read the metrics. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { readerRefusalOf } from './command-source.ts';
import type { LargeAnswers } from './http-large-answers.ts';
import { type StatusQuery, statusQueryOf } from './status.ts';

/** Gives the document, as JSON; undefined: too many other questions have been asked at this moment. */
export type StatusText = (query: StatusQuery) => string | undefined;

interface Asked {
  readonly status: StatusText;
  /** What the server listens on. */
  readonly host: string;
  readonly answers: LargeAnswers;
}

const HEADERS = { 'content-type': 'application/json', 'cache-control': 'no-store' };

export function answerStatus(
  { status, host, answers }: Asked,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const answer = (code: number, text: string, headers = {}): void => {
    response.writeHead(code, { ...HEADERS, ...headers }).end(`${text}\n`);
  };
  const refusal = readerRefusalOf(request.headers, host);
  if (refusal !== undefined) return answer(403, JSON.stringify({ error: refusal }));
  const [, search = ''] = (request.url ?? '').split('?', 2);
  const read = statusQueryOf(search);
  if (read.kind === 'bad') return answer(400, JSON.stringify({ error: read.problem }));
  let text: string | undefined;
  try {
    text = status(read.query);
  } catch (error) {
    // A bug costs the question, not the process.
    return answer(500, JSON.stringify({ error: `no status; please report this: ${String(error)}` }));
  }
  if (text !== undefined) answers.send(response, HEADERS, text);
  else answer(503, JSON.stringify({ error: 'too many questions at once' }), { 'retry-after': '1' });
}
