/** Whose request it is. */
import type { ApiError } from '../domain/api-error.ts';
import { TIER_HEADER } from '../domain/names.ts';
import type { RequestHead } from './edge.ts';
import type { LifecycleContext, RequestTenant } from './lifecycle-context.ts';
import { tooManyTenants, unknownTenant, unservableTenant } from './refusals.ts';

/** Within the limits of its key, where that has some. */
function withKey(tenant: RequestTenant, keyId: string | undefined): RequestTenant {
  if (keyId === undefined) return tenant;
  const limits = tenant.limits.within?.(keyId, undefined) ?? tenant.limits;
  return limits === tenant.limits ? tenant : { config: tenant.config, limits };
}

/** The tenant that Envoy has named, or why the request is nobody's. Who is not configured may come with a token. */
export function tenantOf(
  { tenants }: Pick<LifecycleContext, 'tenants'>,
  { tenant: name, keyId, header }: Pick<RequestHead, 'tenant' | 'keyId' | 'header'>,
  nowMs: number,
): RequestTenant | ApiError {
  // A visit first: it says that a tenant that has come with a token is here again.
  const found = tenants.visit?.(name, () => header(TIER_HEADER), nowMs) ?? tenants.get(name);
  if (found === undefined) return unknownTenant();
  if (typeof found === 'object') return withKey(found, keyId);
  return found === 'full' ? tooManyTenants() : unservableTenant();
}
