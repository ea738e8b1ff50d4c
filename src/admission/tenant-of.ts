/** Whose request it is, and what its key may be used for. */
import type { TenantConfig } from '../config/config.ts';
import type { ApiError } from '../domain/api-error.ts';
import { findKey, isBounded, isExpired } from '../domain/find-key.ts';
import { TIER_HEADER } from '../domain/names.ts';
import type { EngineRoute, StoredRoute } from '../domain/routes.ts';
import type { TenantKey } from '../domain/tenant-key.ts';
import type { RequestHead } from './edge.ts';
import type { LifecycleContext, RequestTenant } from './lifecycle-context.ts';
import {
  expiredKey,
  headersTooLarge,
  keyNotTold,
  revokedKey,
  routeNotAllowed,
  tooManyTenants,
  unknownTenant,
  unservableTenant,
} from './refusals.ts';

type Context = Pick<LifecycleContext, 'tenants' | 'config' | 'unixMs'>;
/** Models are nobody's route: whoever has a key may ask for those of the key. */
type AskedRoute = EngineRoute | StoredRoute | 'models';

/** What is wrong with a request before its body is asked for, and whose it is as far as that is known. */
type Whose =
  | { readonly tenant: RequestTenant; readonly refusal?: never }
  | { readonly tenant: RequestTenant | undefined; readonly refusal: ApiError };

/**
 * The tenant as the request's key lets it be: with the models of the key, and within its limits.
 *
 * @param route that it asks for. @param unknown what there is to say of it where it is none; by then it must be known whose it is.
 */
export function whoseRequest(
  context: Context,
  head: RequestHead,
  route: AskedRoute | undefined,
  nowMs: number,
  unknown?: () => ApiError,
): Whose {
  const tenant = tenantOf(context, head, nowMs);
  if ('status' in tenant) return { tenant: undefined, refusal: tenant };
  const key = keyOf(context, tenant.config, head);
  if (key !== undefined && 'status' in key) return { tenant, refusal: key };
  if (route === undefined) return { tenant, refusal: unknown?.() ?? unknownTenant() };
  if (head.oversized === true) return { tenant, refusal: headersTooLarge() };
  if (key?.routes !== undefined && route !== 'models' && !key.routes.has(route)) {
    return { tenant, refusal: routeNotAllowed(key.routes) };
  }
  const limited = withKey(tenant, key);
  return {
    tenant: key?.models === undefined ? limited : { ...limited, config: withModels(tenant.config, key) },
  };
}

/** The tenant that Envoy has named, or why the request is nobody's. Who is not configured may come with a token. */
function tenantOf(
  { tenants }: Context,
  { tenant: name, header }: Pick<RequestHead, 'tenant' | 'header'>,
  nowMs: number,
): RequestTenant | ApiError {
  // A visit first: it says that a tenant that has come with a token is here again.
  const found = tenants.visit?.(name, () => header(TIER_HEADER), nowMs) ?? tenants.get(name);
  if (found === undefined) return unknownTenant();
  if (typeof found === 'object') return found;
  return found === 'full' ? tooManyTenants() : unservableTenant();
}

/**
 * The key that the request came with. Envoy goes by a file that may be a moment older, or as old as the last service that ran: what
 * counts is what is configured now. Undefined: it came without one.
 */
function keyOf(
  { config, unixMs = Date.now }: Context,
  { keys, limits }: TenantConfig,
  { keyId }: RequestHead,
): TenantKey | ApiError | undefined {
  if (keyId === undefined) {
    const { jwt, picker } = config();
    // An Envoy that does not say which key it was would let pass what a key may not be used for.
    const isAnyBounded = limits.byKey !== undefined || keys.some(isBounded);
    const mustTell = jwt === undefined && picker === undefined && isAnyBounded;
    return mustTell ? keyNotTold() : undefined;
  }
  if (keyId === '') return undefined;
  const key = findKey(keys, keyId);
  if (key === undefined) return revokedKey();
  return isExpired(key, unixMs()) ? expiredKey() : key;
}

/** Within the limits of its key, where that has some. */
function withKey(tenant: RequestTenant, key: TenantKey | undefined): RequestTenant {
  if (key === undefined) return tenant;
  const limits = tenant.limits.within?.(key.id, undefined) ?? tenant.limits;
  return limits === tenant.limits ? tenant : { config: tenant.config, limits };
}

const narrowed = new WeakMap<TenantKey, { readonly of: TenantConfig; readonly config: TenantConfig }>();

/** All else goes by the tenant, and needs to know of no key. */
function withModels(of: TenantConfig, key: TenantKey): TenantConfig {
  const known = narrowed.get(key);
  if (known?.of === of) return known.config;
  const config = { ...of, ...(key.models !== undefined && { keyModels: key.models }) };
  narrowed.set(key, { of, config });
  return config;
}
