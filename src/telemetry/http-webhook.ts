/** One try to tell a receiver of an event. Redirects are not followed, and nothing of the answer is read but its status. */
import { answeredText, codeOf, post } from './http-post.ts';
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
    problem: answeredText(status),
    isRejected,
    ...(asked !== undefined && { retryAfterMs: asked * 1_000 }),
  };
}

const failed = (problem: string): Delivery => ({ kind: 'failed', problem, isRejected: false });

/** Never rejects. */
export function sendWebhook(
  { url, secret }: WebhookTarget,
  event: WebhookEvent,
  { unixMs, timeoutMs, signal }: WebhookTry,
): Promise<Delivery> {
  return post<Delivery>(url, {
    headers: { ...headersOf(event, secret, unixMs), 'user-agent': 'fairlane-webhooks' },
    body: event.body,
    timeoutMs,
    signal,
    answered: ({ statusCode = 0, headers }, done) => done(deliveryOf(statusCode, headers['retry-after'])),
    unanswered: (why) =>
      failed(
        why === 'aborted'
          ? 'no answer in time'
          : why === 'late'
            ? `no answer within ${timeoutMs / 1_000} s`
            : codeOf(why),
      ),
  });
}
