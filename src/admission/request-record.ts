/** The usage record of a request that has ended. Pure. */

import type { AttributionConfig } from '../config/attribution.ts';
import type { EngineKind } from '../domain/engine-kinds.ts';
import type { Mutable } from '../domain/mutable.ts';
import { CLIENT_ID_BYTES, UNLISTED_MODEL } from '../domain/names.ts';
import type { CustomRoute, EngineRoute, StoredRoute } from '../domain/routes.ts';
import type { RequestFacts } from '../openai/parsed-request.ts';
import type { RequestTrace } from '../usage/request-trace.ts';
import { tagOf } from '../usage/tags.ts';
import type { Outcome, UsageRecord } from '../usage/usage-record.ts';
import type { AnswerReading } from './answer-meter.ts';
import type { Bill } from './bill.ts';
import type { RequestHead } from './edge.ts';
import type { LifecycleContext } from './lifecycle-context.ts';
import type { RunTimes } from './run-times.ts';

export interface RequestIds extends Pick<UsageRecord, 'requestId' | 'clientRequestId' | 'keyId' | 'tag'> {
  /** Absent: it is not traced. */
  readonly trace?: RequestTrace;
}

export const NO_IDS: RequestIds = { requestId: '' };

/** Of visible ASCII, and bounded. */
const shownId = (id: string): string => id.slice(0, CLIENT_ID_BYTES).replace(/[^\x20-\x7e]/gu, '?');

/** Both may be the client's: there are gateways that keep its `x-request-id`. */
export function idsOf(head: RequestHead, attribution?: AttributionConfig, trace?: RequestTrace): RequestIds {
  const { requestId, clientRequestId = '', keyId } = head;
  const ids: Mutable<RequestIds> = { requestId: shownId(requestId) };
  if (clientRequestId !== '') ids.clientRequestId = shownId(clientRequestId);
  if (trace !== undefined) ids.trace = trace;
  if (keyId !== undefined && keyId !== '') ids.keyId = keyId;
  const tag = attribution?.by === 'header' ? tagOf(head.header(attribution.header)) : undefined;
  if (tag !== undefined) ids.tag = tag;
  return ids;
}

/** Whether its model has a name that may be repeated: one that exists, or the one of all that do not. */
const isNamed = ({ catalog }: RecordContext, { model }: RequestFacts): boolean =>
  model === UNLISTED_MODEL || catalog.poolOf(model) !== undefined;

/** What a record asks of others. */
export type RecordContext = Pick<LifecycleContext, 'config' | 'catalog' | 'stamp'>;

/** What is known of the request: the later it ended, the more. */
export interface EndedRequest {
  readonly ids: RequestIds;
  readonly tenant: { readonly name: string; readonly tier?: string };
  readonly route: { readonly name: EngineRoute | StoredRoute; readonly custom?: CustomRoute };
  /** Once its body was read. */
  readonly facts: RequestFacts | undefined;
  /** The model that the client named; empty: none yet. */
  readonly asked: string;
  /** Once a model was selected that could be reserved for. */
  readonly lane: string | undefined;
  /** Once it was sent. */
  readonly run:
    | {
        readonly pool: string;
        /** What the endpoint is called, and its `ip:port`. */
        readonly endpoint: string;
        readonly address: string;
        readonly belowFairShare: boolean;
        readonly isStalled: boolean;
        /** Endpoints that it was passed on from; absent: none. */
        readonly retries?: number;
        /** What the endpoint runs. */
        readonly engine?: EngineKind | undefined;
        /** By what its answer took; absent, undefined: it is not in a batch. */
        times?(reading: AnswerReading, nowMs: number): RunTimes | undefined;
      }
    | undefined;
  /** HTTP status that the client saw, if there was one. */
  readonly status: number | undefined;
  readonly arrivedMs: number;
  readonly queueMs: number;
}

export interface Ending {
  readonly outcome: Outcome;
  readonly reason: string | undefined;
  /** What the answer took, where there was one. */
  readonly reading: AnswerReading | undefined;
  readonly bill: Bill;
}

/** Dropped fields are named by the client: a record holds no more of them than this. */
const MAX_LOGGED_FIELDS = 16;
const MAX_LOGGED_NAME = 64;
const NONE: readonly string[] = [];

const loggedFields = (dropped: readonly string[]): readonly string[] =>
  dropped.length === 0
    ? NONE
    : dropped.slice(0, MAX_LOGGED_FIELDS).map((name) => name.slice(0, MAX_LOGGED_NAME));

/** Notes when it was sent. @returns its trace. */
export function traceSent({ trace }: RequestIds, afterMs: number): RequestTrace | undefined {
  if (trace !== undefined) trace.sentAfterMs = afterMs;
  return trace;
}

export function recordEnd(
  context: RecordContext & Pick<LifecycleContext, 'record' | 'traced'>,
  request: EndedRequest,
  ending: Ending,
  nowMs: number,
): void {
  const record = recordOf(context, request, ending, nowMs);
  context.record(record);
  const { trace } = request.ids;
  if (trace !== undefined) context.traced?.(record, trace);
}

function recordOf(context: RecordContext, request: EndedRequest, ending: Ending, nowMs: number): UsageRecord {
  const { ids, route, facts, lane, run, status, arrivedMs } = request;
  const { reason, reading, bill } = ending;
  const usage = reading?.usage;
  const record: Mutable<UsageRecord> = {
    requestId: ids.requestId,
    tenant: request.tenant.name,
    route: route.name,
    stream: facts?.stream ?? false,
    quiet: run?.belowFairShare ?? false,
    stalled: run?.isStalled ?? false,
    outcome: ending.outcome,
    queueMs: request.queueMs,
    durationMs: nowMs - arrivedMs,
    promptTokens: usage?.promptTokens ?? 0,
    completionTokens: usage?.completionTokens ?? 0,
    cachedTokens: usage?.cachedTokens ?? 0,
    usageSource: reading?.source ?? 'none',
    droppedFields: loggedFields(facts?.dropped ?? NONE),
  };
  if (ids.clientRequestId !== undefined) record.clientRequestId = ids.clientRequestId;
  if (ids.trace !== undefined) record.traceId = ids.trace.traceId;
  if (ids.keyId !== undefined) record.keyId = ids.keyId;
  const tag = ids.tag ?? facts?.tag;
  if (tag !== undefined) record.tag = tag;
  if (route.custom !== undefined) record.customRoute = route.custom.name;
  if (request.tenant.tier !== undefined) record.tier = request.tenant.tier;
  if (facts !== undefined) noteModel(record, context, facts, request.asked);
  if (run !== undefined) noteRun(record, run, reading, nowMs);
  if (lane !== undefined) record.lane = lane;
  if (reason !== undefined) record.reason = reason;
  if (status !== undefined) record.status = status;
  if (reading !== undefined) noteReading(record, reading, arrivedMs);
  noteBill(record, bill);
  if (context.stamp !== undefined) Object.assign(record, context.stamp(bill.endedMs));
  return record;
}

function noteModel(
  record: Mutable<UsageRecord>,
  context: RecordContext,
  facts: RequestFacts,
  asked: string,
): void {
  if (!isNamed(context, facts)) return;
  const { model } = facts;
  record.model = model;
  if (context.catalog.adapterOf(model) !== undefined) record.adapter = model;
  const isOther = asked !== model && model !== UNLISTED_MODEL;
  if (!isOther) return;
  const exists = context.catalog.poolOf(asked) !== undefined || context.config().aliases.has(asked);
  if (exists) record.modelAsked = asked;
}

function noteRun(
  record: Mutable<UsageRecord>,
  run: NonNullable<EndedRequest['run']>,
  reading: AnswerReading | undefined,
  nowMs: number,
): void {
  const { engine, retries = 0 } = run;
  record.pool = run.pool;
  record.endpoint = run.endpoint;
  record.address = run.address;
  if (engine !== undefined) record.engine = engine;
  if (retries > 0) record.retries = retries;
  const times = reading && run.times?.(reading, nowMs);
  if (times === undefined) return;
  record.prefillMs = times.prefillMs;
  record.decodeMs = times.decodeMs;
  record.kvTokenSeconds = times.kvTokenSeconds;
}

function noteBill(record: Mutable<UsageRecord>, { price, cost, gpuSeconds }: Bill): void {
  if (price !== undefined) record.price = price;
  if (cost !== undefined) record.cost = cost;
  if (gpuSeconds !== undefined) record.gpuSeconds = gpuSeconds;
}

function noteReading(record: Mutable<UsageRecord>, reading: AnswerReading, arrivedMs: number): void {
  const { firstTokenMs, itl, amount, estimated, odd, reasoningTokens } = reading;
  if (firstTokenMs !== undefined) record.ttftMs = firstTokenMs - arrivedMs;
  if (itl !== undefined) {
    record.itlMeanMs = itl.meanMs;
    record.itlMaxMs = itl.maxMs;
  }
  if (amount !== undefined) Object.assign(record, amount);
  if (reasoningTokens !== undefined) record.reasoningTokens = reasoningTokens;
  if (estimated !== undefined) record.estimated = estimated;
  if (odd.length > 0) record.oddUsage = odd;
}
