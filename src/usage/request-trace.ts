/** The trace that a request belongs to, as W3C Trace Context has it. Pure. */

/** What it has of the trace. */
export interface RequestTrace {
  /** 32 hexadecimal digits, in lower case. */
  readonly traceId: string;
  /** The client's span; absent: it said none, and this request begins the trace. */
  readonly parentId?: string;
  readonly spanId: string;
  /** Of its time in the engine: the engine's parent. */
  readonly engineSpanId: string;
  /** Its spans are exported. */
  readonly isSampled: boolean;
  /** From its arrival until it was sent to an engine; undefined: it was not. */
  sentAfterMs: number | undefined;
}

/** How a request to an engine tells of its trace. */
export interface TraceHeaders {
  readonly set: readonly (readonly [name: string, value: string])[];
  readonly remove: readonly string[];
}

export interface TraceParent {
  readonly traceId: string;
  readonly parentId: string;
  readonly isSampled: boolean;
}

const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
/** Longer ones are nobody's. */
const LONGEST = 256;
const SAMPLED = 1;

/** @param value of the header `traceparent`. @returns undefined: there is none that is valid. */
export function traceParentOf(value: string): TraceParent | undefined {
  if (value === '' || value.length > LONGEST) return undefined;
  const [, version, traceId = '', parentId = '', flags = '', rest] = TRACEPARENT.exec(value) ?? [];
  if (version === undefined || version === 'ff') return undefined;
  // A later version may have more behind it; this one has not.
  if (version === '00' && rest !== undefined) return undefined;
  if (/^0+$/.test(traceId) || /^0+$/.test(parentId)) return undefined;
  return { traceId, parentId, isSampled: (Number.parseInt(flags, 16) & SAMPLED) === SAMPLED };
}

const [ID, TRACE_ID] = [16, 32];

/**
 * Begins the trace of a request. Whether it is sampled is drawn for each: a client that chooses the trace's id, or says that it is
 * sampled, gets no more of its requests traced.
 *
 * @param digits 64 random hexadecimal digits. @param drawn from 0 to below 1.
 */
export function beginTrace(traceparent: string, sample: number, digits: string, drawn: number): RequestTrace {
  const parent = traceParentOf(traceparent);
  const ids = {
    spanId: digits.slice(TRACE_ID, TRACE_ID + ID),
    engineSpanId: digits.slice(TRACE_ID + ID, TRACE_ID + 2 * ID),
    sentAfterMs: undefined,
  };
  const isSampled = drawn < sample;
  if (parent === undefined) return { traceId: digits.slice(0, TRACE_ID), isSampled, ...ids };
  const { traceId, parentId } = parent;
  return { traceId, parentId, isSampled: isSampled && parent.isSampled, ...ids };
}

const NONE: readonly string[] = [];
/** It belongs to a `traceparent`, and there was none that is valid. */
const STATE = ['tracestate'];

export const sentHeaders = ({ traceId, parentId, engineSpanId, isSampled }: RequestTrace): TraceHeaders => ({
  set: [['traceparent', `00-${traceId}-${engineSpanId}-${isSampled ? '01' : '00'}`]],
  remove: parentId === undefined ? STATE : NONE,
});
