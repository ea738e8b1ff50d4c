/** What the head of an engine's answer means. */
import type { ApiError } from '../domain/api-error.ts';
import { isMissable } from '../domain/routes.ts';
import { adapterUnavailable } from '../openai/error-body.ts';
import type { AttemptResult } from '../pool/health/outcome.ts';
import type { Admitted } from './admitted.ts';
import type { ResponseHead } from './edge.ts';
import type { LifecycleContext } from './lifecycle-context.ts';
import { isElsewhere } from './owned.ts';
import { responseUnavailable, routeNotFound } from './refusals.ts';

/** An engine that does not know an adapter is asked what it has at once. */
const ADAPTER_RETRY_MS = 1_000;

/** @param upstream that answered; empty: Envoy did, because no endpoint has. */
export function resultOf({ status, upstream }: Pick<ResponseHead, 'status' | 'upstream'>): AttemptResult {
  if (upstream !== '') return { status };
  return { broken: status === 504 ? 'timeout' : 'reset' };
}

/** What the client gets in place of an engine's answer that would mislead it; undefined: that answer. */
export function replacementOf(
  catalog: Pick<LifecycleContext['catalog'], 'adapterOf'>,
  { facts, pinned, path }: Pick<Admitted, 'facts' | 'pinned' | 'path'>,
  { status, upstream }: Pick<ResponseHead, 'status' | 'upstream'>,
): ApiError | undefined {
  if (isElsewhere(pinned, upstream)) return responseUnavailable();
  if (status !== 404 || upstream === '') return undefined;
  if (isMissable(facts.route)) return routeNotFound(path, facts.model);
  // It exists: this engine has lost it, or is another one than was chosen. A client would not ask again.
  return catalog.adapterOf(facts.model) === undefined
    ? undefined
    : adapterUnavailable(facts.model, ADAPTER_RETRY_MS);
}
