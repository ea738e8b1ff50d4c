/**
 * The phase between a request's body and the queue: a model is selected, what the request will take is predicted, and
 * what the queue and the engine need is made of the body. It holds the parsed body, so nothing may keep it once that
 * is done.
 */
import type { ApiError } from '../domain/api-error.ts';
import { costOf } from '../domain/cost.ts';
import type { Mutable } from '../domain/mutable.ts';
import { isCustom, withoutQuery } from '../domain/routes.ts';
import type { BelowOne } from '../engine/driver.ts';
import { isServedBy, servedBy } from '../engine/routes.ts';
import { modelNotFound } from '../openai/error-body.ts';
import { factsOf, type ParsedRequest, type RequestFacts } from '../openai/parsed-request.ts';
import type { Demand } from '../pool/types.ts';
import { laneFor } from '../queue/lane-rules.ts';
import type { Offer } from '../queue/types.ts';
import type { Reservation } from '../tenant/tenant-limits.ts';
import type { Admitted } from './admitted.ts';
import type { RequestHead } from './edge.ts';
import { type EngineBody, endpointChoiceOf, engineBodyOf, type Selected } from './engine-request.ts';
import type { LifecycleContext, RequestTenant } from './lifecycle-context.ts';
import { ModelLimits, type Reserved } from './model-limits.ts';
import { ModelSelection, type SelectedModel } from './model-selection.ts';
import { meaningOfCap, NOTHING_TOKENS } from './output-cap.ts';
import { type PredictedPrice, predictedPrice } from './predicted-price.ts';
import { predict, tokensToReserve, totalTokens } from './prediction.ts';
import type { QueuedFields } from './queued.ts';
import type { Receiving } from './receiving.ts';
import { modelsUnknown, otherModelsResponse, routeNotServed, tooManyOutputs } from './refusals.ts';

/** What a stored conversation came to may have been estimated: it may be so many times larger. */
const HELD_SLACK = 2;

/**
 * Most tokens that an engine may find beside the body.
 *
 * @param held of the conversation that is gone on with, as far as it is known: 0 is not. @param isAnyState other state may be named.
 */
const storedTokensOf = (held: number | undefined, isAnyState: boolean): number | 'unknown' => {
  if (isAnyState || held === 0) return 'unknown';
  return HELD_SLACK * (held ?? 0);
};

/** Whose limits apply: a canary's requests are those of the model that it is a canary of. */
const limitedModelOf = ({ model, canaryOf = model }: SelectedModel): string => canaryOf;

/** A model that may serve the request, if its tokens can be reserved. */
export interface Attempt extends Selected {
  readonly kind: 'attempt';
  /** With the model that serves it. */
  readonly facts: RequestFacts;
  readonly tokensToReserve: number;
  /** Its tenant, within the limits of the model. */
  readonly limited: RequestTenant;
  /** What it will cost; absent: nothing has a price. */
  readonly price: PredictedPrice | undefined;
}

/** What the request becomes when its tokens are reserved. */
export interface ReadyToQueue {
  readonly admitted: Admitted;
  readonly fields: QueuedFields;
  readonly body: EngineBody;
}

export interface Refusal {
  readonly kind: 'refusal';
  readonly error: ApiError;
  /** With the model that was tried. */
  readonly facts: RequestFacts;
}

export class Selecting {
  private readonly context: LifecycleContext;
  private readonly head: RequestHead;
  private readonly parsed: ParsedRequest;
  private readonly bodyBytes: number;
  private readonly isBodyAsSent: boolean;
  private readonly selection: ModelSelection;
  private readonly limits: ModelLimits;
  /** The name that the client sent, or the gateway in its place. */
  private readonly asked: string;
  /** Of the latest attempt; of the model that was asked for before there is one. */
  private facts: RequestFacts;

  constructor(context: LifecycleContext, tenant: RequestTenant, received: Receiving, parsed: ParsedRequest) {
    const { head } = received;
    this.context = context;
    this.head = head;
    this.parsed = parsed;
    this.bodyBytes = received.bodyBytes;
    this.isBodyAsSent = received.isAsSent();
    this.facts = factsOf(parsed, parsed.model);
    this.asked = (parsed.isBodyless === true ? undefined : head.modelRewrite) ?? parsed.model;
    this.limits = new ModelLimits(tenant, head.keyId, received.isCounted());
    this.selection = new ModelSelection(context, tenant.config, head, this.asked, parsed.promptBytes);
  }

  first(): Attempt | Refusal {
    const selected = this.selection.select();
    const { pinned } = this.head;
    if (pinned !== undefined && selected?.isUnavailable === true && selected.pool !== pinned.pool) {
      return this.refusal(otherModelsResponse(this.parsed.model));
    }
    if (selected !== undefined) return this.attempt(selected);
    return this.refusal(
      this.context.catalog.isDiscovering() ? modelsUnknown() : modelNotFound(this.parsed.model),
    );
  }

  /** From the limits of its tenant, key and model: all grant it, or none. */
  reserve(
    { limited, selected, tokensToReserve: tokens, price }: Attempt,
    nowMs: number,
  ): Reserved | Promise<Reserved> {
    return this.limits.reserve(limited, limitedModelOf(selected), [tokens, nowMs, price?.of]);
  }

  /** Another model may have room when the queue refuses one; the tenant's own queue is its own. */
  afterRefusal(
    attempt: Attempt,
    offer: Extract<Offer, { kind: 'refused' }>,
    nowMs: number,
  ): Attempt | Refusal {
    const other = this.selection.refused(attempt.selected.model, offer);
    if ('status' in other) return this.refusal(other);
    this.limits.leaveModel(nowMs);
    return this.attempt(other);
  }

  private refusal(error: ApiError): Refusal {
    return { kind: 'refusal', error, facts: this.facts };
  }

  private attempt(selected: SelectedModel): Attempt | Refusal {
    const { context, parsed, head } = this;
    const limited = this.limits.tenantFor(limitedModelOf(selected));
    const { config } = limited;
    const { model } = selected;
    const kind = context.engineKindOf?.(selected.pool);
    const path = withoutQuery(head.path);
    if (kind !== undefined && !isCustom(parsed.route) && !isServedBy(kind, path)) {
      return this.refusal(routeNotServed(path, model, servedBy(kind)));
    }
    const meaning =
      parsed.belowOne === undefined ? undefined : meaningOfCap(parsed.belowOne, parsed.route, kind);
    const facts = this.factsFor(model, meaning);
    this.facts = facts;
    if (facts.outputs > config.limits.maxOutputs) {
      return this.refusal(tooManyOutputs(facts.outputs, config.limits.maxOutputs));
    }
    const prediction = predict(context.predictor, config, facts);
    if ('status' in prediction) return this.refusal(prediction);
    return {
      kind: 'attempt',
      parsed,
      tenant: config,
      head,
      selected,
      adapter: context.catalog.adapterOf(model)?.name,
      prediction,
      leavesCap: meaning === 'nothing' || meaning === 'refused',
      facts,
      tokensToReserve: tokensToReserve(prediction, config.limits),
      limited,
      price: predictedPrice(context, config.name, facts, prediction),
    };
  }

  private factsFor(model: string, meaning: BelowOne | undefined): RequestFacts {
    const { parsed } = this;
    if (meaning === 'nothing') return { ...factsOf(parsed, model), maxOutputTokens: NOTHING_TOKENS };
    return model === this.facts.model && meaning === undefined ? this.facts : factsOf(parsed, model);
  }

  /** @param proxyKeepsBody the proxy can send the client's own body. */
  admit(attempt: Attempt, reservation: Reservation, proxyKeepsBody: boolean, nowMs: number): ReadyToQueue {
    const { context, head } = this;
    const { facts, prediction, selected, adapter, tenant } = attempt;
    const { promptTokens, cachedTokens, outputTokens } = prediction;
    const { model, route } = facts;
    const lane = laneFor(context.config().queue.lanes, {
      tenant: tenant.name,
      tier: tenant.tier,
      model,
      route,
      promptTokens,
      maxOutputTokens: facts.maxOutputTokens,
      header: head.header,
    });
    const { choice, client } = endpointChoiceOf(context, attempt, nowMs);
    const { within } = head;
    const demand: Mutable<Demand> = {
      // What is embedded or compared is computed in one step, and takes no slot after it: its outputs are 1.
      sequences: facts.outputs,
      promptTokens,
      cachedTokens: { proportional: prediction.cachedTokens, usual: prediction.usualCachedTokens },
      totalTokens: totalTokens(prediction, facts.outputs),
      streamed: facts.stream,
      slo: lane,
      model,
    };
    if (adapter !== undefined) demand.adapter = adapter;
    if (within !== undefined) demand.within = within;
    if (choice !== undefined) demand.choice = choice;
    const weights = context.catalog.costOf(model);
    return {
      admitted: {
        tenant: tenant.name,
        facts,
        bodyBytes: this.bodyBytes,
        storedTokens: storedTokensOf(facts.heldTokens, context.config().fields.state === 'allow'),
        prediction,
        leavesCap: attempt.leavesCap,
        lane,
        canary: selected.canary,
        client,
        reservation,
        ...(attempt.price !== undefined && { price: attempt.price }),
        asked: this.asked,
        pinned: head.pinned,
        path: withoutQuery(head.path),
      },
      fields: {
        tenant: tenant.name,
        pool: selected.pool,
        lane: lane.name,
        bytes: this.bodyBytes,
        cost: costOf(weights, promptTokens, cachedTokens, outputTokens),
        demand,
      },
      // Engines need not know chunked bodies, or encoded ones.
      body: engineBodyOf(context, attempt, proxyKeepsBody && this.isBodyAsSent),
    };
  }
}
