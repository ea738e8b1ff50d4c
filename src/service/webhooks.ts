/** Tells receivers of events. One that hangs, fails or is away costs nobody else anything: each has its own queue. */
import { randomUUID } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import type { Config, WebhookConfig } from '../config/config.ts';
import { sendWebhook } from '../telemetry/http-webhook.ts';
import type { WebhookOutcome } from '../telemetry/prom-budget-metrics.ts';
import type { ServiceEvent } from '../telemetry/telemetry.ts';
import { messageOf, topicOf } from '../telemetry/webhook-message.ts';
import { type Delivery, WebhookQueue } from '../telemetry/webhook-queue.ts';

type Dropped = Extract<ServiceEvent, { kind: 'webhook-dropped' }>;

export interface WebhooksOptions {
  /** Monotonic milliseconds. */
  readonly now: () => number;
  readonly unixMs: () => number;
  readonly tell: (event: ServiceEvent) => void;
  readonly count: (host: string, outcome: WebhookOutcome, events: number) => void;
  /** Of a try. Default: 10 s. */
  readonly timeoutMs?: number;
  /** That the end gives to what still waits. Default: 2 s. */
  readonly lastMs?: number;
}

const TIMEOUT_MS = 10_000;
const LAST_MS = 2_000;
const LONGEST_TIMER_MS = 3_600_000;

/** A receiver, with what waits for it. */
class Receiver {
  config: WebhookConfig;
  readonly queue = new WebhookQueue(Math.random);
  readonly #options: WebhooksOptions;
  readonly #end = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #sending: Promise<void> | undefined;
  #isFailing = false;
  /** It has said that it wants no more. */
  #isGone = false;
  /** It tries nothing any more. */
  #closedFor: 'removed' | 'shutdown' | undefined;
  /** Events were dropped for want of room since one arrived: that is told once. */
  #isFull = false;

  constructor(config: WebhookConfig, options: WebhooksOptions) {
    this.config = config;
    this.#options = options;
  }

  add(event: ServiceEvent): void {
    if (this.#isGone || this.#closedFor !== undefined) return;
    const { now, unixMs } = this.#options;
    const dropped = this.queue.add(messageOf(event, `evt_${randomUUID()}`, unixMs()), now());
    if (dropped > 0) {
      this.#dropped(dropped, 'full', !this.#isFull);
      this.#isFull = true;
    }
    this.#pump();
  }

  /** Drops what waits. */
  remove(): void {
    this.#closedFor = 'removed';
    clearTimeout(this.#timer);
    this.#end.abort();
    this.#dropped(this.queue.clear(), 'removed');
  }

  /** Tries once more what waits, for so long. */
  async close(lastMs: number): Promise<void> {
    const { now } = this.#options;
    const timer = setTimeout(() => this.#end.abort(), lastMs);
    this.queue.hurry(now());
    clearTimeout(this.#timer);
    this.#pump();
    while (this.#sending !== undefined && !this.#end.signal.aborted) await this.#sending;
    clearTimeout(timer);
    clearTimeout(this.#timer);
    this.#closedFor = 'shutdown';
    this.#end.abort();
    await this.#sending;
    this.#dropped(this.queue.clear(), 'shutdown');
  }

  /** Sends what is due, or comes back when something is. */
  #pump(): void {
    if (this.#sending !== undefined || this.#closedFor !== undefined || this.#end.signal.aborted) return;
    clearTimeout(this.#timer);
    const { now, unixMs, timeoutMs = TIMEOUT_MS } = this.#options;
    const event = this.queue.next(now());
    if (event !== undefined) {
      const tried = { unixMs: unixMs(), timeoutMs, signal: this.#end.signal };
      this.#sending = sendWebhook(this.config, event, tried).then((delivery) => this.#ended(delivery));
      return;
    }
    const dueMs = this.queue.dueMs();
    if (dueMs === undefined) return;
    this.#timer = setTimeout(() => this.#pump(), Math.min(LONGEST_TIMER_MS, Math.max(1, dueMs - now())));
    this.#timer.unref();
  }

  #ended(delivery: Delivery): void {
    const { now, count } = this.#options;
    const { host } = this.config;
    this.#sending = undefined;
    const dropped = this.queue.ended(delivery, now());
    if (delivery.kind === 'gone') this.#isGone = true;
    else count(host, delivery.kind, 1);
    if (delivery.kind === 'delivered') {
      this.#isFull = false;
      this.#turned(false, 'takes events again');
    } else if (delivery.kind === 'failed') this.#turned(true, delivery.problem);
    this.#dropped(dropped, delivery.kind === 'gone' ? 'gone' : 'too-old');
    if (this.#closedFor === undefined) this.#pump();
    else this.#dropped(this.queue.clear(), this.#closedFor);
  }

  /** Tells of what is new. */
  #turned(failing: boolean, detail: string): void {
    if (failing === this.#isFailing) return;
    this.#isFailing = failing;
    this.#options.tell({ kind: 'webhook', host: this.config.host, failing, detail });
  }

  #dropped(events: number, reason: Dropped['reason'], isNews = true): void {
    if (events === 0) return;
    const { host } = this.config;
    this.#options.count(host, 'dropped', events);
    if (isNews) this.#options.tell({ kind: 'webhook-dropped', host, events, reason });
  }
}

export class Webhooks {
  readonly #options: WebhooksOptions;
  #receivers: readonly Receiver[] = [];

  constructor(config: Pick<Config, 'webhooks'>, options: WebhooksOptions) {
    this.#options = options;
    this.reconfigure(config);
  }

  /** A receiver that stays, by its URL, keeps what waits for it. */
  reconfigure({ webhooks = [] }: Pick<Config, 'webhooks'>): void {
    const before = [...this.#receivers];
    this.#receivers = webhooks.map((config) => {
      const same = before.findIndex((one) => one.config.url === config.url);
      const [known] = same < 0 ? [] : before.splice(same, 1);
      if (known === undefined) return new Receiver(config, this.#options);
      if (!isDeepStrictEqual(known.config, config)) known.config = config;
      return known;
    });
    for (const one of before) one.remove();
  }

  event(event: ServiceEvent): void {
    if (this.#receivers.length === 0) return;
    const topic = topicOf(event);
    if (topic === undefined) return;
    for (const one of this.#receivers) if (one.config.events.has(topic)) one.add(event);
  }

  *queued(): Iterable<{ readonly host: string; readonly queued: number }> {
    for (const { config, queue } of this.#receivers) yield { host: config.host, queued: queue.size };
  }

  /** Gives a moment to what still waits. */
  async close(): Promise<void> {
    const { lastMs = LAST_MS } = this.#options;
    await Promise.all(this.#receivers.map((one) => one.close(lastMs)));
  }
}
