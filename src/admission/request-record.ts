/** The usage record of a request that has ended. Pure. */

import type { AttributionConfig } from '../config/attribution.ts';
import type { Mutable } from '../domain/mutable.ts';
import { CLIENT_ID_BYTES, UNLISTED_MODEL } from '../domain/names.ts';
import type { CustomRoute, EngineRoute, StoredRoute } from '../domain/routes.ts';
import type { RequestFacts } from '../openai/parsed-request.ts';
import { tagOf } from '../usage/tags.ts';
import type { Outcome, UsageRecord } from '../usage/usage-record.ts';
import type { AnswerReading } from './answer-meter.ts';
import type { Bill } from './bill.ts';
import type { RequestHead } from './edge.ts';

export type RequestIds = Pick<UsageRecord, 'requestId' | 'clientRequestId' | 'keyId' | 'tag'>;

export const NO_IDS: RequestIds = { requestId: '' };

/** Of visible ASCII, and bounded: it is the client's. */
export function idsOf(head: RequestHead, attribution?: AttributionConfig): RequestIds {
  const { requestId, clientRequestId = '', keyId } = head;
  const ids: Mutable<RequestIds> = { requestId };
  if (clientRequestId !== '') {
    ids.clientRequestId = clientRequestId.slice(0, CLIENT_ID_BYTES).replace(/[^\x20-\x7e]/gu, '?');
  }
  if (keyId !== undefined && keyId !== '') ids.keyId = keyId;
  const tag = attribution?.by === 'header' ? tagOf(head.header(attribution.header)) : undefined;
  if (tag !== undefined) ids.tag = tag;
  return ids;
}

/** Whether its model has a name that may be repeated: one that exists, or the one of all that do not. */
export const isNamed = (
  catalog: { poolOf(model: string): string | undefined },
  facts: RequestFacts | undefined,
): boolean =>
  facts !== undefined && (facts.model === UNLISTED_MODEL || catalog.poolOf(facts.model) !== undefined);

/** What is known of the request: the later it ended, the more. */
export interface EndedRequest {
  readonly ids: RequestIds;
  readonly tenant: string;
  readonly route: { readonly name: EngineRoute | StoredRoute; readonly custom?: CustomRoute };
  /** Once its body was read. */
  readonly facts: RequestFacts | undefined;
  /** Its model exists: a client's invention is not repeated. */
  readonly isModelKnown: boolean;
  /** Once a model was selected that could be reserved for. */
  readonly lane: string | undefined;
  /** Once it was sent. */
  readonly run:
    | {
        readonly pool: string;
        readonly endpoint: string;
        readonly belowFairShare: boolean;
        readonly isStalled: boolean;
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

export function recordOf(request: EndedRequest, ending: Ending, nowMs: number): UsageRecord {
  const { ids, route, facts, lane, run, status, arrivedMs } = request;
  const { reason, reading, bill } = ending;
  const usage = reading?.usage;
  const record: Mutable<UsageRecord> = {
    requestId: ids.requestId,
    tenant: request.tenant,
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
  if (ids.keyId !== undefined) record.keyId = ids.keyId;
  const tag = ids.tag ?? facts?.tag;
  if (tag !== undefined) record.tag = tag;
  if (route.custom !== undefined) record.customRoute = route.custom.name;
  if (facts !== undefined && request.isModelKnown) record.model = facts.model;
  if (run !== undefined) {
    record.pool = run.pool;
    record.endpoint = run.endpoint;
  }
  if (lane !== undefined) record.lane = lane;
  if (reason !== undefined) record.reason = reason;
  if (status !== undefined) record.status = status;
  if (reading !== undefined) noteReading(record, reading, arrivedMs);
  noteBill(record, bill);
  return record;
}

function noteBill(record: Mutable<UsageRecord>, { price, cost, gpuSeconds }: Bill): void {
  if (price !== undefined) record.price = price;
  if (cost !== undefined) record.cost = cost;
  if (gpuSeconds !== undefined) record.gpuSeconds = gpuSeconds;
}

function noteReading(record: Mutable<UsageRecord>, reading: AnswerReading, arrivedMs: number): void {
  const { firstTokenMs, itl, amount, estimated, odd } = reading;
  if (firstTokenMs !== undefined) record.ttftMs = firstTokenMs - arrivedMs;
  if (itl !== undefined) {
    record.itlMeanMs = itl.meanMs;
    record.itlMaxMs = itl.maxMs;
  }
  if (amount !== undefined) Object.assign(record, amount);
  if (estimated !== undefined) record.estimated = estimated;
  if (odd.length > 0) record.oddUsage = odd;
}
