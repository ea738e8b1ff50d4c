/**
 * The limits of the model that a request is for, beside those of its tenant and key. The headers do not tell the model, so its
 * request bucket is asked once the body is read, before tokens are reserved.
 *
 * What the tenant's and the key's request buckets gave at the headers stays taken when the model's refuses: the body has been
 * received and read, as with every later refusal. A model's own is given back when another model is tried in its place.
 */
import type { Limits, TenantConfig } from '../config/config.ts';
import type { RequestLimits, ReservationResult, TakeRequest } from '../tenant/tenant-limits.ts';
import type { RequestTenant } from './lifecycle-context.ts';

/** Tokens, or why there are none: `requests`, the model's request bucket is empty. */
export type Reserved =
  | ReservationResult
  | { readonly kind: 'requests'; readonly refusal: Exclude<TakeRequest, { kind: 'taken' }> };

export class ModelLimits {
  private readonly tenant: RequestTenant;
  private readonly keyId: string | undefined;
  /** It takes requests of buckets at all. */
  private readonly isCounted: boolean;
  /** That has given a request. */
  private taken: RequestLimits | undefined = undefined;

  constructor(tenant: RequestTenant, keyId: string | undefined, isCounted: boolean) {
    this.tenant = tenant;
    this.keyId = keyId;
    this.isCounted = isCounted;
  }

  /** The tenant within the limits of a model: itself where that has none. */
  tenantFor(model: string): RequestTenant {
    const { config, limits } = this.tenant;
    const within = limits.within?.(this.keyId, model) ?? limits;
    const merged = limitsWithin(config.limits, this.keyId, model);
    if (within === limits && merged === config.limits) return this.tenant;
    return { config: merged === config.limits ? config : withLimits(config, merged), limits: within };
  }

  /** @param tenant within the limits of the model. @param asked of tokens, as they are reserved. */
  reserve(
    tenant: RequestTenant,
    model: string,
    asked: Parameters<RequestLimits['reserveTokens']>,
  ): Reserved | Promise<Reserved> {
    const ofModel = this.isCounted ? this.tenant.limits.ofModel?.(model) : undefined;
    if (ofModel === undefined) return tenant.limits.reserveTokens(...asked);
    const reserve = (taken: TakeRequest): Reserved | Promise<Reserved> => {
      if (taken.kind !== 'taken') return { kind: 'requests', refusal: taken };
      this.taken = ofModel;
      return tenant.limits.reserveTokens(...asked);
    };
    const taken = ofModel.takeRequest(asked[1]);
    return taken instanceof Promise ? taken.then(reserve) : reserve(taken);
  }

  /** Another model is tried. */
  leaveModel(nowMs: number): void {
    this.taken?.returnRequest(nowMs);
    this.taken = undefined;
  }
}

const withLimits = (config: TenantConfig, limits: Limits): TenantConfig => ({ ...config, limits });

/** The smallest, of those that are there. */
function least(values: readonly (number | undefined)[]): number | undefined {
  const known = values.filter((value) => value !== undefined);
  return known.length === 0 ? undefined : Math.min(...known);
}

const burstOf = ({ tokensPerMinute, tokenBurst = tokensPerMinute }: Limits): number | undefined => tokenBurst;

/** A tenant's limits with the narrowest of what bounds a single request; itself where key and model bound nothing. */
export function limitsWithin(limits: Limits, keyId: string | undefined, model: string): Limits {
  const ofKey = keyId === undefined ? undefined : limits.byKey?.get(keyId);
  const ofModel = limits.byModel?.get(model);
  if (ofKey === undefined && ofModel === undefined) return limits;
  const all = [limits, ofKey, ofModel].filter((one) => one !== undefined);
  const maxContext = least(all.map((one) => one.maxContext));
  const tokenBurst = least(all.map(burstOf));
  return {
    ...limits,
    ...(maxContext !== undefined && { maxContext }),
    ...(tokenBurst !== undefined && { tokenBurst }),
  };
}
