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
  readonly parentId?: string;
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

const defined = (all: Readonly<Record<string, string | number | boolean | undefined>>): SpanAttributes =>
  Object.fromEntries(
    Object.entries(all).filter(
      (entry): entry is [string, string | number | boolean] => entry[1] !== undefined,
    ),
  );

function genAi(record: UsageRecord): Readonly<Record<string, string | number | undefined>> {
  const { usageSource } = record;
  const isMetered = usageSource !== 'none';
  return {
    'gen_ai.operation.name': operationOf(record.route),
    'gen_ai.provider.name': record.engine,
    'gen_ai.request.model': record.modelAsked ?? record.model,
    'gen_ai.response.model': record.outcome === 'completed' ? record.model : undefined,
    'gen_ai.usage.input_tokens': isMetered ? record.promptTokens : undefined,
    'gen_ai.usage.output_tokens': isMetered ? record.completionTokens : undefined,
    'error.type': errorTypeOf(record),
    'http.response.status_code': record.status,
  };
}

/** @param ipPort `ip:port` or `[ip]:port`. */
function serverOf(ipPort: string | undefined) {
  const [, address, port] = /^\[?(.*?)\]?:(\d+)$/.exec(ipPort ?? '') ?? [];
  return { 'server.address': address, 'server.port': port === undefined ? undefined : Number(port) };
}

const isFault = ({ outcome, status = 0 }: UsageRecord): boolean => outcome === 'failed' || status >= 500;

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
  const shared = genAi(record);
  const isError = isFault(record);
  const child = { traceId, parentId: trace.spanId, isParentRemote: false };
  const spans: SpanFacts[] = [
    {
      name,
      kind: 'server',
      traceId,
      spanId: trace.spanId,
      ...(parentId !== undefined && { parentId }),
      isParentRemote: parentId !== undefined,
      startMs,
      endMs,
      isError,
      attributes: defined({ ...shared, ...ours(record) }),
      events: [],
    },
  ];
  if (sentMs !== undefined || record.queueMs > 0) {
    const until = sentMs ?? endMs;
    spans.push({
      ...child,
      name: 'queue',
      kind: 'internal',
      spanId,
      startMs: inside(until - record.queueMs),
      endMs: until,
      isError: false,
      attributes: defined({ 'fairlane.pool': record.pool, 'fairlane.lane': record.lane }),
      events: [],
    });
  }
  if (sentMs !== undefined) {
    spans.push({
      ...child,
      name,
      kind: 'client',
      spanId: trace.engineSpanId,
      startMs: sentMs,
      endMs,
      isError,
      attributes: defined({
        ...shared,
        ...serverOf(record.address),
        'fairlane.pool': record.pool,
      }),
      events: engineEvents(record, sentMs, record.ttftMs && inside(startMs + record.ttftMs)),
    });
  }
  return spans;
}

/** When an endpoint broke is not known here: that it did is told at the beginning. */
function engineEvents(
  { retries = 0 }: UsageRecord,
  sentMs: number,
  firstTokenMs: number | undefined,
): SpanFacts['events'] {
  const events: SpanFacts['events'][number][] = [];
  if (retries > 0) {
    events.push({ name: 'fairlane.retries', atMs: sentMs, attributes: { 'fairlane.retries': retries } });
  }
  if (firstTokenMs !== undefined) events.push({ name: 'gen_ai.first_token', atMs: firstTokenMs });
  return events;
}

const ours = (record: UsageRecord): Readonly<Record<string, string | number | boolean | undefined>> => ({
  'fairlane.request.id': record.requestId,
  'fairlane.record.id': record.id,
  'fairlane.tenant': record.tenant,
  'fairlane.key.id': record.keyId,
  'fairlane.route': record.customRoute ?? record.route,
  'fairlane.pool': record.pool,
  'fairlane.lane': record.lane,
  'fairlane.outcome': record.outcome,
  'fairlane.stream': record.stream,
  'fairlane.queue.ms': record.queueMs,
  'fairlane.ttft.ms': record.ttftMs,
});
