/** One POST on a connection of its own, bounded in time. Redirects are not followed. */
import dns, { type LookupAddress } from 'node:dns';
import { type IncomingMessage, type OutgoingHttpHeaders, request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import type { LookupFunction } from 'node:net';

export interface Post<Result> {
  readonly headers: OutgoingHttpHeaders;
  readonly body: string | Uint8Array;
  /** For all of it: the name's address, the connection, the answer. */
  readonly timeoutMs: number;
  /** Ends it before. */
  readonly signal: AbortSignal;
  /** Reads what it wants of an answer, and says what came of it: the first that is said counts. */
  readonly answered: (response: IncomingMessage, done: (result: Result) => void) => void;
  /** What it is that no answer came. */
  readonly unanswered: (why: 'aborted' | 'late' | Error) => Result;
}

type Found = (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void;

/** Who waits for a name's addresses. */
const waiting = new Map<string, Set<Found>>();

/**
 * One look-up of a name at a time: it holds one of the process's few threads until it ends, also after whoever asked has given up.
 * A name server that does not answer would have them all, and files could not be read or written.
 */
const lookUp: LookupFunction = (host, { all }, callback) => {
  const found: Found = (error, addresses) => {
    const [{ address, family } = { address: '', family: 0 }] = addresses;
    if (all === true) callback(error, addresses);
    else callback(error, address, family);
  };
  const known = waiting.get(host);
  if (known !== undefined) {
    known.add(found);
    return;
  }
  const asking = new Set([found]);
  waiting.set(host, asking);
  dns.lookup(host, { all: true }, (error, addresses) => {
    waiting.delete(host);
    for (const one of asking) one(error, error === null ? addresses : []);
  });
};

/** What is told of an answer that does not take what was sent. */
export const answeredText = (status: number): string =>
  status >= 300 && status < 400 ? `answered ${status}: redirects are not followed` : `answered ${status}`;

/** What is told of an error: its code alone, as messages may quote the URL or what was sent. */
export function codeOf(error: Error): string {
  const { code } = error as NodeJS.ErrnoException;
  return typeof code === 'string' ? code : 'failed';
}

/** Rejects only where no request can be made of it, as with a header that HTTP does not take. */
export function post<Result>(
  url: string,
  { headers, body, timeoutMs, signal, answered, unanswered }: Post<Result>,
): Promise<Result> {
  return new Promise((resolve) => {
    const target = new URL(url);
    const send = target.protocol === 'https:' ? requestHttps : requestHttp;
    const request = send(target, {
      method: 'POST',
      agent: false,
      lookup: lookUp,
      headers: { ...headers, 'content-length': Buffer.byteLength(body), connection: 'close' },
    });
    // The first call counts.
    const done = (result: Result): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', aborted);
      resolve(result);
      request.destroy();
    };
    const aborted = (): void => done(unanswered('aborted'));
    const timer = setTimeout(() => done(unanswered('late')), timeoutMs);
    signal.addEventListener('abort', aborted);
    request.on('response', (response) => answered(response, done));
    // Also after the end: what is destroyed may say so.
    request.on('error', (error) => done(unanswered(error)));
    if (signal.aborted) aborted();
    else request.end(body);
  });
}
