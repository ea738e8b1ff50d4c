/** A JSON body as the service understands it, and any body as it is sent on. */
import type { ApiError } from '../domain/api-error.ts';
import type { Mutable } from '../domain/mutable.ts';
import { type CustomRouteName, isResponses, meteredOf, type RouteName, unitOf } from '../domain/routes.ts';
import { actingElsewhere, previousResponse } from './acting.ts';
import { BodyFields, CAP_FIELDS, fieldsOf, ROUTE_FIELDS } from './body-fields.ts';
import { forbiddenField, invalidRequest } from './error-body.ts';
import {
  modelOf,
  optionalBoolean,
  optionalInteger,
  outputCap,
  problemOfPrompt,
  usageOption,
} from './field-checks.ts';
import { type Forbidden, findForbidden, MOST_FORBIDDEN } from './forbidden.ts';
import { editsOfForm, spliceForm } from './form-request.ts';
import { ABSENT, type JsonDocument, KIND, NO_DOCUMENT, STRIDE } from './json/document.ts';
import { type Reading, readJson } from './json/reader.ts';
import {
  addMembers,
  COPIED_BYTES,
  cutMembers,
  cutValues,
  type Edit,
  replaceValue,
  splice,
} from './json/splice.ts';
import { type KnownName, NAME } from './names.ts';
import {
  otherModelThanRoute,
  type ParsedRequest,
  type RequestChanges,
  type RequestResult,
} from './parsed-request.ts';
import { namesOf } from './policy-names.ts';
import { type PromptPolicy, PromptWalk } from './prompt.ts';
import { promptCount, promptSize } from './prompt-size.ts';
import { offeredTools } from './tools.ts';

const MAX_CHOICES = 128;

/**
 * Reads a request strictly: every field that the service understands has the API's type, or the request is refused.
 * Null counts as absent for optional fields, as OpenAI has it. Other fields pass unread.
 */
export const parseRequest = (route: RouteName, bytes: Uint8Array, policy: PromptPolicy): RequestResult =>
  understand(route, readJson(bytes, namesOf(policy.fields)), policy);

/** The same of a body that has been read, with the names of the policy. */
export function understand(route: RouteName, json: Reading, policy: PromptPolicy): RequestResult {
  const allowed = allowedFields(json, policy);
  if ('status' in allowed) return bad(allowed);
  const { document, fields, forbidden } = allowed;
  const offered = offeredTools(fields, policy.fields);
  const skipped =
    offered.keys.length === 0 ? allowed.skipped : new Set([...allowed.skipped, ...offered.keys]);
  const model = modelOf(fields);
  if (typeof model === 'object') return bad(model);

  const promptProblem = problemOfPrompt(route, fields);
  if (promptProblem !== undefined) return bad(promptProblem);

  const stream = optionalBoolean(document, fields.at('stream'), 'stream');
  if (typeof stream === 'object') return bad(stream);
  const n = optionalInteger(fields, 'n', 1, MAX_CHOICES);
  if (typeof n === 'object') return bad(n);
  const bestOf = optionalInteger(fields, 'best_of', 1, MAX_CHOICES);
  if (typeof bestOf === 'object') return bad(bestOf);
  const cap = outputCap(route, fields);
  if ('status' in cap) return bad(cap);
  const usage = usageOption(fields, skipped);
  if (typeof usage === 'object') return bad(usage);
  const acting = actingElsewhere(route, fields, policy.fields, offered.tools);
  if (acting !== undefined) return bad(acting);
  const previous = isResponses(route) ? previousResponse(fields) : undefined;
  if (typeof previous === 'object') return bad(previous);
  const size = promptSize(route, fields, policy, skipped);
  if (!('bytes' in size)) return bad(size);

  const metered = meteredOf(route);
  const writes = metered === 'tokens';
  const choices = Math.max(n ?? 1, bestOf ?? 1);
  const request: Mutable<ParsedRequest> = {
    route,
    model,
    stream: stream === true && (writes || metered === 'reported'),
    promptBytes: size.bytes,
    hasMedia: size.hasMedia,
    maxOutputTokens: writes ? cap.tokens : 0,
    belowOne: writes ? cap.belowOne : undefined,
    outputs: writes ? choices * promptCount(route, fields) : unitOf(route) === 'images' ? choices : 1,
    wantsUsage: ROUTE_FIELDS[route].usageOption ? usage === true : true,
    dropped: offered.names.length === 0 ? forbidden.names : [...forbidden.names, ...offered.names],
    forbidden: forbidden.keys,
    document,
  };
  if (offered.tools.length > 0) request.leftOut = offered;
  if (isResponses(route) && !isFalse(document, fields.at('store'))) request.isStored = true;
  if (previous !== undefined) request.previousResponse = previous;
  if (size.pairs !== undefined) request.pairs = size.pairs;
  return { kind: 'ok', request };
}

/**
 * A body of a route that the configuration adds. What is known of it is its model, and what no tenant may set: all of it counts
 * as prompt.
 */
export function understandCustom(
  route: CustomRouteName,
  own: string | undefined,
  json: Reading,
  policy: PromptPolicy,
): RequestResult {
  const allowed = allowedFields(json, policy);
  if ('status' in allowed) return bad(allowed);
  const { document, fields, forbidden, skipped } = allowed;
  const isUnwritten = own !== undefined && document.isNothing(fields.at('model'));
  const model = isUnwritten ? own : modelOf(fields);
  if (typeof model === 'object') return bad(model);
  if (own !== undefined && model !== own) return bad(otherModelThanRoute(own));
  const stream = optionalBoolean(document, fields.at('stream'), 'stream');
  if (typeof stream === 'object') return bad(stream);
  const walk = new PromptWalk(document, policy, skipped);
  const end = document.next(0);
  for (let key = document.first(0); key < end; key = document.next(key + STRIDE)) {
    if (skipped.has(key)) continue;
    walk.key(key, 'body');
    if (document.name(key) !== NAME.model) walk.json(key + STRIDE);
  }
  const size = walk.result();
  if ('status' in size) return bad(size);
  return {
    kind: 'ok',
    request: {
      route,
      model,
      stream: stream === true,
      promptBytes: size.bytes,
      hasMedia: size.hasMedia,
      maxOutputTokens: 0,
      belowOne: undefined,
      outputs: 1,
      wantsUsage: true,
      dropped: forbidden.names,
      forbidden: forbidden.keys,
      document,
      ...(isUnwritten && { isModelUnwritten: true }),
    },
  };
}

/** A request without a body, of a route that says whose it is. */
export const bodyless = (route: CustomRouteName, model: string): ParsedRequest => ({
  route,
  model,
  stream: false,
  promptBytes: 0,
  hasMedia: false,
  maxOutputTokens: 0,
  belowOne: undefined,
  outputs: 1,
  wantsUsage: true,
  dropped: [],
  forbidden: new Map(),
  document: NO_DOCUMENT,
  isBodyless: true,
});

const NONE_SKIPPED: ReadonlySet<number> = new Set();

interface AllowedFields {
  readonly document: JsonDocument;
  readonly fields: BodyFields;
  readonly forbidden: Forbidden;
  /** Keys of what is left out. */
  readonly skipped: ReadonlySet<number>;
}

/** A body and what is left of it, or why it is refused. */
function allowedFields(json: Reading, policy: PromptPolicy): AllowedFields | ApiError {
  if (json.kind === 'bad') return invalidRequest(json.message, undefined, 'invalid_json');
  const { document } = json;
  const forbidden = findForbidden(document, policy.fields);
  const [first] = forbidden.names;
  if (first !== undefined && policy.fields.onForbidden === 'refuse') return forbiddenField(first);
  if (forbidden.names.length > MOST_FORBIDDEN) {
    return invalidRequest(`The request has more than ${MOST_FORBIDDEN} fields that are not allowed here.`);
  }
  const skipped = forbidden.keys.size === 0 ? NONE_SKIPPED : new Set([...forbidden.keys.values()].flat());
  return { document, fields: new BodyFields(document, skipped), forbidden, skipped };
}

const isFalse = (document: JsonDocument, at: number): boolean => at >= 0 && document.kind(at) === KIND.false;

/** The body to send to the engine, in parts: the client's own bytes, with the changes. */
export const serialiseRequest = (request: ParsedRequest, changes: RequestChanges): readonly Buffer[] =>
  request.form === undefined
    ? splice(request.document.bytes, editsOf(request, changes))
    : spliceForm(request.form, changes);

/** The same; undefined where the client's own bytes say it already: the reader is strict enough for that. */
export function changedBody(request: ParsedRequest, changes: RequestChanges): readonly Buffer[] | undefined {
  const { form } = request;
  if (form !== undefined) {
    return editsOfForm(form, changes).length === 0 ? undefined : spliceForm(form, changes);
  }
  const edits = editsOf(request, changes);
  if (edits.length === 0 && changes.priorityFollows !== true) return undefined;
  return splice(request.document.bytes, edits);
}

function editsOf(request: ParsedRequest, changes: RequestChanges): readonly Edit[] {
  const { document, route } = request;
  const left = request.forbidden.get(0);
  const fields = new BodyFields(document, left === undefined ? NONE_SKIPPED : new Set(left));
  const members: string[] = [];
  const cut = keysToCut(request, fields, changes);
  const edits: Edit[] = [];
  for (const [object, keys] of cut) {
    for (const edit of cutMembers(document, object, keys)) edits.push(edit);
  }
  if (request.leftOut !== undefined) {
    edits.push(...cutValues(document, request.leftOut.list, request.leftOut.tools));
  }
  const isCut = (object: number, value: number): boolean =>
    cut.get(object)?.includes(value - STRIDE) === true;
  const set = (name: KnownName, json: string): void => {
    const value = fields.at(name);
    if (value === ABSENT) members.push(`${JSON.stringify(name)}:${json}`);
    else edits.push(replaceValue(document, value, json));
  };

  if (changes.model !== undefined && request.isModelUnwritten !== true)
    set('model', JSON.stringify(changes.model));
  const { cap: capField, usageOption: hasUsageOption } = fieldsOf(route);

  const cap = Math.min(request.maxOutputTokens ?? Infinity, changes.maxOutputTokens ?? Infinity);
  if (capField !== undefined && cap !== Infinity) {
    // vLLM prefers max_completion_tokens, SGLang max_tokens, and TGI reads only the latter: whichever name an engine
    // reads, it must find the number that was counted.
    for (const name of CAP_FIELDS) {
      const value = fields.at(name);
      const isCap = name === capField && changes.maxOutputTokens !== undefined;
      if ((isCap || document.isNumber(value)) && document.number(value) !== cap) set(name, String(cap));
    }
  }
  if (changes.includeUsage && hasUsageOption && request.stream && !request.wantsUsage) {
    const options = fields.at('stream_options');
    if (!document.isObject(options)) set('stream_options', '{"include_usage":true}');
    else {
      const usage = document.get(options, NAME.include_usage);
      if (usage !== ABSENT && !isCut(options, usage)) edits.push(replaceValue(document, usage, 'true'));
      else {
        const isEmpty = (cut.get(options)?.length ?? 0) === membersOf(document, options);
        edits.push(addMembers(document, options, '"include_usage":true', isEmpty));
      }
    }
  }
  if (changes.cacheSalt !== undefined) set('cache_salt', JSON.stringify(changes.cacheSalt));
  // A body has its model at least, so there is a member behind what is added.
  if (members.length > 0) edits.push(addMembers(document, 0, members.join(','), false));
  return edits;
}

function membersOf(document: JsonDocument, object: number): number {
  let count = 0;
  const end = document.next(object);
  for (let key = document.first(object); key < end; key = document.next(key + STRIDE)) count += 1;
  return count;
}

/** What is forbidden, and a priority that is ours to set. */
function keysToCut(
  { forbidden }: ParsedRequest,
  fields: BodyFields,
  changes: RequestChanges,
): Forbidden['keys'] {
  const priority = fields.at('priority') - STRIDE;
  const ofBody = forbidden.get(0) ?? [];
  if (changes.priorityFollows !== true || priority < 0 || ofBody.includes(priority)) return forbidden;
  return new Map([...forbidden, [0, [...ofBody, priority].toSorted((a, b) => a - b)]]);
}

/** A serialised request, which has no priority, with one. Cheap: the text is neither read again nor copied. */
export function withPriority([first, ...rest]: readonly Buffer[], priority: number): readonly Buffer[] {
  if (first === undefined) return [];
  // White space may stand before it, and stays.
  const at = first.indexOf('{') + 1;
  const begin = Buffer.concat([first.subarray(0, at), Buffer.from(`"priority":${priority},`)]);
  const behind = first.subarray(at);
  return rest.length === 0 && first.length < COPIED_BYTES
    ? [Buffer.concat([begin, behind])]
    : [begin, behind, ...rest];
}

const bad = (error: ApiError): RequestResult => ({ kind: 'bad', error });
