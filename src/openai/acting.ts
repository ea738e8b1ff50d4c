/** What a body asks an engine, or another service, to do or to remember beyond answering it. */
import type { FieldPolicy } from '../config/config.ts';
import type { ApiError } from '../domain/api-error.ts';
import { isResponses, type RouteName } from '../domain/routes.ts';
import type { BodyFields } from './body-fields.ts';
import { invalidRequest } from './error-body.ts';
import type { KnownName } from './names.ts';
import { stateRefused } from './prompt-refusals.ts';
import { isAllowedTool, refusedTool, toolRefused } from './tools.ts';

/** In bytes: more than any id has. */
const LONGEST_PREVIOUS = 256;

/** What names something that is stored elsewhere. A previous response of /v1/responses has an owner, who is asked for. */
const STATE: readonly KnownName[] = ['conversation', 'previous_response_id', 'container'];
/** What acts elsewhere, as a field; as tools they have types. */
const ACTING: readonly KnownName[] = ['mcp_servers', 'web_search_options', 'plugins'];

/**
 * Why it may not be done; undefined: nothing is. It is what the engine, or another service, would do or remember for this request
 * beyond answering it. @param leftOut tools that the request goes on without.
 */
export function actingElsewhere(
  route: RouteName,
  fields: BodyFields,
  policy: FieldPolicy,
  leftOut: readonly number[],
): ApiError | undefined {
  const { document } = fields;
  if (policy.state === 'refuse') {
    const isTaken = (one: KnownName): boolean => isResponses(route) && one === 'previous_response_id';
    const name = STATE.find((one) => !isTaken(one) && !document.isNothing(fields.at(one)));
    if (name !== undefined) return stateRefused(name, name);
    // A prompt of /v1/responses is one that is stored.
    if (isResponses(route) && document.isObject(fields.at('prompt'))) return stateRefused('prompt', 'prompt');
  }
  const acts = ACTING.find((one) => !document.isNothing(fields.at(one)));
  if (acts !== undefined && !isAllowedTool(acts, policy)) return toolRefused(acts, acts);
  return refusedTool(document, fields.at('tools'), policy, leftOut);
}

export function previousResponse(fields: BodyFields): string | undefined | ApiError {
  const { document } = fields;
  const at = fields.at('previous_response_id');
  if (document.isNothing(at)) return undefined;
  return document.isString(at)
    ? document.head(at, LONGEST_PREVIOUS)
    : invalidRequest("'previous_response_id' must be a string.", 'previous_response_id');
}
