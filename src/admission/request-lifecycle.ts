/**
 * One request, from its headers to its end. docs/explanation/request-lifecycle.md has the picture, with the errors and who sends
 * them.
 *
 *   new → receiving → reserving → queued → sent → answering → ended
 *
 * Every state may go straight to `ended`, and does so by `end()` alone. `reserving` and `queued` are passed in no time
 * where nobody has to be asked and a slot is free, and come again when the queue refuses a model and another one is
 * tried. Each phase is an object that exists only while the phase does, so what it needed is let go with it.
 *
 * | event            | new    | receiving  | reserving | queued  | sent   | answering | ended           |
 * |------------------|--------|------------|-----------|---------|--------|-----------|-----------------|
 * | headers          | taken  | –          | –         | –       | –      | –         | –               |
 * | body             | –      | taken      | –         | –       | –      | –         | –               |
 * | a limit's answer |        | taken      | taken     |         |        |           | it goes back    |
 * | released         |        |            |           | taken   |        |           | the slot does   |
 * | expired          |        |            |           | refused |        |           | –               |
 * | response headers | passed | an end (1) | an end    | an end  | taken  | an end    | passed          |
 * | response chunk   | passed | passed     | passed    | passed  | passed | metered   | passed, cut (2) |
 * | response end     | –      | –          | –         | –       | –      | an end    | –               |
 * | tick             | –      | deadlines  | –         | –       | canary | stalled?  | –               |
 * | stream ended     | an end | an end     | an end    | an end  | an end | an end    | –               |
 *
 * 1: Envoy has answered by itself. 2: the meter still takes out what the client did not ask for.
 *
 * Invariants: whatever the order of events, the first terminal event wins; the reservation is settled once, the slot
 * is freed once, one usage record is written, and what comes after the end changes nothing.
 *
 * It is longer than 400 lines because it is one machine: the states are its parts, and each with a name of its own has
 * a file.
 */

import type { ApiError } from '../domain/api-error.ts';
import { BROKE_TWICE, BROKE_TWICE_DETAILS, hasBroken, NO_RETRY_HEADER } from '../domain/broke-twice.ts';
import { LIMITED_HEADER, MODEL_HEADER, UNLISTED_MODEL } from '../domain/names.ts';
import { type FoundRoute, findRoute } from '../domain/routes.ts';
import { textOf } from '../domain/text-of.ts';
import { rateLimited } from '../openai/error-body.ts';
import type { ParsedRequest, RequestFacts } from '../openai/parsed-request.ts';
import type { Release } from '../queue/types.ts';
import type { Reservation } from '../tenant/tenant-limits.ts';
import type { OccupancyEntry } from '../usage/occupancy.ts';
import type { Outcome } from '../usage/usage-record.ts';
import type { Admitted } from './admitted.ts';
import type { AnswerReading } from './answer-meter.ts';
import { errorResponse, rateLimitHeaders } from './answers.ts';
import { type Bill, NO_BILL } from './bill.ts';
import type { Edge, HeaderList, RequestEvents, RequestHead, ResponseHead } from './edge.ts';
import { prioritised, sendOnOf } from './engine-request.ts';
import { EngineRun } from './engine-run.ts';
import type { Holding } from './holdings.ts';
import type { LifecycleContext, RequestTenant } from './lifecycle-context.ts';
import type { Reserved } from './model-limits.ts';
import { type ExpiryReason, HOLD_MARGIN_MS, Queued, type QueuedOwner } from './queued.ts';
import { Receiving, type ReceivingOwner, type RequestTaken, takeRequest } from './receiving.ts';
import * as refusals from './refusals.ts';
import { type Ending, idsOf, NO_IDS, recordEnd, traceSent } from './request-record.ts';
import { type Attempt, type Refusal, Selecting } from './selecting.ts';
import { whoseRequest } from './tenant-of.ts';

type State =
  | 'new'
  /** Its body is not there yet, or not read. */
  | 'receiving'
  /** Others are asked for the tokens that it will take. */
  | 'reserving'
  | 'queued'
  /** No answer yet. */
  | 'sent'
  | 'answering'
  | 'ended';

/** What the end tells of the engine that had it. */
function engineJudgement(outcome: Outcome, reason: string | undefined): 'well' | 'answered' | 'unanswered' {
  if (outcome === 'completed') return 'well';
  return outcome === 'failed' && reason === 'engine' ? 'answered' : 'unanswered';
}

export class RequestLifecycle implements RequestEvents, ReceivingOwner, QueuedOwner {
  private readonly context: LifecycleContext;
  private readonly edge: Edge;
  /** Says which of the fields below are set. */
  private state: State = 'new';

  // From the headers to the end
  private arrivedMs = 0;
  private ids = NO_IDS;
  private route: FoundRoute | undefined = undefined;
  private tenant: RequestTenant | undefined = undefined;
  /** Envoy waits already: it can be told once. */
  private isHeld = false;

  // receiving
  private receiving: Receiving | undefined = undefined;

  // From the body to the end
  /** The name that the client sent. */
  private askedModel = '';
  /** With the model that serves it, or would have. */
  private facts: RequestFacts | undefined = undefined;

  // From the first time that it was offered to the queue, to the end
  private admitted: Admitted | undefined = undefined;

  // queued
  private queued: Queued | undefined = undefined;

  // sent, answering; and after the end, for what is left of the answer
  private run: EngineRun | undefined = undefined;

  // Accounts, each closed once
  private holding: Holding | undefined = undefined;
  private reservation: Reservation | undefined = undefined;
  private occupancy: OccupancyEntry | undefined = undefined;

  // For the record
  private status: number | undefined = undefined;
  private queueMs = 0;

  constructor(context: LifecycleContext, edge: Edge) {
    this.context = context;
    this.edge = edge;
  }

  // --- Events of the wire ---

  headers(head: RequestHead, nowMs: number): void {
    if (this.state !== 'new') return;
    this.arrivedMs = nowMs;
    const { routes, attribution } = this.context.config();
    this.ids = idsOf(head, attribution, this.context.trace?.(head));
    this.route = findRoute(routes, head.method, head.path);
    const unknown = (): ApiError => refusals.unknownRoute(routes);
    const { tenant, refusal } = whoseRequest(this.context, head, this.route?.name, nowMs, unknown);
    this.tenant = tenant;
    if (refusal !== undefined) this.refuse(refusal, nowMs);
    else if (this.route !== undefined) this.receive(tenant, this.route, head, nowMs);
  }

  /** The whole body. */
  body(bytes: Uint8Array, nowMs: number): void {
    this.receiving?.body(bytes, nowMs);
  }

  responseHeaders(head: ResponseHead, nowMs: number): void {
    this.status = head.status;
    this.holding?.bodyGone();
    if (this.state === 'ended' || this.tenant === undefined) {
      this.edge.passResponseHeaders('none', []);
      return;
    }
    const { details = '' } = head;
    const { run } = this;
    if (run !== undefined && hasBroken(details)) run.brokeOnEndpoints(nowMs);
    const add = this.limitHeaders(nowMs).concat(this.modelHeader());
    if (this.state === 'sent' && run !== undefined) {
      this.answered(run, head, details, add, nowMs);
      return;
    }
    // Envoy's own answer to a request that never got to an engine: too large a body, a broken upload.
    this.edge.passResponseHeaders('none', add);
    this.end('refused', `envoy-${head.status}`, undefined, nowMs);
  }

  responseChunk(bytes: Uint8Array, endOfStream: boolean, nowMs: number): void {
    // The meter also cuts: it goes on after the end, until the last byte.
    const { run } = this;
    this.edge.passChunk(run?.push(bytes, endOfStream, nowMs));
    if (this.state === 'answering') run?.chunkPassed(bytes.length, nowMs);
    if (endOfStream || run?.isFinished() === true) this.responseComplete(nowMs);
  }

  /** Trailers, or anything else that proves that the answer was complete. */
  responseComplete(nowMs: number): void {
    const { run } = this;
    if (this.state !== 'answering' || run === undefined) return;
    const reading = run.reading(true, nowMs);
    if (reading?.errorFrame === true) {
      // It may be the request's fault as well as the endpoint's.
      run.blamesNobody();
      this.end('failed', 'engine', reading, nowMs);
    } else {
      run.completed();
      this.end('completed', undefined, reading, nowMs);
    }
  }

  /** Time has passed without a message: an upload may be too slow, and a client may have stopped reading. */
  tick(nowMs: number): void {
    this.receiving?.tick(nowMs);
    if (this.state === 'sent' || this.state === 'answering') this.run?.tick(nowMs);
  }

  /** The stream is gone, for whatever reason. */
  streamEnded(nowMs: number): void {
    this.holding?.gone();
    const { run } = this;
    switch (this.state) {
      case 'ended':
        return;
      case 'answering':
        // Whoever broke it off: it is not seen here.
        run?.blamesNobody();
        this.end('aborted', 'streaming', run?.reading(false, nowMs), nowMs);
        return;
      case 'sent':
        // The engine has begun, or may have.
        this.end('aborted', 'before-first-token', run?.unseen(nowMs), nowMs);
        return;
      case 'queued':
        this.queueMs = nowMs - (this.queued?.sinceMs ?? nowMs);
        this.end('aborted', 'queued', undefined, nowMs);
        return;
      case 'new':
      case 'receiving':
      case 'reserving':
        this.end('aborted', 'upload', undefined, nowMs);
    }
  }

  /** Whether nothing can come any more that would change anything. */
  ended(): boolean {
    return this.state === 'ended';
  }

  // --- receiving ---

  private receive(tenant: RequestTenant, route: FoundRoute, head: RequestHead, nowMs: number): void {
    this.state = 'receiving';
    this.receiving = new Receiving(this.context, this, tenant, route, head);
    const taken = takeRequest(route, tenant, nowMs);
    if (!(taken instanceof Promise)) this.requestTaken(taken, nowMs);
    else this.whenKnown(taken.then((late) => this.requestTaken(late, this.context.now())));
  }

  private requestTaken(taken: RequestTaken, nowMs: number): void {
    if (this.state !== 'receiving') return;
    if (taken.kind !== 'taken') {
      this.refuse(rateLimited('requests', taken), nowMs);
    } else this.receiving?.begin(this.arrivedMs, nowMs);
  }

  holds(holding: Holding): void {
    this.holding = holding;
  }

  waitsForRoom(forMs: number): void {
    this.edge.hold(forMs + HOLD_MARGIN_MS);
  }

  mayUpload(): void {
    this.edge.passHeaders();
  }

  takesLonger(moreMs: number): void {
    if (this.isHeld) return;
    this.isHeld = true;
    this.edge.hold(this.context.config().queue.maxWaitMs + HOLD_MARGIN_MS + moreMs);
  }

  received(receiving: Receiving, request: ParsedRequest, nowMs: number): void {
    const { tenant } = this;
    if (this.state !== 'receiving' || tenant === undefined) return;
    this.receiving = undefined;
    this.askedModel = request.model;
    const selecting = new Selecting(this.context, tenant, receiving, request);
    this.attempt(selecting, selecting.first(), nowMs);
  }

  // --- reserving. The phase is an argument, not a field: nothing of it outlives it. ---

  private attempt(selecting: Selecting, next: Attempt | Refusal, nowMs: number): void {
    this.facts = next.facts;
    if (next.kind === 'refusal') {
      this.refuse(next.error, nowMs);
      return;
    }
    this.state = 'reserving';
    this.tenant = next.limited;
    const answer = selecting.reserve(next, nowMs);
    if (!(answer instanceof Promise)) this.reserved(selecting, next, answer, nowMs);
    else this.whenKnown(answer.then((late) => this.reserved(selecting, next, late, this.context.now())));
  }

  private reserved(selecting: Selecting, attempt: Attempt, result: Reserved, nowMs: number): void {
    if (this.state !== 'reserving') {
      if (result.kind === 'reserved') result.reservation.settle(0, nowMs);
      return;
    }
    if (result.kind !== 'reserved') {
      this.refuse(refusals.reservationRefusal(result, attempt), nowMs);
      return;
    }
    const { reservation } = result;
    this.reservation = reservation;
    const { admitted, fields, body } = selecting.admit(attempt, reservation, this.edge.keepsBody, nowMs);
    this.admitted = admitted;
    this.occupancy = this.context.occupancy.open(admitted.tenant, admitted.facts.model);
    const queued = new Queued(this, fields, body, nowMs);
    this.queued = queued;
    this.state = 'queued';
    const offer = this.context.dispatcher.offer(queued, nowMs);
    if (offer.kind === 'queued') {
      queued.waits(offer.ticket);
      this.occupancy?.enter('queued');
      this.takesLonger(0);
    } else if (offer.kind === 'refused') {
      this.queued = undefined;
      const next = selecting.afterRefusal(attempt, offer, nowMs);
      if (next.kind === 'attempt') this.closeAccounts(0, NO_BILL, nowMs);
      this.attempt(selecting, next, nowMs);
    }
  }

  // --- queued ---

  /** By the dispatcher: it has a slot. */
  released(queued: Queued, release: Release, nowMs: number): void {
    const { admitted } = this;
    if (this.queued !== queued || admitted === undefined) {
      release.slot.ended({ broken: 'client' }, nowMs);
      release.settle(0, nowMs);
      release.free(nowMs);
      return;
    }
    this.queued = undefined;
    this.occupancy?.enter('inFlight');
    this.queueMs = release.waitedMs;
    this.run = new EngineRun(this.context, admitted, release, nowMs);
    this.state = 'sent';
    const body = prioritised(queued.body, release.belowFairShare);
    const trace = traceSent(this.ids, nowMs - this.arrivedMs);
    this.edge.sendOn(sendOnOf(body, this.run, this.run.mirrorTo(nowMs), trace));
  }

  /** By the dispatcher: it will not get one. */
  expired(queued: Queued, reason: ExpiryReason, waitedMs: number, nowMs: number): void {
    if (this.queued !== queued) return;
    this.queueMs = waitedMs;
    const retryAfterMs = this.context.dispatcher.retryAfterMs(queued.pool);
    const model = queued.demand.model ?? '';
    this.refuse(refusals.expiryRefusal(reason, { model, waitedMs, retryAfterMs }), nowMs);
  }

  // --- sent ---

  private answered(
    run: EngineRun,
    head: ResponseHead,
    details: string,
    add: HeaderList,
    nowMs: number,
  ): void {
    const { edge } = this;
    if (details === BROKE_TWICE_DETAILS) {
      run.brokeTwice();
      this.end('failed', 'broke-twice', undefined, nowMs);
      edge.respond(errorResponse(this.route?.name, BROKE_TWICE, [...add, NO_RETRY_HEADER]));
      return;
    }
    run.answered(head, nowMs);
    const error = run.replacementOf(head);
    if (error !== undefined) {
      this.status = error.status;
      this.end('failed', 'engine', undefined, nowMs);
      edge.respond(errorResponse(this.route?.name, error, add));
      return;
    }
    if (head.status >= 400) {
      edge.passResponseHeaders('none', add);
      this.end('failed', head.upstream === '' ? 'envoy' : 'engine', undefined, nowMs);
      return;
    }
    this.state = 'answering';
    run.answerBegins(head, nowMs);
    edge.passResponseHeaders(head.endOfStream ? 'none' : 'stream', add);
    if (head.endOfStream) this.end('completed', undefined, run.reading(true, nowMs), nowMs);
  }

  // --- The end ---

  refuse(refusal: ApiError, nowMs: number): void {
    const isPicker = this.context.config().picker !== undefined;
    const error = refusals.toldRefusal(refusal, this.isLimited(), isPicker);
    this.status = error.status;
    this.end('refused', refusals.reasonOf(error), undefined, nowMs);
    this.holding?.gone();
    // After the end: what the request had reserved is back, and the headers say so.
    this.edge.respond(errorResponse(this.route?.name, error, this.limitHeaders(nowMs)));
  }

  /** The only way out. */
  private end(
    outcome: Outcome,
    reason: string | undefined,
    reading: AnswerReading | undefined,
    nowMs: number,
  ): void {
    if (this.state === 'ended') return;
    this.state = 'ended';
    const { run, holding, queued } = this;
    this.receiving?.cancel();
    const used = reading?.usage;
    const bill = run?.bill(reading, nowMs) ?? NO_BILL;
    this.closeAccounts(used === undefined ? 0 : used.promptTokens + used.completionTokens, bill, nowMs);
    if (outcome === 'completed' && reading !== undefined) run?.learn(reading);
    this.record({ outcome, reason, reading, bill }, nowMs);
    run?.judgeCanary(outcome, this.status, reading?.errorFrame === true, nowMs);
    this.receiving = undefined;
    this.queued = undefined;
    run?.tellResult(nowMs);
    if (holding?.hasRoom() === false) holding.gone();
    // Last: a free slot or place lets another request go, and that one must find this one's account closed.
    run?.free(reading, engineJudgement(outcome, reason), nowMs);
    queued?.leave(nowMs);
  }

  /** @param bill what it cost, in money. */
  private closeAccounts(usedTokens: number, bill: Bill, nowMs: number): void {
    this.occupancy?.leave();
    this.occupancy = undefined;
    this.reservation?.settle(usedTokens, nowMs, bill.price);
    this.reservation = undefined;
  }

  private record(ending: Ending, nowMs: number): void {
    const { context, route, facts, askedModel: asked, run, ids, status, arrivedMs, queueMs } = this;
    const [tenant, lane] = [this.tenant?.config, this.admitted?.lane.name];
    if (tenant === undefined || route === undefined) return;
    const request = { ids, tenant, route, facts, asked, lane, run, status, arrivedMs, queueMs };
    recordEnd(context, request, ending, nowMs);
  }

  // --- Shared by the states ---

  /** A bug in what comes of an answer costs the request. */
  private whenKnown(done: Promise<void>): void {
    done.catch((error: unknown) => this.context.onBug(textOf(error)));
  }

  private isLimited(): boolean {
    return this.tenant !== undefined && this.context.quarantine.isLimited(this.tenant.config.name);
  }

  private limitHeaders(nowMs: number): HeaderList {
    if (this.tenant === undefined) return [];
    const headers = rateLimitHeaders(this.tenant.limits, nowMs);
    return this.isLimited() ? [...headers, [LIMITED_HEADER, 'engines-died']] : headers;
  }

  /** Who served it, when the client asked for another. */
  private modelHeader(): HeaderList {
    const { run, facts, askedModel } = this;
    const model = facts?.model ?? askedModel;
    if (run === undefined || model === askedModel || model === UNLISTED_MODEL) return [];
    return [[MODEL_HEADER, model.replace(/[^\x20-\x7e]+/gu, encodeURIComponent)]];
  }
}

export const createRequestLifecycle = (context: LifecycleContext, edge: Edge): RequestLifecycle =>
  new RequestLifecycle(context, edge);
