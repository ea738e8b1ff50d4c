/**
 * Which model serves a request: the one that was asked for, its canary, or a fallback of it. It lives until the
 * request is queued, as another model may have to be selected when the queue refuses one.
 */
import type { UnavailableReason } from '../config/aliases.ts';
import type { TenantConfig } from '../config/config.ts';
import type { ApiError } from '../domain/api-error.ts';
import { UNLISTED_MODEL } from '../domain/names.ts';
import type { Offer } from '../queue/types.ts';
import type { CanaryAssignment } from '../rollout/rollouts.ts';
import type { RequestHead } from './edge.ts';
import type { LifecycleContext } from './lifecycle-context.ts';
import { queueRefusal } from './refusals.ts';

type RefusedOffer = Extract<Offer, { kind: 'refused' }>;

export interface SelectedModel {
  readonly model: string;
  readonly pool: string;
  /** It cannot serve now, and nothing can in its place: the queue will say why. */
  readonly isUnavailable: boolean;
  /** Where versions of the model are compared. */
  readonly canary: ComparedCanary | undefined;
  /** The model that it is a canary of; absent: it is none here. */
  readonly canaryOf?: string;
  /** Nothing names it: what the engine is asked for. Its `model` is then that of all of these. */
  readonly unlisted?: string;
}

export interface ComparedCanary {
  readonly assignment: CanaryAssignment;
  /** By which versions are compared: the same prompt has the same number with each. */
  readonly promptTokens: number;
}

/** Why a model that refused cannot serve; undefined: the refusal is not the model's, so no other helps. */
const unavailableBy = ({ reason }: RefusedOffer): UnavailableReason | undefined => {
  if (reason === 'tenant-queue-full') return undefined;
  return reason === 'queue-full' || reason === 'adapter-busy' ? 'queue-full' : 'no-endpoint';
};

export class ModelSelection {
  private readonly context: LifecycleContext;
  private readonly tenant: TenantConfig;
  private readonly head: RequestHead;
  /** The name that the client sent. */
  private readonly asked: string;
  private readonly promptBytes: number;
  /** Models that would serve it and cannot. */
  private unavailable: Map<string, UnavailableReason> | undefined;
  /** Of the model that was asked for. */
  private firstRefusal: ApiError | undefined;

  constructor(
    context: LifecycleContext,
    tenant: TenantConfig,
    head: RequestHead,
    asked: string,
    promptBytes: number,
  ) {
    this.context = context;
    this.tenant = tenant;
    this.head = head;
    this.asked = asked;
    this.promptBytes = promptBytes;
  }

  /** Undefined: the tenant has no such model. */
  select(): SelectedModel | undefined {
    const { catalog } = this.context;
    const choice = catalog.choose(this.tenant, this.asked, (model, pool) => this.reasonAgainst(model, pool));
    if (choice.kind === 'denied') return this.unlisted();
    const stays = choice.kind === 'serve' ? undefined : this.pinnedModel();
    if (stays !== undefined) return stays;
    const isUnavailable = choice.kind !== 'serve';
    const canary = isUnavailable ? undefined : this.canaryOf(choice.model);
    const model = canary?.assignment.model ?? choice.model;
    const pool = catalog.poolOf(model);
    if (pool === undefined) return undefined;
    const selected = { model, pool, isUnavailable, canary };
    return model === choice.model ? selected : { ...selected, canaryOf: choice.model };
  }

  /** A gateway has sent it here, and the engines may know it: for who may use any model. */
  private unlisted(): SelectedModel | undefined {
    const { context, tenant, asked, head } = this;
    const { picker } = context.config();
    if (picker === undefined || picker.refusesUnknownModels === true || tenant.models !== '*')
      return undefined;
    const pools = context.catalog.poolsForUnlisted(asked);
    const serving = pools.find((pool) => context.dispatcher.canServe(pool, head.within));
    const pool = serving ?? pools[0];
    if (pool === undefined) return undefined;
    const isUnavailable = serving === undefined || this.unavailable?.has(UNLISTED_MODEL) === true;
    return { model: UNLISTED_MODEL, pool, isUnavailable, canary: undefined, unlisted: asked };
  }

  /** Another version or a fallback of what was asked for has the conversation: it goes on with it. */
  private pinnedModel(): SelectedModel | undefined {
    const { pinned, within } = this.head;
    const { catalog, dispatcher } = this.context;
    if (pinned === undefined || pinned.asked !== this.asked) return undefined;
    const { model, pool } = pinned;
    const isServed = catalog.poolOf(model) === pool && dispatcher.canServe(pool, within);
    return isServed && this.unavailable?.has(model) !== true
      ? { model, pool, isUnavailable: false, canary: undefined }
      : undefined;
  }

  /** The queue has refused it. Gives the model to try instead, or what to tell the client. */
  refused(model: string, offer: RefusedOffer): SelectedModel | ApiError {
    this.firstRefusal ??= queueRefusal(offer, this.asked);
    const reason = unavailableBy(offer);
    if (reason === undefined) return this.firstRefusal;
    this.unavailable = (this.unavailable ?? new Map<string, UnavailableReason>()).set(model, reason);
    const other = this.select();
    return other === undefined || other.isUnavailable ? this.firstRefusal : other;
  }

  private reasonAgainst(model: string, pool: string): UnavailableReason | undefined {
    const known = this.unavailable?.get(model);
    if (known !== undefined) return known;
    return this.context.dispatcher.canServe(pool, this.head.within) ? undefined : 'no-endpoint';
  }

  private canaryOf(model: string): ComparedCanary | undefined {
    const { catalog, rollouts, predictor } = this.context;
    const { name } = this.tenant;
    const assignment = rollouts.assign(model, { tenant: name, header: this.head.header }, (canary) => {
      const pool = catalog.poolOf(canary);
      return pool !== undefined && this.reasonAgainst(canary, pool) === undefined;
    });
    if (assignment === undefined) return undefined;
    return { assignment, promptTokens: predictor.promptTokens(name, model, this.promptBytes) };
  }
}
