/**
 * What would become of a request now: a life that takes nothing, queues nowhere and is not recorded. So what is explained is what
 * would be done, not what somebody thought would be.
 */

import type { Dispatcher, Offer, QueueReport } from '../queue/types.ts';
import type { Rollouts } from '../rollout/rollouts.ts';
import { explainText } from '../routing/explain.ts';
import type { BucketView } from '../tenant/bucket.ts';
import type { Reservation, TenantLimits } from '../tenant/tenant-limits.ts';
import { createOccupancy } from '../usage/occupancy.ts';
import type { DirectResponse, Edge } from './edge.ts';
import { Holdings } from './holdings.ts';
import { createRequestLifecycle, type LifecycleContext } from './request-lifecycle.ts';

export interface Question {
  readonly tenant: string;
  /** Path of the API, for example `/v1/chat/completions`. */
  readonly path: string;
  readonly body: Uint8Array;
  /** Value of a header by its lower-case name; empty when absent. */
  readonly header: (name: string) => string;
}

interface Placed {
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
  /** Of the tenant's buckets; absent where it has no such limit. */
  readonly limits: {
    readonly requests?: BucketView;
    readonly tokens?: BucketView;
    readonly month?: BucketView;
  };
  readonly queue: QueueReport;
}

export type Explanation =
  | {
      readonly kind: 'refused';
      readonly status: number;
      /** As the client would get it. */
      readonly body: string;
      /** Where it was refused: absent if that was before any endpoint was looked at. */
      readonly tried?: Placed;
    }
  | Placed;

/** A request that was offered, and what the queue would make of it. */
interface Offered {
  readonly waiting: Parameters<Dispatcher['offer']>[0];
  readonly queue: QueueReport;
}

const TAKEN = { kind: 'taken' } as const;
const RESERVED: Reservation = { tokens: 0, charge: () => undefined, settle: () => undefined };
/** Takes nothing, and knows no limit. */
const NO_LIMITS: TenantLimits = {
  takeRequest: () => TAKEN,
  reserveTokens: () => ({ kind: 'reserved', reservation: RESERVED }),
  outstanding: () => 0,
  requests: () => undefined,
  tokens: () => undefined,
  month: () => undefined,
  reconfigure: () => undefined,
};
const QUEUED: Offer = { kind: 'queued', ticket: { cancel: () => true } };

const wouldBe = (rollouts: Rollouts): Rollouts => ({
  ...rollouts,
  assign(model, asker, usable) {
    const canary = rollouts.wouldServe(model, asker, usable);
    return canary === undefined
      ? undefined
      : {
          model: canary,
          ended: () => undefined,
          firstToken: () => undefined,
          slowAfterMs: () => undefined,
        };
  },
});

/** @throws if the request is neither refused nor placed: a bug. */
export function explainRequest(context: LifecycleContext, question: Question, nowMs: number): Explanation {
  let refused: DirectResponse | undefined;
  const offered: Offered[] = [];
  let asked = '';
  // The answer is wanted at once, so a large body is read at once too.
  const { bodies: _later, ...rest } = context;
  const dry: LifecycleContext = {
    ...rest,
    tenants: {
      ...context.tenants,
      get(name) {
        const known = context.tenants.get(name);
        return known && { config: known.config, limits: NO_LIMITS };
      },
    },
    rollouts: wouldBe(context.rollouts),
    catalog: {
      poolOf: (model) => context.catalog.poolOf(model),
      adapterOf: (model) => context.catalog.adapterOf(model),
      modelOfPool: (pool) => context.catalog.modelOfPool(pool),
      costOf: (model) => context.catalog.costOf(model),
      isDiscovering: () => context.catalog.isDiscovering(),
      modelsOf: (tenant) => context.catalog.modelsOf(tenant),
      discovered: () => false,
      reconfigure: () => undefined,
      choose(tenant, name, hindranceOf) {
        asked = name;
        return context.catalog.choose(tenant, name, hindranceOf);
      },
    },
    dispatcher: {
      canServe: (pool, within) => context.dispatcher.canServe(pool, within),
      isFullFor: (tenant, atMs) => context.dispatcher.isFullFor(tenant, atMs),
      retryAfterMs: (pool) => context.dispatcher.retryAfterMs(pool),
      explain: (waiting, atMs) => context.dispatcher.explain(waiting, atMs),
      offer(waiting) {
        const queue = context.dispatcher.explain(waiting, nowMs);
        if (queue === undefined) throw new Error(`there is no pool ${waiting.pool}`);
        offered.push({ waiting, queue });
        const { refusal: reason } = queue;
        return reason === undefined
          ? QUEUED
          : { kind: 'refused', reason, retryAfterMs: context.dispatcher.retryAfterMs(waiting.pool) };
      },
    },
    occupancy: createOccupancy(),
    holdings: new Holdings((error) => {
      throw error;
    }),
    record: () => undefined,
  };
  const edge: Edge = {
    keepsBody: true,
    passHeaders: () => undefined,
    hold: () => undefined,
    respond(response) {
      refused = response;
    },
    sendOn: () => undefined,
    passResponseHeaders: () => undefined,
    passChunk: () => undefined,
  };
  const life = createRequestLifecycle(dry, edge);
  const { body } = question;
  life.headers(
    {
      method: 'POST',
      path: question.path,
      tenant: question.tenant,
      requestId: 'explain',
      contentLength: body.length,
      endOfStream: false,
      header: question.header,
    },
    nowMs,
  );
  life.body(body, nowMs);
  life.streamEnded(nowMs);
  if (refused !== undefined) {
    // Of several that refuse it, the client is told of the first.
    const [first] = offered;
    const { status, body: text } = refused;
    return {
      kind: 'refused',
      status,
      body: text,
      ...(first !== undefined && { tried: placedAt(context, first, asked, nowMs) }),
    };
  }
  const last = offered.at(-1);
  if (last === undefined) throw new Error('the request is neither refused nor offered');
  return placedAt(context, last, asked, nowMs);
}

function placedAt(
  context: LifecycleContext,
  { waiting, queue }: Offered,
  asked: string,
  nowMs: number,
): Placed {
  const { tenant, pool, lane, cost, demand } = waiting;
  const limits = context.tenants.get(tenant)?.limits;
  const [requests, tokens, month] = [limits?.requests(nowMs), limits?.tokens(nowMs), limits?.month(nowMs)];
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
    limits: {
      ...(requests !== undefined && { requests }),
      ...(tokens !== undefined && { tokens }),
      ...(month !== undefined && { month }),
    },
    queue,
  };
}

/** A question as it comes over the wire: `{tenant, path, headers?, body}`, the body as text. */
export function questionOf(
  asked: unknown,
): { readonly kind: 'ok'; readonly question: Question } | { readonly kind: 'bad'; readonly problem: string } {
  const bad = (problem: string) => ({ kind: 'bad', problem }) as const;
  if (typeof asked !== 'object' || asked === null) return bad('the question must be a JSON object');
  const { tenant, path, body, headers = {} } = asked as Readonly<Record<string, unknown>>;
  if (typeof tenant !== 'string') return bad('tenant must be a string');
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
    path,
    body: Buffer.from(body),
    header: (name: string) => values.get(name) ?? '',
  };
  return { kind: 'ok', question };
}

const round = (value: number): string => String(Math.round(value));

function limitsText({ requests, tokens, month }: Placed['limits']): string {
  const parts = Object.entries({ requests, tokens, 'tokens this month': month }).flatMap(([what, view]) =>
    view === undefined
      ? []
      : [
          `${round(view.remaining)} of ${round(view.limit)} ${what} left${view.remaining < 1 ? ' (429 for now)' : ''}`,
        ],
  );
  return parts.length === 0 ? 'no limits' : parts.join(', ');
}

function turnOf({ queue, tenant }: Placed): string {
  const { belowFairShare: quiet, atCap, queued, queuedOfTenant, headroom: reserve } = queue;
  const waiting = `${queued} requests wait for the pool, ${queuedOfTenant} of them of ${tenant}`;
  if (queue.refusal !== undefined) return `refused (${queue.refusal}); ${waiting}`;
  if (atCap) return `waits: the tenant has maxConcurrent requests in the engines; ${waiting}`;
  if (quiet) return `passes the queue, as the tenant is below its fair share; ${waiting}`;
  return `in turn; ${waiting}; slots kept free for quiet tenants: ${reserve}`;
}

/** For people. */
export function explanationText(explanation: Explanation): string {
  if (explanation.kind === 'refused') {
    const { status, body, tried } = explanation;
    return `It would be refused with ${status}:\n${body}${tried === undefined ? '' : `\n\n${explanationText(tried)}`}`;
  }
  const { tenant, asked, model, pool, lane, promptTokens, totalTokens, sequences, cost, limits, queue } =
    explanation;
  return [
    `tenant   ${tenant}: ${limitsText(limits)}`,
    `model    ${model}${asked === model ? '' : `, asked for as ${asked}`}, in the pool ${pool}, lane ${lane}`,
    `size     ${round(promptTokens)} prompt tokens, ${round(totalTokens)} with the predicted output; sequences: ${sequences}; cost ${round(cost)}`,
    `turn     ${turnOf(explanation)}`,
    '',
    explainText(queue.choice),
  ].join('\n');
}
