/** One try to tell a receiver of an event. Redirects are not followed, and nothing of the answer is read but its status. */
import { request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { headersOf } from './webhook-message.ts';
import type { Delivery, WebhookEvent } from './webhook-queue.ts';

export interface WebhookTarget {
  readonly url: string;
  /** The key of its signatures, in base64. */
  readonly secret: string;
}

export interface WebhookTry {
  readonly unixMs: number;
  /** For all of it: the name's address, the connection, the answer's head. */
  readonly timeoutMs: number;
  /** Ends it before. */
  readonly signal: AbortSignal;
}

const GONE = 410;
const TIMEOUTS = [408, 425, 429];
/** The longest that a receiver may ask for, in seconds, is one of four digits. */
const SECONDS = /^\d{1,4}$/;

/** Of the status alone: what a receiver says may be anything. */
function deliveryOf(status: number, retryAfter: string | undefined): Delivery {
  if (status >= 200 && status < 300) return { kind: 'delivered' };
  if (status === GONE) return { kind: 'gone' };
  const isRejected = status >= 400 && status < 500 && !TIMEOUTS.includes(status);
  const asked = retryAfter !== undefined && SECONDS.test(retryAfter) ? Number(retryAfter) : undefined;
  return {
    kind: 'failed',
    problem:
      status >= 300 && status < 400 ? `answered ${status}: redirects are not followed` : `answered ${status}`,
    isRejected,
    ...(asked !== undefined && { retryAfterMs: asked * 1_000 }),
  };
}

const failed = (problem: string): Delivery => ({ kind: 'failed', problem, isRejected: false });

/** Codes alone: messages may quote the URL. */
function problemOf(error: unknown): string {
  const { code } = error as NodeJS.ErrnoException;
  return typeof code === 'string' ? code : 'failed';
}

/** Never rejects. */
export function sendWebhook(
  { url, secret }: WebhookTarget,
  event: WebhookEvent,
  { unixMs, timeoutMs, signal }: WebhookTry,
): Promise<Delivery> {
  return new Promise((resolve) => {
    const target = new URL(url);
    const send = target.protocol === 'https:' ? requestHttps : requestHttp;
    const request = send(target, {
      method: 'POST',
      agent: false,
      headers: {
        ...headersOf(event, secret, unixMs),
        'content-length': Buffer.byteLength(event.body),
        'user-agent': 'fairlane-webhooks',
        connection: 'close',
      },
    });
    // The first call counts.
    const done = (delivery: Delivery): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', aborted);
      resolve(delivery);
      request.destroy();
    };
    const aborted = (): void => done(failed('no answer in time'));
    const timer = setTimeout(() => done(failed(`no answer within ${timeoutMs / 1_000} s`)), timeoutMs);
    signal.addEventListener('abort', aborted);
    request.on('response', ({ statusCode = 0, headers }) =>
      done(deliveryOf(statusCode, headers['retry-after'])),
    );
    // Also after the end: what is destroyed may say so.
    request.on('error', (error) => done(failed(problemOf(error))));
    if (signal.aborted) aborted();
    else request.end(event.body);
  });
}
