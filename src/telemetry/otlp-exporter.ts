/**
 * Sends spans to a collector, apart from every request. One that hangs, fails or is away costs spans, which are counted, and a bounded
 * queue of them. Spans are encoded a few at a time, as they come: no request's end waits for a whole batch.
 */
import type { IncomingMessage } from 'node:http';
import type { Resource } from '@opentelemetry/resources';
import type { OtlpConfig } from '../config/telemetry.ts';
import { answeredText, codeOf, post } from './http-post.ts';
import { encodeSpans, rejectedIn } from './otlp-spans.ts';
import type { SpanFacts, SpanResult } from './span-of.ts';

export interface OtlpExporterOptions {
  readonly count: (result: SpanResult, spans: number) => void;
  /** Once when exports begin to fail, and once when they are taken again. */
  readonly tell?: (state: ExportState) => void;
  /** Who exports, as of now. */
  readonly resource: () => Resource;
  /** Of one export. Default: 10 s. */
  readonly timeoutMs?: number;
  /** How long spans are gathered. Default: 1 s. */
  readonly gatherMs?: number;
}

export interface ExportState {
  /** Host and port of the collector. */
  readonly collector: string;
  readonly failing: boolean;
  readonly detail: string;
}

const MOST_SPANS = 2_048;
const BATCH = 512;
/** Spans that are encoded at a time: some 0.1 ms. Fewer cost more, since each piece names the resource. */
const PIECE = 32;
const TIMEOUT_MS = 10_000;
const GATHER_MS = 1_000;
const MOST_ANSWER_BYTES = 65_536;

/** Spans in the collector's form: messages of this kind that stand behind each other are one message. */
interface Piece {
  readonly spans: number;
  readonly bytes: Uint8Array;
}

export class OtlpExporter {
  readonly #options: OtlpExporterOptions;
  #config: OtlpConfig;
  /** Of the last requests, not encoded yet. */
  #facts: SpanFacts[] = [];
  #pieces: Piece[] = [];
  /** Spans that wait, in both. */
  #waiting = 0;
  #timer: NodeJS.Timeout | undefined;
  #sending: Promise<void> | undefined;
  readonly #end = new AbortController();
  #isClosing = false;
  #isFailing = false;

  constructor(config: OtlpConfig, options: OtlpExporterOptions) {
    this.#config = config;
    this.#options = options;
  }

  /** From the next export on. */
  reconfigure(config: OtlpConfig): void {
    // Of another collector it is told anew.
    if (config.url !== this.#config.url) this.#isFailing = false;
    this.#config = config;
  }

  /** Those of one request: all of them, or none. */
  add(spans: readonly SpanFacts[]): void {
    if (this.#isClosing || this.#waiting + spans.length > MOST_SPANS) {
      this.#options.count('dropped', spans.length);
      return;
    }
    this.#facts.push(...spans);
    this.#waiting += spans.length;
    if (this.#facts.length >= PIECE) this.#encode();
    if (this.#sending === undefined) this.#gather();
  }

  /** Sends what waits, for so long; what is left then is dropped. */
  async close(lastMs: number): Promise<void> {
    this.#isClosing = true;
    const timer = setTimeout(() => this.#end.abort(), lastMs);
    this.#pump();
    while (this.#sending !== undefined) await this.#sending;
    clearTimeout(timer);
    if (this.#waiting > 0) this.#options.count('dropped', this.#waiting);
    [this.#facts, this.#pieces, this.#waiting] = [[], [], 0];
  }

  #encode(): void {
    const facts = this.#facts;
    if (facts.length === 0) return;
    this.#facts = [];
    try {
      this.#pieces.push({ spans: facts.length, bytes: encodeSpans(facts, this.#options.resource()) });
    } catch {
      // It costs these spans, and no request.
      this.#waiting -= facts.length;
      this.#options.count('failed', facts.length);
    }
  }

  #pump(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#sending !== undefined || this.#end.signal.aborted) return;
    this.#encode();
    if (this.#pieces.length === 0) return;
    this.#sending = this.#send(this.#nextBatch()).then(() => {
      this.#sending = undefined;
      this.#gather();
    });
  }

  /** The pieces that waited longest. */
  #nextBatch(): readonly Piece[] {
    let [spans, pieces] = [0, 0];
    for (const piece of this.#pieces) {
      if (spans + piece.spans > BATCH) break;
      spans += piece.spans;
      pieces += 1;
    }
    this.#waiting -= spans;
    return this.#pieces.splice(0, pieces);
  }

  /** Sends a whole batch at once, and less after a while. */
  #gather(): void {
    if (this.#isClosing || this.#waiting >= BATCH) this.#pump();
    else if (this.#waiting > 0) {
      this.#timer ??= setTimeout(() => this.#pump(), this.#options.gatherMs ?? GATHER_MS);
      this.#timer.unref();
    }
  }

  /** Never rejects. */
  async #send(batch: readonly Piece[]): Promise<void> {
    const { count, timeoutMs = TIMEOUT_MS } = this.#options;
    const config = this.#config;
    const spans = batch.reduce((sum, piece) => sum + piece.spans, 0);
    let rejected = spans;
    try {
      const body = Buffer.concat(batch.map(({ bytes }) => bytes));
      const answer = await sent(config, body, timeoutMs, this.#end.signal);
      if (answer.kind === 'taken') rejected = Math.min(spans, rejectedIn(answer.body));
      if (answer.kind !== 'ended') {
        this.#learn(
          config,
          answer.kind === 'failed' ? answer.detail : rejected > 0 ? 'it rejects spans' : undefined,
        );
      }
    } catch {
      // Such as a header that HTTP does not take: it costs the batch.
      this.#learn(config, 'no request can be made: see telemetry.otlp.headers');
    }
    if (spans > rejected) count('exported', spans - rejected);
    if (rejected > 0) count('failed', rejected);
  }

  /** @param problem undefined: it takes them. */
  #learn({ url }: OtlpConfig, problem: string | undefined): void {
    const failing = problem !== undefined;
    // An export that was under way says nothing of the collector that is configured since.
    if (url !== this.#config.url || failing === this.#isFailing) return;
    this.#isFailing = failing;
    this.#options.tell?.({
      collector: new URL(url).host,
      failing,
      detail: problem ?? 'it takes spans again',
    });
  }
}

type Sent =
  | { readonly kind: 'taken'; readonly body: Uint8Array }
  | { readonly kind: 'failed'; readonly detail: string }
  /** The service ends. */
  | { readonly kind: 'ended' };

/** What its answer was. */
const sent = (
  { url, headers }: OtlpConfig,
  body: Uint8Array,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<Sent> =>
  post<Sent>(url, {
    headers: { 'user-agent': 'fairlane-otlp', ...headers, 'content-type': 'application/x-protobuf' },
    body,
    timeoutMs,
    signal,
    answered: answerOf,
    unanswered: (why) =>
      why === 'aborted'
        ? { kind: 'ended' }
        : failed(why === 'late' ? `no answer within ${timeoutMs} ms` : problemOf(why)),
  });

const failed = (detail: string): Sent => ({ kind: 'failed', detail });

function problemOf(error: Error): string {
  const code = codeOf(error);
  return code.startsWith('HPE_')
    ? `${code}: it does not speak HTTP/1.1; is it the port of OTLP over gRPC (4317)? OTLP over HTTP is usually on 4318`
    : code;
}

const HINTS: ReadonlyMap<number, string> = new Map([
  [401, 'see telemetry.otlp.headers'],
  [403, 'see telemetry.otlp.headers'],
  [404, 'is OTLP over HTTP at telemetry.otlp.endpoint, to which /v1/traces is added?'],
]);

function statusText(status: number): string {
  const hint = HINTS.get(status);
  return hint === undefined ? answeredText(status) : `answered ${status}: ${hint}`;
}

function answerOf(response: IncomingMessage, done: (answer: Sent) => void): void {
  const { statusCode = 0 } = response;
  if (statusCode < 200 || statusCode >= 300) {
    done(failed(statusText(statusCode)));
    return;
  }
  const parts: Buffer[] = [];
  let bytes = 0;
  response.on('data', (part: Buffer) => {
    bytes += part.length;
    // It has taken them, whatever else it says.
    if (bytes > MOST_ANSWER_BYTES) done({ kind: 'taken', body: Buffer.alloc(0) });
    else parts.push(part);
  });
  response.on('end', () => done({ kind: 'taken', body: Buffer.concat(parts) }));
  response.on('error', (error) => done(failed(problemOf(error))));
}
