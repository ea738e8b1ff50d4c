/** An event as a receiver gets it: Standard Webhooks 1.0.0 (standardwebhooks.com), with symmetric signatures. */
import { createHmac } from 'node:crypto';
import { WEBHOOK_EVENTS, WEBHOOK_TOPICS, type WebhookTopic } from '../config/webhooks.ts';
import { harmlessJson } from '../domain/harmless.ts';
import type { ServiceEvent } from './telemetry.ts';
import type { WebhookEvent } from './webhook-queue.ts';

const TOPICS: ReadonlyMap<string, WebhookTopic> = new Map(
  WEBHOOK_TOPICS.flatMap((topic) => WEBHOOK_EVENTS[topic].map((kind) => [kind, topic] as const)),
);

/** What an event is about; undefined: nobody is told of it. */
export const topicOf = ({ kind }: ServiceEvent): WebhookTopic | undefined => TOPICS.get(kind);

/** @param id of the event, where it has none of its own. @param unixMs when it happened. */
export function messageOf(event: ServiceEvent, id: string, unixMs: number): WebhookEvent {
  const { kind, ...fields } = event;
  const { id: own = id, ...data } = fields as { readonly id?: string };
  const type = `${topicOf(event) ?? 'fairlane'}.${kind}`;
  const body = { type, timestamp: new Date(unixMs).toISOString(), id: own, data };
  return { id: own, body: harmlessJson(JSON.stringify(body)) };
}

/**
 * Headers of a try.
 *
 * @param secret the key, in base64.
 * @param unixMs of the try: receivers refuse old ones.
 */
export function headersOf(
  { id, body }: WebhookEvent,
  secret: string,
  unixMs: number,
): Readonly<Record<string, string>> {
  const timestamp = String(Math.floor(unixMs / 1_000));
  const signed = createHmac('sha256', Buffer.from(secret, 'base64')).update(`${id}.${timestamp}.${body}`);
  return {
    'content-type': 'application/json',
    'webhook-id': id,
    'webhook-timestamp': timestamp,
    'webhook-signature': `v1,${signed.digest('base64')}`,
  };
}
