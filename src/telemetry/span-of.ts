/** The spans of a request that has ended, from its record. Pure. They have no prompt, no completion and no key. */
import type { RequestTrace } from '../usage/request-trace.ts';
import type { UsageRecord } from '../usage/usage-record.ts';

/** What became of a span. */
export type SpanResult = 'exported' | 'failed' | 'dropped';

type SpanAttributes = Readonly<Record<string, string | number | boolean>>;

/** Times are Unix milliseconds. */
export interface SpanFacts {
  readonly name: string;
  readonly kind: 'server' | 'client' | 'internal';
  readonly traceId: string;
  readonly spanId: string;
  /** Undefined: it begins the trace. */
  readonly parentId: string | undefined;
  /** Its parent is in another process. */
  readonly isParentRemote: boolean;
  readonly startMs: number;
  readonly endMs: number;
  readonly isError: boolean;
  readonly attributes: SpanAttributes;
  readonly events: readonly {
    readonly name: string;
    readonly atMs: number;
    readonly attributes?: SpanAttributes;
  }[];
}

const OPERATIONS: Readonly<Record<string, string>> = {
  'chat.completions': 'chat',
  messages: 'chat',
  responses: 'chat',
  completions: 'text_completion',
  embeddings: 'embeddings',
};

/** `gen_ai.operation.name` */
export const operationOf = (route: string): string => OPERATIONS[route] ?? route;

/** `error.type`; undefined: it is none. */
export const errorTypeOf = ({ outcome, reason, status }: UsageRecord): string | undefined =>
  outcome === 'completed' ? undefined : (reason ?? (status === undefined ? outcome : String(status)));

type Attributes = Record<string, string | number | boolean>;

/**
 * What the spans of a request and of its engine both say. `gen_ai.request.model` is what the client asked for. Assigned one by one: no
 * object is made and copied for each span.
 */
function callAttributes(record: UsageRecord, operation: string): Attributes {
  const attributes: Attributes = { 'gen_ai.operation.name': operation };
  const asked = record.modelAsked ?? record.model;
  const error = errorTypeOf(record);
  if (asked !== undefined) attributes['gen_ai.request.model'] = asked;
  if (error !== undefined) attributes['error.type'] = error;
  if (record.status !== undefined) attributes['http.response.status_code'] = record.status;
  return attributes;
}

/** What answered, and what that took: in one span of a trace, so that sums over spans count it once. */
function noteAnswer(attributes: Attributes, record: UsageRecord): void {
  const { engine, model } = record;
  if (engine !== undefined) attributes['gen_ai.provider.name'] = engine;
  if (model !== undefined && record.outcome === 'completed') attributes['gen_ai.response.model'] = model;
  if (record.usageSource === 'none') return;
  attributes['gen_ai.usage.input_tokens'] = record.promptTokens;
  attributes['gen_ai.usage.output_tokens'] = record.completionTokens;
}

function serverAttributes(record: UsageRecord, operation: string, wasSent: boolean): Attributes {
  const attributes = callAttributes(record, operation);
  if (!wasSent) noteAnswer(attributes, record);
  const { id, keyId, pool, lane, ttftMs } = record;
  attributes['fairlane.request.id'] = record.requestId;
  if (id !== undefined) attributes['fairlane.record.id'] = id;
  attributes['fairlane.tenant'] = record.tenant;
  if (keyId !== undefined) attributes['fairlane.key.id'] = keyId;
  attributes['fairlane.route'] = record.customRoute ?? record.route;
  if (pool !== undefined) attributes['fairlane.pool'] = pool;
  if (lane !== undefined) attributes['fairlane.lane'] = lane;
  attributes['fairlane.outcome'] = record.outcome;
  attributes['fairlane.stream'] = record.stream;
  attributes['fairlane.queue.ms'] = record.queueMs;
  if (ttftMs !== undefined) attributes['fairlane.ttft.ms'] = ttftMs;
  return attributes;
}

function queueAttributes({ pool, lane }: UsageRecord): Attributes {
  const attributes: Attributes = {};
  if (pool !== undefined) attributes['fairlane.pool'] = pool;
  if (lane !== undefined) attributes['fairlane.lane'] = lane;
  return attributes;
}

/** `ip:port` or `[ip]:port`. */
const IP_PORT = /^\[?(.*?)\]?:(\d+)$/;

function engineAttributes(record: UsageRecord, operation: string): Attributes {
  const attributes = callAttributes(record, operation);
  noteAnswer(attributes, record);
  const { pool } = record;
  const [, address, port] = IP_PORT.exec(record.address ?? '') ?? [];
  if (address !== undefined) {
    attributes['server.address'] = address;
    attributes['server.port'] = Number(port);
  }
  if (pool !== undefined) attributes['fairlane.pool'] = pool;
  return attributes;
}

const isFault = ({ outcome, status = 0 }: UsageRecord): boolean => outcome === 'failed' || status >= 500;

const NO_EVENTS: SpanFacts['events'] = [];

/** When an endpoint broke is not known here: that it did is told at the beginning. */
function engineEvents(
  { retries = 0 }: UsageRecord,
  sentMs: number,
  firstTokenMs: number | undefined,
): SpanFacts['events'] {
  if (retries === 0 && firstTokenMs === undefined) return NO_EVENTS;
  const events: SpanFacts['events'][number][] = [];
  if (retries > 0) {
    events.push({ name: 'fairlane.retries', atMs: sentMs, attributes: { 'fairlane.retries': retries } });
  }
  if (firstTokenMs !== undefined) events.push({ name: 'fairlane.first_token', atMs: firstTokenMs });
  return events;
}

/** @param spanId of the queue: 16 random hexadecimal digits. @param nowMs Unix time, where the record has none. */
export function spansOf(
  record: UsageRecord,
  trace: RequestTrace,
  spanId: string,
  nowMs: number,
): readonly SpanFacts[] {
  const { traceId, parentId, sentAfterMs } = trace;
  const endMs = record.endedMs ?? nowMs;
  const startMs = endMs - record.durationMs;
  const inside = (ms: number): number => Math.min(endMs, Math.max(startMs, ms));
  const sentMs = sentAfterMs === undefined ? undefined : inside(startMs + sentAfterMs);
  const model = record.modelAsked ?? record.model;
  const operation = operationOf(record.route);
  const name = model === undefined ? operation : `${operation} ${model}`;
  const isError = isFault(record);
  const spans: SpanFacts[] = [
    {
      name,
      kind: 'server',
      traceId,
      spanId: trace.spanId,
      parentId,
      isParentRemote: parentId !== undefined,
      startMs,
      endMs,
      isError,
      attributes: serverAttributes(record, operation, sentMs !== undefined),
      events: NO_EVENTS,
    },
  ];
  if (sentMs !== undefined || record.queueMs > 0) {
    const until = sentMs ?? endMs;
    spans.push({
      name: 'queue',
      kind: 'internal',
      traceId,
      spanId,
      parentId: trace.spanId,
      isParentRemote: false,
      startMs: inside(until - record.queueMs),
      endMs: until,
      isError: false,
      attributes: queueAttributes(record),
      events: NO_EVENTS,
    });
  }
  if (sentMs !== undefined) {
    const { ttftMs } = record;
    const firstTokenMs = ttftMs === undefined ? undefined : Math.max(sentMs, inside(startMs + ttftMs));
    spans.push({
      name,
      kind: 'client',
      traceId,
      spanId: trace.engineSpanId,
      parentId: trace.spanId,
      isParentRemote: false,
      startMs: sentMs,
      endMs,
      isError,
      attributes: engineAttributes(record, operation),
      events: engineEvents(record, sentMs, firstTokenMs),
    });
  }
  return spans;
}
