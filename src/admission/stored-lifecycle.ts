/**
 * One request for a response that an engine has stored: to read, delete or cancel it, or to list its input.
 *
 *   new → checking → queued → sent → answering → ended
 *
 * It has no body, no model and no tokens; it is a request of its tenant's limits all the same, and waits in the queue
 * like others, for no place in the engine's batch. It goes to the engine that has the response, or nowhere. An id that
 * is another tenant's is an unknown one, word for word.
 *
 * Invariants: the first terminal event wins; the slot is freed once; one usage record is written, with no tokens: what a
 * stored answer took was charged when it was made.
 */

import type { ResponseOwner } from '../conversation/response-owners.ts';
import type { FoundOwner } from '../conversation/shared-owners.ts';
import type { ApiError } from '../domain/api-error.ts';
import { BROKE_TWICE_DETAILS } from '../domain/broke-twice.ts';
import { type StoredRoute, storedRouteOf } from '../domain/routes.ts';
import { textOf } from '../domain/text-of.ts';
import { queueFull, rateLimited, responseNotFound } from '../openai/error-body.ts';
import { laneFor } from '../queue/lane-rules.ts';
import type { Release } from '../queue/types.ts';
import type { Outcome } from '../usage/usage-record.ts';
import { errorResponse, rateLimitHeaders } from './answers.ts';
import { NO_BILL } from './bill.ts';
import type { Edge, HeaderList, RequestEvents, RequestHead, ResponseHead } from './edge.ts';
import { resultOf } from './engine-answer.ts';
import { sendOnOf } from './engine-request.ts';
import { type Holding, holdingLimitsOf } from './holdings.ts';
import type { LifecycleContext, RequestTenant } from './lifecycle-context.ts';
import { isElsewhere, pinnedAddresses, pinnedTo, refusalOfOwner } from './owned.ts';
import { type ExpiryReason, HOLD_MARGIN_MS, Queued, type QueuedOwner } from './queued.ts';
import * as refusals from './refusals.ts';
import { idsOf, NO_IDS, recordEnd, traceSent } from './request-record.ts';
import { whoseRequest } from './tenant-of.ts';

type State = 'new' | 'checking' | 'queued' | 'sent' | 'answering' | 'ended';

export class StoredLifecycle implements RequestEvents, QueuedOwner {
  private readonly context: LifecycleContext;
  private readonly edge: Edge;
  private readonly route: StoredRoute;
  /** As it came. */
  private readonly id: string;
  /** Says which of the fields below are set. */
  private state: State = 'new';

  // From the headers to the end
  private arrivedMs = 0;
  private ids = NO_IDS;
  private tenant: RequestTenant | undefined = undefined;
  private holding: Holding | undefined = undefined;

  // From the moment that its owner is known
  private owner: ResponseOwner | undefined = undefined;
  private lane: string | undefined = undefined;
  private queued: Queued | undefined = undefined;
  private release: Release | undefined = undefined;

  // For the record
  private status: number | undefined = undefined;
  private queueMs = 0;

  constructor(context: LifecycleContext, edge: Edge, route: StoredRoute, id: string) {
    this.context = context;
    this.edge = edge;
    this.route = route;
    this.id = id;
  }

  // --- Events of the wire ---

  headers(head: RequestHead, nowMs: number): void {
    if (this.state !== 'new') return;
    this.state = 'checking';
    this.arrivedMs = nowMs;
    this.ids = idsOf(head, this.context.config().attribution, this.context.trace?.(head));
    const { tenant, refusal } = whoseRequest(this.context, head, this.route, nowMs);
    this.tenant = tenant;
    if (refusal !== undefined) this.refuse(refusal, nowMs);
    else if (!head.endOfStream) this.refuse(refusals.bodyNotTaken(), nowMs);
    else {
      const taken = tenant.limits.takeRequest(nowMs);
      if (!(taken instanceof Promise)) this.requestTaken(tenant, head, taken, nowMs);
      else this.whenKnown(taken.then((late) => this.requestTaken(tenant, head, late, this.context.now())));
    }
  }

  /** It was refused for having one. */
  body(): void {}

  tick(): void {}

  responseHeaders(head: ResponseHead, nowMs: number): void {
    this.status = head.status;
    const { owner, release, tenant } = this;
    if (this.state !== 'sent' || owner === undefined || release === undefined) {
      this.edge.passResponseHeaders('none', []);
      if (tenant !== undefined) this.end('refused', `envoy-${head.status}`, nowMs);
      return;
    }
    const { upstream, status } = head;
    const isBroken = head.details === BROKE_TWICE_DETAILS;
    if (upstream !== '') release.slot.moveTo(upstream, nowMs);
    release.slot.ended(isBroken ? { broken: 'reset' } : resultOf(head), nowMs);
    if (isElsewhere(owner, upstream)) {
      const error = refusals.responseUnavailable();
      this.status = error.status;
      this.end('failed', 'engine', nowMs);
      this.edge.respond(errorResponse(undefined, error, this.limitHeaders(nowMs)));
      return;
    }
    if (this.route === 'responses.delete' && status >= 200 && status < 300) {
      this.context.owners?.forget(this.id, owner);
    }
    const goesOn = !head.endOfStream && status < 400;
    this.edge.passResponseHeaders(goesOn ? 'stream' : 'none', this.limitHeaders(nowMs));
    if (goesOn) this.state = 'answering';
    else if (status < 400) this.end('completed', undefined, nowMs);
    else if (isBroken) this.end('failed', 'broke-twice', nowMs);
    else this.end('failed', upstream === '' ? 'envoy' : 'engine', nowMs);
  }

  responseChunk(_bytes: Uint8Array, endOfStream: boolean, nowMs: number): void {
    this.edge.passChunk(undefined);
    if (endOfStream) this.responseComplete(nowMs);
  }

  responseComplete(nowMs: number): void {
    if (this.state === 'answering') this.end('completed', undefined, nowMs);
  }

  streamEnded(nowMs: number): void {
    this.holding?.gone();
    if (this.queued !== undefined) this.queueMs = nowMs - this.queued.sinceMs;
    if (this.state === 'new') this.state = 'ended';
    else this.end('aborted', this.abortReason(), nowMs);
  }

  private abortReason(): string {
    if (this.state === 'answering') return 'streaming';
    return this.state === 'sent' ? 'before-first-token' : 'queued';
  }

  // --- checking ---

  private requestTaken(
    tenant: RequestTenant,
    head: RequestHead,
    taken: Awaited<ReturnType<RequestTenant['limits']['takeRequest']>>,
    nowMs: number,
  ): void {
    if (this.state !== 'checking') return;
    if (taken.kind !== 'taken') {
      this.refuse(rateLimited('requests', taken), nowMs);
      return;
    }
    const { context } = this;
    const { name, limits } = tenant.config;
    if (context.dispatcher.isFullFor(name, nowMs)) {
      this.refuse(queueFull('tenant', context.dispatcher.retryAfterMs()), nowMs);
      return;
    }
    const held = context.holdings.take(name, 0, holdingLimitsOf(limits, context.config()));
    if (typeof held === 'string') {
      this.refuse(refusals.holdingRefusal(held, context.dispatcher.retryAfterMs()), nowMs);
      return;
    }
    this.holding = held;
    const found = context.owners?.find(name, this.id, nowMs);
    if (!(found instanceof Promise)) this.ownerFound(head, found, nowMs);
    else this.whenKnown(found.then((late) => this.ownerFound(head, late, context.now())));
  }

  private ownerFound(head: RequestHead, found: FoundOwner, nowMs: number): void {
    if (this.state !== 'checking') return;
    const refusal = refusalOfOwner(this.context, found, this.id, responseNotFound, this.tenant?.config);
    if (refusal !== undefined) this.refuse(refusal, nowMs);
    else if (typeof found === 'object') this.enqueue(pinnedTo(head, found), found, nowMs);
  }

  private enqueue({ within, header }: RequestHead, owner: ResponseOwner, nowMs: number): void {
    const { context, tenant } = this;
    if (tenant === undefined || within === undefined) return;
    const { name, tier } = tenant.config;
    const lane = laneFor(context.config().queue.lanes, {
      tenant: name,
      tier,
      model: owner.model,
      route: 'responses',
      promptTokens: 0,
      maxOutputTokens: 0,
      header,
    });
    this.owner = owner;
    this.lane = lane.name;
    const demand = { sequences: 0, promptTokens: 0, totalTokens: 0, streamed: false, within };
    const queued = new Queued(
      this,
      { tenant: name, pool: owner.pool, lane: lane.name, bytes: 0, cost: 0, demand },
      { parts: undefined, priority: undefined },
      nowMs,
    );
    this.queued = queued;
    this.state = 'queued';
    const offer = context.dispatcher.offer(queued, nowMs);
    if (offer.kind === 'queued') {
      queued.waits(offer.ticket);
      this.edge.hold(context.config().queue.maxWaitMs + HOLD_MARGIN_MS);
    } else if (offer.kind === 'refused') {
      this.queued = undefined;
      const isGone = offer.reason === 'no-endpoint';
      this.refuse(isGone ? refusals.responseUnavailable() : refusals.queueRefusal(offer, ''), nowMs);
    }
  }

  // --- queued ---

  released(queued: Queued, release: Release, nowMs: number): void {
    const { owner } = this;
    if (this.queued !== queued || owner === undefined) {
      release.slot.ended({ broken: 'client' }, nowMs);
      release.settle(0, nowMs);
      release.free(nowMs);
      return;
    }
    this.queued = undefined;
    this.queueMs = release.waitedMs;
    this.release = release;
    this.state = 'sent';
    const trace = traceSent(this.ids, nowMs - this.arrivedMs);
    const to = { pool: release.pool, addresses: pinnedAddresses(owner) };
    this.edge.sendOn(sendOnOf(undefined, to, undefined, trace));
  }

  expired(queued: Queued, reason: ExpiryReason, waitedMs: number, nowMs: number): void {
    if (this.queued !== queued) return;
    this.queueMs = waitedMs;
    const retryAfterMs = this.context.dispatcher.retryAfterMs(queued.pool);
    const isGone = reason === 'no-endpoint';
    this.refuse(
      isGone
        ? refusals.responseUnavailable()
        : refusals.expiryRefusal(reason, { model: '', waitedMs, retryAfterMs }),
      nowMs,
    );
  }

  // --- The end ---

  private refuse(error: ApiError, nowMs: number): void {
    this.status = error.status;
    this.end('refused', refusals.reasonOf(error), nowMs);
    this.holding?.gone();
    this.edge.respond(errorResponse(undefined, error, this.limitHeaders(nowMs)));
  }

  private end(outcome: Outcome, reason: string | undefined, nowMs: number): void {
    if (this.state === 'ended') return;
    this.state = 'ended';
    const { queued, release, tenant, ids, route, lane, status, arrivedMs, queueMs } = this;
    this.queued = undefined;
    if (tenant !== undefined) {
      const run = release && {
        pool: release.pool,
        endpoint: this.context.nameAt(release.pool, release.slot.address),
        address: release.slot.address,
        belowFairShare: release.belowFairShare,
        isStalled: false,
        engine: this.context.engineAt?.(release.pool, release.slot.address),
      };
      recordEnd(
        this.context,
        {
          ids,
          tenant: tenant.config,
          route: { name: route },
          facts: undefined,
          asked: '',
          lane,
          run,
          status,
          arrivedMs,
          queueMs,
        },
        { outcome, reason, reading: undefined, bill: NO_BILL },
        nowMs,
      );
    }
    // The client left before the engine answered: nothing is known of the endpoint.
    release?.slot.ended({ broken: 'client' }, nowMs);
    release?.settle(0, nowMs);
    // Last: they let another request go.
    release?.free(nowMs);
    queued?.leave(nowMs);
  }

  private whenKnown(done: Promise<void>): void {
    done.catch((error: unknown) => this.context.onBug(textOf(error)));
  }

  private limitHeaders(nowMs: number): HeaderList {
    return this.tenant === undefined ? [] : rateLimitHeaders(this.tenant.limits, nowMs);
  }
}

/** Undefined: it asks for no stored response. */
export function storedRequestOf(
  context: LifecycleContext,
  edge: Edge,
  { method, path }: RequestHead,
): StoredLifecycle | undefined {
  const stored = storedRouteOf(method, path);
  return stored && new StoredLifecycle(context, edge, stored.route, stored.id);
}
