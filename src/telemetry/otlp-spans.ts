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

function readable(facts: SpanFacts, resource: Resource): ReadableSpan {
  const { traceId, spanId, parentId, isParentRemote: isRemote } = facts;
  return {
    name: facts.name,
    kind: KINDS[facts.kind],
    spanContext: () => ({ traceId, spanId, traceFlags: SAMPLED }),
    ...(parentId !== undefined && {
      parentSpanContext: { traceId, spanId: parentId, traceFlags: SAMPLED, isRemote },
    }),
    startTime: timeOf(facts.startMs),
    endTime: timeOf(facts.endMs),
    duration: timeOf(facts.endMs - facts.startMs),
    status: { code: facts.isError ? SpanStatusCode.ERROR : SpanStatusCode.UNSET },
    attributes: facts.attributes,
    links: [],
    events: facts.events.map(({ name, atMs, attributes }) => ({
      name,
      time: timeOf(atMs),
      ...(attributes !== undefined && { attributes }),
    })),
    ended: true,
    resource,
    instrumentationScope: SCOPE,
    droppedAttributesCount: 0,
    droppedEventsCount: 0,
    droppedLinksCount: 0,
  };
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
  const bytes = ProtobufTraceSerializer.serializeRequest(spans.map((span) => readable(span, resource)));
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
