/** Requests that go on with what an engine has stored: who may, and where. Pure. */

import type { TenantConfig } from '../config/config.ts';
import type { ResponseOwner } from '../conversation/response-owners.ts';
import type { FoundOwner } from '../conversation/shared-owners.ts';
import type { ApiError } from '../domain/api-error.ts';
import type { RequestHead } from './edge.ts';
import type { LifecycleContext } from './lifecycle-context.ts';
import { ownersUnknown, responseLost, responseUnavailable } from './refusals.ts';

/** The request as it may go: to the one endpoint that has what it needs. A gateway's own choice may leave that out. */
export function pinnedTo(head: RequestHead, owner: ResponseOwner): RequestHead {
  const isWithin = head.within?.has(owner.endpoint) !== false;
  return { ...head, pinned: owner, within: new Set(isWithin ? [owner.endpoint] : []) };
}

/**
 * @param notFound of an id that is nobody's, or another's, or of a model that the request's key is not for.
 * @returns why it cannot go; undefined: it may.
 */
export function refusalOfOwner(
  context: LifecycleContext,
  found: FoundOwner,
  id: string,
  notFound: (id: string) => ApiError,
  { keyModels }: Pick<TenantConfig, 'keyModels'> = {},
): ApiError | undefined {
  if (found === undefined) return notFound(id);
  if (found === 'unsure') return ownersUnknown();
  const { pool, endpoint, model, asked } = found;
  if (keyModels !== undefined && !keyModels.has(model) && !keyModels.has(asked)) return notFound(id);
  if (context.dispatcher.canServe(pool, new Set([endpoint]))) return undefined;
  return context.hasEndpoint?.(pool, endpoint) === false ? responseLost() : responseUnavailable();
}

/** Envoy tries an endpoint again by this list: a stored response is nowhere else. */
const ATTEMPTS = 6;

/** Ordered `ip:port` of what is pinned. */
export const pinnedAddresses = ({ endpoint }: ResponseOwner): readonly string[] =>
  Array.from({ length: ATTEMPTS }, () => endpoint);

/** Another endpoint has answered in its place: of what it says nothing is true. */
export const isElsewhere = (pinned: ResponseOwner | undefined, upstream: string): boolean =>
  pinned !== undefined && upstream !== '' && upstream !== pinned.endpoint;
