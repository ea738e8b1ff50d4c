/** One arm over HTTP: its requests in their time, what became of them, and the end of the last answer. */
import { Agent, type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { performance } from 'node:perf_hooks';
import type { EndpointConfig } from '../config/config.ts';
import { createStreamMeter } from '../openai/stream-meter.ts';
import { type HttpArmName, targetOf } from './arms.ts';
import { gaugesOf, reasonOf } from './http-target.ts';
import type { Request, TenantLoad } from './load.ts';
import { lateness, type Measured, saturationOf } from './measured.ts';
import { createQuantiles, type Quantiles, type RequestOutcome } from './outcome.ts';
import { promptOf } from './prompt.ts';
import { RequestBucket } from './request-bucket.ts';

const SCRAPE_MS = 1_000;
const PROGRESS_MS = 2_000;
/** A request whose answer stands still for so long has failed. */
const SILENCE_MS = 300_000;
const MOST_REASONS = 3;

export interface Progress {
  readonly arm: string;
  readonly atMs: number;
  readonly sent: number;
  readonly inFlight: number;
  readonly completed: number;
  readonly refused: number;
  readonly failed: number;
}

/** Is told of each request, by its tenant. */
interface RequestObserver {
  readonly sent: (tenant: string) => void;
  /** @param ttftMs since the request's planned time. */
  readonly firstToken: (tenant: string, ttftMs: number) => void;
  /** @param reason why it failed. */
  readonly settled: (tenant: string, outcome: RequestOutcome['outcome'], reason?: string) => void;
}

export interface HttpArmOptions {
  readonly arm: HttpArmName;
  readonly endpoint: EndpointConfig;
  readonly requests: readonly Request[];
  /** One bucket in the client for all that are not quiet. */
  readonly bucketPerSecond?: number;
  /** With their keys. */
  readonly tenants: readonly TenantLoad[];
  readonly durationMs: number;
  readonly ignoreEos: boolean;
  readonly model: string;
  /** Different in every run. */
  readonly run: string;
  readonly signal: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
  readonly observer?: RequestObserver;
}

export interface HttpMeasured extends Measured {
  readonly interrupted: boolean;
}

type StreamMeter = ReturnType<typeof createStreamMeter>;

/** A request that was sent and has not ended. */
class InFlight {
  readonly request: Request;
  readonly tenant: TenantLoad;
  outgoing: ClientRequest | undefined;
  firstTokenMs: number | undefined;
  lastTokenMs = 0;
  /** Events with content, and those of them within the arrivals' time. */
  events = 0;
  eventsInTime = 0;

  constructor(request: Request, tenant: TenantLoad) {
    this.request = request;
    this.tenant = tenant;
  }
}

export class HttpArm {
  readonly #options: HttpArmOptions;
  readonly #tenants: ReadonlyMap<string, TenantLoad>;
  readonly #bucket: RequestBucket | undefined;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY });

  // Sending.
  #startedMs = 0;
  #next = 0;
  /** Built before its time, so that a long prompt makes no request late. */
  #ready: Buffer | undefined;
  #sendTimer: NodeJS.Timeout | undefined;
  readonly #inFlight = new Set<InFlight>();
  /** When the arm was ended early. */
  #cutMs: number | undefined;
  #end: () => void = () => undefined;

  // What was measured.
  readonly #outcomes: RequestOutcome[] = [];
  readonly #itl: ReadonlyMap<string, Quantiles>;
  readonly #lateMs: number[] = [];
  /** Requests that waited in the engine, by its scrapes. */
  readonly #waiting: number[] = [];
  readonly #reasons = new Map<string, number>();
  readonly #counts = { completed: 0, refused: 0, failed: 0 };
  #usefulTokens = 0;

  constructor(options: HttpArmOptions) {
    this.#options = options;
    this.#tenants = new Map(options.tenants.map((tenant) => [tenant.name, tenant]));
    this.#itl = new Map(options.tenants.map(({ name }) => [name, createQuantiles()]));
    const { bucketPerSecond } = options;
    this.#bucket = bucketPerSecond === undefined ? undefined : new RequestBucket(bucketPerSecond);
  }

  /** Sends the requests and waits for the last answer, or for the signal. To be called once. */
  async run(): Promise<HttpMeasured> {
    const { arm, signal, onProgress } = this.#options;
    const ended = new Promise<void>((resolve) => {
      this.#end = resolve;
    });
    this.#startedMs = performance.now();
    // In front of the engine Fairlane keeps the engine's own queue short, so that one says nothing there.
    const scrapes =
      targetOf(arm) === 'fairlane' ? undefined : setInterval(() => void this.#scrape(), SCRAPE_MS);
    const progress = setInterval(() => onProgress?.(this.#progress()), PROGRESS_MS);
    const cut = (): void => {
      this.#cutMs = this.#now();
      this.#end();
    };
    signal.addEventListener('abort', cut);
    if (signal.aborted) cut();
    else this.#sendDue();
    if (this.#isOver()) this.#end();
    await ended;
    signal.removeEventListener('abort', cut);
    clearTimeout(this.#sendTimer);
    clearInterval(scrapes);
    clearInterval(progress);
    const left = this.#dropInFlight();
    this.#agent.destroy();
    return this.#measured(left);
  }

  #now(): number {
    return performance.now() - this.#startedMs;
  }

  #isOver(): boolean {
    return this.#next >= this.#options.requests.length && this.#inFlight.size === 0;
  }

  #progress(): Progress {
    return {
      arm: this.#options.arm,
      atMs: this.#now(),
      sent: this.#next,
      inFlight: this.#inFlight.size,
      ...this.#counts,
    };
  }

  async #scrape(): Promise<void> {
    if (this.#now() > this.#options.durationMs) return;
    const gauges = await gaugesOf(this.#options.endpoint);
    if (gauges !== undefined) this.#waiting.push(gauges.waiting);
  }

  #sendDue(): void {
    const { requests } = this.#options;
    for (
      let request = requests[this.#next];
      request !== undefined && request.atMs <= this.#now();
      request = requests[this.#next]
    ) {
      const tenant = this.#tenants.get(request.tenant);
      if (tenant === undefined) throw new Error(`a request of ${request.tenant}, which is no tenant`);
      const one = new InFlight(request, tenant);
      const body = this.#ready ?? this.#bodyOf(request, tenant, this.#next);
      this.#ready = undefined;
      this.#next += 1;
      this.#inFlight.add(one);
      this.#options.observer?.sent(tenant.name);
      if (!tenant.quiet && this.#bucket?.passes(request.atMs) === false) {
        this.#settle(one, { outcome: 'refused' });
        continue;
      }
      this.#send(one, body, false);
      this.#lateMs.push(this.#now() - request.atMs);
    }
    const upcoming = requests[this.#next];
    if (upcoming === undefined) return;
    const tenant = this.#tenants.get(upcoming.tenant);
    if (tenant !== undefined) this.#ready ??= this.#bodyOf(upcoming, tenant, this.#next);
    this.#sendTimer = setTimeout(() => this.#sendDue(), Math.max(0, upcoming.atMs - this.#now()));
  }

  #bodyOf(request: Request, tenant: TenantLoad, at: number): Buffer {
    const { arm, run, model, ignoreEos } = this.#options;
    return Buffer.from(
      JSON.stringify({
        model,
        messages: [{ role: 'user', content: promptOf(request, tenant, `${run}/${arm}`, at) }],
        stream: true,
        stream_options: { include_usage: true },
        max_tokens: request.outputTokens,
        ...(ignoreEos && { ignore_eos: true, min_tokens: request.outputTokens }),
      }),
    );
  }

  #send(one: InFlight, body: Buffer, again: boolean): void {
    const { endpoint } = this.#options;
    const { key } = one.tenant;
    const outgoing = httpRequest(
      {
        host: endpoint.host,
        port: endpoint.port,
        path: '/v1/chat/completions',
        method: 'POST',
        agent: this.#agent,
        headers: {
          ...(key !== undefined && { authorization: `Bearer ${key}` }),
          'content-type': 'application/json',
          'content-length': body.length,
        },
      },
      (incoming) => this.#onAnswer(one, incoming),
    );
    one.outgoing = outgoing;
    outgoing.setTimeout(SILENCE_MS, () => {
      this.#fail(one, 'no answer in time');
      outgoing.destroy();
    });
    outgoing.on('error', (error) => {
      // The server closed an idle connection just as it was used again: no failure of the target's.
      const raced = !again && outgoing.reusedSocket && reasonOf(error) === 'ECONNRESET' && one.events === 0;
      if (raced && this.#inFlight.has(one)) this.#send(one, body, true);
      else this.#fail(one, reasonOf(error));
    });
    outgoing.end(body);
  }

  #onAnswer(one: InFlight, incoming: IncomingMessage): void {
    const { statusCode = 0 } = incoming;
    incoming.on('error', (error) => this.#fail(one, reasonOf(error)));
    if (statusCode !== 200) {
      incoming.resume();
      incoming.on('close', () => {
        if (statusCode === 429 || statusCode === 503) this.#settle(one, { outcome: 'refused' });
        else this.#fail(one, `status ${statusCode}`);
      });
      return;
    }
    const meter = createStreamMeter({ route: 'chat.completions', removeUsageChunk: false });
    incoming.on('data', (chunk: Buffer) => {
      const atMs = this.#now();
      meter.push(chunk, atMs);
      this.#seen(one, meter, atMs);
    });
    incoming.on('close', () => {
      if (!incoming.complete) this.#fail(one, 'the stream was cut off');
      else this.#onEnd(one, meter);
    });
  }

  #seen(one: InFlight, meter: StreamMeter, atMs: number): void {
    for (; one.events < meter.tokenEvents(); one.events += 1) {
      if (one.firstTokenMs === undefined) {
        one.firstTokenMs = atMs;
        this.#options.observer?.firstToken(one.tenant.name, atMs - one.request.atMs);
      } else this.#itl.get(one.tenant.name)?.add(atMs - one.lastTokenMs);
      one.lastTokenMs = atMs;
      if (atMs <= this.#options.durationMs) one.eventsInTime += 1;
    }
  }

  #onEnd(one: InFlight, meter: StreamMeter): void {
    meter.end();
    this.#seen(one, meter, this.#now());
    const { usage, finished, errorFrame } = meter.result();
    if (errorFrame) return this.#fail(one, 'an error in the stream');
    if (!finished) return this.#fail(one, 'no end of the stream');
    return this.#settle(one, {
      outcome: 'completed',
      ...(usage !== undefined && {
        promptTokens: usage.promptTokens,
        outputTokens: usage.completionTokens,
      }),
    });
  }

  #fail(one: InFlight, reason: string): void {
    if (!this.#inFlight.has(one)) return;
    this.#reasons.set(reason, (this.#reasons.get(reason) ?? 0) + 1);
    this.#settle(one, { outcome: 'failed' }, reason);
  }

  #settle(
    one: InFlight,
    outcome: Partial<RequestOutcome> & Pick<RequestOutcome, 'outcome'>,
    reason?: string,
  ): void {
    if (!this.#inFlight.delete(one)) return;
    this.#options.observer?.settled(one.tenant.name, outcome.outcome, reason);
    const { request, firstTokenMs, events, eventsInTime, lastTokenMs } = one;
    this.#counts[outcome.outcome] += 1;
    const whole: RequestOutcome = {
      tenant: request.tenant,
      atMs: request.atMs,
      promptTokens: request.promptTokens,
      outputTokens: events,
      endedMs: this.#now(),
      ...(firstTokenMs !== undefined && { firstTokenMs }),
      ...outcome,
    };
    const gaps = Math.max(whole.outputTokens, events) - 1;
    this.#outcomes.push({
      ...whole,
      ...(firstTokenMs !== undefined && gaps > 0 && { itlMs: (lastTokenMs - firstTokenMs) / gaps }),
    });
    const { durationMs } = this.#options;
    if (whole.outcome === 'completed' && firstTokenMs !== undefined && firstTokenMs <= durationMs) {
      this.#usefulTokens += whole.promptTokens + (whole.outputTokens * eventsInTime) / events;
    }
    if (this.#isOver()) this.#end();
  }

  /** @returns how many had no end. */
  #dropInFlight(): number {
    const left = [...this.#inFlight];
    this.#inFlight.clear();
    for (const one of left) {
      one.outgoing?.destroy();
      // It was not thrown away, the run was.
      if (one.firstTokenMs !== undefined) this.#usefulTokens += one.request.promptTokens + one.eventsInTime;
    }
    return left.length;
  }

  #measured(left: number): HttpMeasured {
    const { arm, durationMs } = this.#options;
    return {
      interrupted: this.#cutMs !== undefined,
      saturated: saturationOf(this.#waiting),
      outcome: {
        arm,
        durationMs: Math.max(1, Math.min(durationMs, this.#cutMs ?? durationMs)),
        requests: this.#outcomes,
        itl: this.#itl,
        usefulTokens: this.#usefulTokens,
        notes: this.#notes(left),
      },
    };
  }

  #notes(left: number): readonly string[] {
    const { durationMs, requests } = this.#options;
    const failures = [...this.#reasons].sort(([, a], [, b]) => b - a).slice(0, MOST_REASONS);
    const after = `after ${(this.#now() / 1_000).toFixed(1)} s of ${durationMs / 1_000} s`;
    const unsent = requests.length - this.#next;
    return [
      ...(this.#cutMs === undefined
        ? []
        : [`Ended early, ${after}: ${unsent} requests were not sent, ${left} had no end and are left out.`]),
      ...failures.map(([reason, count]) => `${count} failed: ${reason}.`),
      ...lateness(this.#lateMs),
    ];
  }
}
