/**
 * What Envoy counted, from an `ExportMetricsServiceRequest` of OpenTelemetry: the sums of one metric, by one attribute. Read by hand, as
 * far as it is used; tests/unit/ext-proc/refusal-codec.test.ts has the bytes.
 */
import {
  hasMore,
  type Reader,
  readerOf,
  readMessage,
  readString,
  readTag,
  skipField,
  tagOf,
  WIRE,
} from '../grpc/protobuf.ts';

export interface Counted {
  /** Of the attribute. */
  readonly value: string;
  /** Since it was told before. */
  readonly count: number;
}

const RESOURCE_METRICS = tagOf(1, WIRE.bytes);
const SCOPE_METRICS = tagOf(2, WIRE.bytes);
const METRIC = tagOf(2, WIRE.bytes);
const NAME = tagOf(1, WIRE.bytes);
const SUM = tagOf(7, WIRE.bytes);
const DATA_POINT = tagOf(1, WIRE.bytes);
const POINT = { asInt: tagOf(6, WIRE.fixed64), attribute: tagOf(7, WIRE.bytes) } as const;
const KEY = tagOf(1, WIRE.bytes);
const VALUE = tagOf(2, WIRE.bytes);
const STRING_VALUE = tagOf(1, WIRE.bytes);
const FIXED64_BYTES = 8;

/** The fields of a message with this tag, one after the other. */
function* fieldsOf(message: Reader, wanted: number): Generator<Reader> {
  while (hasMore(message)) {
    const tag = readTag(message);
    if (tag === wanted) yield readMessage(message);
    else skipField(message, tag);
  }
}

function textOf(message: Reader, wanted: number): string {
  let text = '';
  while (hasMore(message)) {
    const tag = readTag(message);
    if (tag === wanted) text = readString(message);
    else skipField(message, tag);
  }
  return text;
}

function attributeOf(message: Reader): readonly [key: string, value: string] {
  let key = '';
  let value = '';
  while (hasMore(message)) {
    const tag = readTag(message);
    if (tag === KEY) key = readString(message);
    else if (tag === VALUE) value = textOf(readMessage(message), STRING_VALUE);
    else skipField(message, tag);
  }
  return [key, value];
}

function pointOf(message: Reader, attribute: string): Counted {
  let value = '';
  let count = 0;
  while (hasMore(message)) {
    const tag = readTag(message);
    if (tag === POINT.attribute) {
      const [key, text] = attributeOf(readMessage(message));
      if (key === attribute) value = text;
    } else {
      const from = message.at;
      skipField(message, tag);
      if (tag === POINT.asInt && message.at - from === FIXED64_BYTES) {
        count = Number(message.bytes.readBigInt64LE(from));
      }
    }
  }
  return { value, count };
}

/** Of the metric of this name. @throws Malformed */
function* pointsOf(metric: Reader, metricName: string, attribute: string): Generator<Counted> {
  const again = { ...metric };
  if (textOf(metric, NAME) !== metricName) return;
  for (const sum of fieldsOf(again, SUM)) {
    for (const point of fieldsOf(sum, DATA_POINT)) yield pointOf(point, attribute);
  }
}

/** @throws Malformed */
export function* decodeCounted(bytes: Buffer, metricName: string, attribute: string): Generator<Counted> {
  for (const resource of fieldsOf(readerOf(bytes), RESOURCE_METRICS)) {
    for (const scope of fieldsOf(resource, SCOPE_METRICS)) {
      for (const metric of fieldsOf(scope, METRIC)) yield* pointsOf(metric, metricName, attribute);
    }
  }
}
