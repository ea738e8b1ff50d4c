/**
 * What would become of a request now: a dry run of its life cycle, which takes nothing, queues nowhere and is not
 * recorded. The same code decides, so what is explained is what would be done.
 */

import type { SharedOwners } from '../conversation/shared-owners.ts';
import type { Dispatcher, Offer, QueueReport } from '../queue/types.ts';
import type { Rollouts } from '../rollout/rollouts.ts';
import { withNames } from '../routing/explain.ts';
import type { BucketView } from '../tenant/bucket.ts';
import type { BudgetView, RequestLimits, Reservation } from '../tenant/tenant-limits.ts';
import { createOccupancy } from '../usage/occupancy.ts';
import { codingOf } from './content-coding.ts';
import type { DirectResponse, Edge } from './edge.ts';
import { Holdings } from './holdings.ts';
import type { LifecycleContext, RequestTenant } from './lifecycle-context.ts';
import { createRequestLifecycle } from './request-lifecycle.ts';

export interface Question {
  readonly tenant: string;
  /** Absent: POST. */
  readonly method?: string;
  /** Path of the API, for example `/v1/chat/completions`. */
  readonly path: string;
  readonly body: Uint8Array;
  /** Value of a header by its lower-case name; empty when absent. */
  readonly header: (name: string) => string;
}

/** Of the tenant's buckets; absent where it has no such limit. */
export interface LimitViews {
  readonly requests?: BucketView;
  readonly tokens?: BucketView;
  readonly month?: BucketView;
  /** In 10^-9 of its currency's unit. */
  readonly budget?: BudgetView;
}

export interface Placed {
  readonly kind: 'placed';
  readonly tenant: string;
  /** As the client names it. */
  readonly asked: string;
  /** That serves it: the one that was asked for, its canary, or a fallback. */
  readonly model: string;
  readonly pool: string;
  readonly lane: string;
  readonly promptTokens: number;
  /** Prompt and predicted output, of all sequences. */
  readonly totalTokens: number;
  readonly sequences: number;
  /** Weighted tokens. */
  readonly cost: number;
  readonly limits: LimitViews;
  readonly queue: QueueReport;
}

export type Explanation =
  | {
      readonly kind: 'refused';
      readonly tenant: string;
      readonly status: number;
      /** As metrics and records have it: the code of the error, or which limit. */
      readonly reason: string;
      /** Until it would be worth another try; absent where waiting does not help. */
      readonly retryAfterMs?: number;
      readonly limits: LimitViews;
      /** As the client would get it. */
      readonly body: string;
      /** Where it was refused: absent if that was before any endpoint was looked at. */
      readonly tried?: Placed;
    }
  | Placed;

type ExplainedLimits = RequestTenant['limits'] & Pick<RequestLimits, 'wouldTakeRequest' | 'wouldReserve'>;

/** A tenant, and what would become of its requests. */
interface ExplainedTenant extends RequestTenant {
  readonly limits: ExplainedLimits;
}

/** A request that was offered, and what the queue would make of it. */
interface Offered {
  readonly waiting: Parameters<Dispatcher['offer']>[0];
  readonly queue: QueueReport;
}

const RESERVED: Reservation = { tokens: 0, charge: () => undefined, settle: () => undefined };
/** Refuses as the tenant's own limits would, and takes nothing. */
const dryLimits = (limits: ExplainedLimits): RequestLimits => ({
  takeRequest: (nowMs) => limits.wouldTakeRequest(nowMs),
  reserveTokens(...asked) {
    const would = limits.wouldReserve(...asked);
    return would.kind === 'fits' ? { kind: 'reserved', reservation: RESERVED } : would;
  },
  returnRequest: () => undefined,
  wouldTakeRequest: (nowMs) => limits.wouldTakeRequest(nowMs),
  wouldReserve: (...asked) => limits.wouldReserve(...asked),
  requests: () => undefined,
  tokens: () => undefined,
  month: () => undefined,
  budget: () => undefined,
  within: (keyId, model) => dryLimits(limits.within?.(keyId, model) ?? limits),
  ofModel(model) {
    const one = limits.ofModel?.(model);
    return one && dryLimits(one);
  },
});
const NO_BOUND = {
  maxOpen: Number.POSITIVE_INFINITY,
  maxHeldBytes: Number.POSITIVE_INFINITY,
  maxWaitingBytes: Number.POSITIVE_INFINITY,
};
const QUEUED: Offer = { kind: 'queued', ticket: { cancel: () => true } };

/** What a request is explained by: what it is handled by, and what can say what would be. */
export interface ExplainContext extends LifecycleContext {
  readonly tenants: { get(name: string): ExplainedTenant | undefined };
  readonly rollouts: Pick<Rollouts, 'assign' | 'wouldServe'>;
  readonly dispatcher: LifecycleContext['dispatcher'] & Pick<Dispatcher, 'explain'>;
  readonly owners?: NonNullable<LifecycleContext['owners']> & Pick<SharedOwners, 'findHere'>;
}

/** A request's life cycle without consequences, and what it came to. */
class DryRun implements Edge {
  readonly keepsBody = true;
  /** In the order of the models that were tried. */
  readonly offered: Offered[] = [];
  /** The model's name, as the client wrote it. */
  asked = '';
  refused: DirectResponse | undefined = undefined;
  /** As its record would have it. */
  reason: string | undefined = undefined;
  private readonly context: ExplainContext;
  private readonly nowMs: number;

  constructor(context: ExplainContext, nowMs: number) {
    this.context = context;
    this.nowMs = nowMs;
  }

  run({ tenant, method = 'POST', path, body, header }: Question): void {
    const request = createRequestLifecycle(this.dryContext(tenant), this);
    const requestId = 'explain';
    const contentLength = body.length;
    // The body is text: decoded already, whatever its client will send it as.
    const ofText = (name: string): string =>
      name === 'content-encoding' && codingOf(header(name)) !== undefined ? '' : header(name);
    const endOfStream = body.length === 0;
    request.headers(
      { method, path, tenant, keyId: '', requestId, contentLength, endOfStream, header: ofText },
      this.nowMs,
    );
    if (!endOfStream) request.body(body, this.nowMs);
    request.streamEnded(this.nowMs);
  }

  respond(response: DirectResponse): void {
    this.refused = response;
  }

  passHeaders(): void {}
  hold(): void {}
  sendOn(): void {}
  passResponseHeaders(): void {}
  passChunk(): void {}

  /** Without `bodies`, so that a large body is read at once too: the answer is wanted now. */
  private dryContext(ofTenant: string): LifecycleContext {
    const { context, nowMs } = this;
    const { catalog, dispatcher } = context;
    return {
      config: () => context.config(),
      tenants: {
        get(name) {
          const known = context.tenants.get(name);
          return known && { config: known.config, limits: dryLimits(known.limits) };
        },
      },
      rollouts: { assign: (model, asker, usable) => this.assign(model, asker, usable) },
      catalog: {
        choose: (tenant, name, reasonAgainst) => {
          this.asked = name;
          return catalog.choose(tenant, name, reasonAgainst);
        },
        poolOf: (model) => catalog.poolOf(model),
        poolsForUnlisted: (name) => catalog.poolsForUnlisted(name),
        adapterOf: (model) => catalog.adapterOf(model),
        costOf: (model) => catalog.costOf(model),
        isDiscovering: () => catalog.isDiscovering(),
        modelsOf: (tenant) => catalog.modelsOf(tenant),
      },
      dispatcher: {
        offer: (waiting) => this.offer(waiting),
        canServe: (pool, within) => dispatcher.canServe(pool, within),
        isFullFor: (tenant, at) => dispatcher.isFullFor(tenant, at),
        retryAfterMs: (pool) => dispatcher.retryAfterMs(pool),
      },
      predictor: context.predictor,
      holdings: this.dryHoldings(ofTenant),
      occupancy: createOccupancy(),
      paces: context.paces,
      quarantine: context.quarantine,
      capabilitiesOf: (pool) => context.capabilitiesOf(pool),
      engineKindOf: (pool) => context.engineKindOf?.(pool),
      nameAt: (pool, address) => context.nameAt(pool, address),
      routingInputsOf: (pool) => context.routingInputsOf?.(pool),
      hashPrompt: (pool, source) => context.hashPrompt?.(pool, source),
      adapterName: (pool, adapter) => context.adapterName?.(pool, adapter),
      // Other replicas are not asked: the answer is wanted now.
      owners: {
        find: (tenant, id, at) => context.owners?.findHere(tenant, id, at),
        remember: () => undefined,
        ended: () => undefined,
        forget: () => undefined,
      },
      hasEndpoint: (pool, address) => context.hasEndpoint?.(pool, address) !== false,
      startedS: context.startedS,
      ...(context.prices !== undefined && { prices: context.prices }),
      ...(context.unixMs !== undefined && { unixMs: context.unixMs }),
      record: ({ reason }) => {
        this.reason ??= reason;
      },
      now: () => nowMs,
      onBug: (detail) => context.onBug(detail),
    };
  }

  /** With as many exchanges of the tenant open as there are. */
  private dryHoldings(tenant: string): Holdings {
    const holdings = new Holdings((error) => {
      throw error;
    });
    for (let i = this.context.holdings.openOf(tenant); i > 0; i -= 1) holdings.take(tenant, 0, NO_BOUND);
    return holdings;
  }

  private assign(...[model, asker, usable]: Parameters<Rollouts['assign']>): ReturnType<Rollouts['assign']> {
    const canary = this.context.rollouts.wouldServe(model, asker, usable);
    if (canary === undefined) return undefined;
    return {
      model: canary,
      ended: () => undefined,
      firstToken: () => undefined,
      slowAfterMs: () => undefined,
    };
  }

  private offer(waiting: Offered['waiting']): Offer {
    const { dispatcher } = this.context;
    const queue = dispatcher.explain(waiting, this.nowMs);
    if (queue === undefined) throw new Error(`there is no pool ${waiting.pool}`);
    this.offered.push({ waiting, queue });
    const { refusal: reason } = queue;
    if (reason === undefined) return QUEUED;
    return { kind: 'refused', reason, retryAfterMs: dispatcher.retryAfterMs(waiting.pool) };
  }
}

/** @throws if the request is neither refused nor placed: a bug. */
export function explainRequest(context: ExplainContext, question: Question, nowMs: number): Explanation {
  const dry = new DryRun(context, nowMs);
  dry.run(question);
  const { refused, reason, offered, asked } = dry;
  if (refused !== undefined) {
    // Of several that refuse it, the client is told of the first.
    const [first] = offered;
    const { status, details, retryAfterMs } = refused;
    return {
      kind: 'refused',
      tenant: question.tenant,
      status,
      reason: reason ?? details,
      ...(retryAfterMs !== undefined && { retryAfterMs: 1_000 * Math.ceil(retryAfterMs / 1_000) }),
      limits: limitsOf(context, question.tenant, nowMs),
      body: refused.body,
      ...(first !== undefined && { tried: placedAt(context, first, asked, nowMs) }),
    };
  }
  const last = offered.at(-1);
  if (last === undefined) throw new Error('the request is neither refused nor offered');
  return placedAt(context, last, asked, nowMs);
}

function limitsOf(context: ExplainContext, tenant: string, nowMs: number, model?: string): LimitViews {
  const own = context.tenants.get(tenant)?.limits;
  // The tightest of the tenant's and its model's, as in the headers of an answer.
  const limits = own?.within?.(undefined, model) ?? own;
  const [requests, tokens, month] = [limits?.requests(nowMs), limits?.tokens(nowMs), limits?.month(nowMs)];
  const budget = limits?.budget?.(nowMs);
  return {
    ...(requests !== undefined && { requests }),
    ...(tokens !== undefined && { tokens }),
    ...(month !== undefined && { month }),
    ...(budget !== undefined && { budget }),
  };
}

function placedAt(
  context: ExplainContext,
  { waiting, queue }: Offered,
  asked: string,
  nowMs: number,
): Placed {
  const { tenant, pool, lane, cost, demand } = waiting;
  return {
    kind: 'placed',
    tenant,
    asked,
    model: demand.model ?? '',
    pool,
    lane,
    promptTokens: demand.promptTokens,
    totalTokens: demand.totalTokens,
    sequences: demand.sequences,
    cost,
    limits: limitsOf(context, tenant, nowMs, demand.model),
    queue: { ...queue, choice: withNames(queue.choice, (address) => context.nameAt(pool, address)) },
  };
}

/** A question as it comes over the wire: `{tenant, method?, path, headers?, body}`, the body as text. */
export function questionOf(
  asked: unknown,
): { readonly kind: 'ok'; readonly question: Question } | { readonly kind: 'bad'; readonly problem: string } {
  const bad = (problem: string) => ({ kind: 'bad', problem }) as const;
  if (typeof asked !== 'object' || asked === null) return bad('the question must be a JSON object');
  const { tenant, method = 'POST', path, body, headers = {} } = asked as Readonly<Record<string, unknown>>;
  if (typeof tenant !== 'string') return bad('tenant must be a string');
  if (typeof method !== 'string') return bad('method must be a string');
  if (typeof path !== 'string') return bad('path must be a string');
  if (typeof body !== 'string') return bad('body must be a string: the text of the request');
  if (typeof headers !== 'object' || headers === null) return bad('headers must be an object');
  const values = new Map<string, string>();
  for (const [name, value] of Object.entries(headers)) {
    if (typeof value !== 'string') return bad('the value of a header must be a string');
    values.set(name.toLowerCase(), value);
  }
  const question = {
    tenant,
    method,
    path,
    body: Buffer.from(body),
    header: (name: string) => values.get(name) ?? '',
  };
  return { kind: 'ok', question };
}
