/** Spans as OTLP has them, by the official serializer. */
import { SpanKind, SpanStatusCode } from '@opentelemetry/api';
import { ProtobufTraceSerializer } from '@opentelemetry/otlp-transformer';
import { type Resource, resourceFromAttributes } from '@opentelemetry/resources';
import type { SpanFacts } from './span-of.ts';

type ReadableSpan = Parameters<typeof ProtobufTraceSerializer.serializeRequest>[0][number];

const KINDS = { server: SpanKind.SERVER, client: SpanKind.CLIENT, internal: SpanKind.INTERNAL } as const;
const SCOPE = { name: 'fairlane' };
const SAMPLED = 1;

/** Seconds and nanoseconds, to the microsecond. */
function timeOf(ms: number): [number, number] {
  const micros = Math.round(ms * 1_000);
  const seconds = Math.floor(micros / 1_000_000);
  return [seconds, (micros - seconds * 1_000_000) * 1_000];
}

const UNSET = { code: SpanStatusCode.UNSET };
const ERROR = { code: SpanStatusCode.ERROR };
const NO_LINKS: ReadableSpan['links'] = [];

/** A class, whose fields are always the same: thousands are made a second, each for one export. */
class Readable implements ReadableSpan {
  readonly name: string;
  readonly kind: SpanKind;
  readonly parentSpanContext: NonNullable<ReadableSpan['parentSpanContext']>;
  readonly startTime: [number, number];
  readonly endTime: [number, number];
  readonly duration: [number, number];
  readonly status: ReadableSpan['status'];
  readonly attributes: SpanFacts['attributes'];
  readonly links = NO_LINKS;
  readonly events: ReadableSpan['events'];
  readonly ended = true;
  readonly resource: Resource;
  readonly instrumentationScope = SCOPE;
  readonly droppedAttributesCount = 0;
  readonly droppedEventsCount = 0;
  readonly droppedLinksCount = 0;
  readonly #context: ReturnType<ReadableSpan['spanContext']>;

  constructor(facts: SpanFacts, resource: Resource) {
    const { traceId, parentId = '', isParentRemote: isRemote, startMs, endMs, events } = facts;
    this.name = facts.name;
    this.kind = KINDS[facts.kind];
    // A span id that is empty is none.
    this.parentSpanContext = { traceId, spanId: parentId, traceFlags: SAMPLED, isRemote };
    this.startTime = timeOf(startMs);
    this.endTime = timeOf(endMs);
    this.duration = timeOf(endMs - startMs);
    this.status = facts.isError ? ERROR : UNSET;
    this.attributes = facts.attributes;
    this.events = events.map(({ name, atMs, attributes = {} }) => ({ name, time: timeOf(atMs), attributes }));
    this.resource = resource;
    this.#context = { traceId, spanId: facts.spanId, traceFlags: SAMPLED };
  }

  spanContext(): ReturnType<ReadableSpan['spanContext']> {
    return this.#context;
  }
}

/** Who exports: of all that is known of this process. */
export const resourceOf = ({
  instanceId,
  version,
}: {
  /** No other process has it. */
  readonly instanceId: string;
  /** Absent: nobody said which. */
  readonly version?: string;
}): Resource =>
  resourceFromAttributes({
    'service.name': 'fairlane',
    'service.instance.id': instanceId,
    ...(version !== undefined && { 'service.version': version }),
  });

export function encodeSpans(spans: readonly SpanFacts[], resource: Resource): Uint8Array {
  const bytes = ProtobufTraceSerializer.serializeRequest(spans.map((span) => new Readable(span, resource)));
  if (bytes === undefined) throw new Error('spans could not be encoded');
  return bytes;
}

/** Spans that the collector took the request of, and did not keep. What is no such answer says nothing. */
export function rejectedIn(answer: Uint8Array): number {
  try {
    const { partialSuccess } = ProtobufTraceSerializer.deserializeResponse(answer);
    const rejected = partialSuccess?.rejectedSpans ?? 0;
    return Number.isFinite(rejected) ? Math.max(0, rejected) : 0;
  } catch {
    return 0;
  }
}
