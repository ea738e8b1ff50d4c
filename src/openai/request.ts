/** A client's request as the service understands it, and as it is sent on. */
import type { FieldPolicy } from '../config/config.ts';
import type { ApiError } from '../domain/api-error.ts';
import type { EngineRoute } from '../domain/routes.ts';
import { BodyFields, CAP_FIELDS, ROUTE_FIELDS } from './body-fields.ts';
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
import { ABSENT, type JsonDocument, KIND, STRIDE } from './json/document.ts';
import { type Reading, readJson } from './json/reader.ts';
import { addMembers, COPIED_BYTES, cutMembers, type Edit, replaceValue, splice } from './json/splice.ts';
import { type KnownName, NAME } from './names.ts';
import { namesOf } from './policy-names.ts';
import { type PromptPolicy, PromptWalk, stateRefused } from './prompt.ts';
import { isAllowedTool, refusedTool, toolRefused } from './tools.ts';

/** What is known of a request once its body is not needed any more. */
export interface RequestFacts {
  readonly route: EngineRoute;
  readonly model: string;
  readonly stream: boolean;
  /** UTF-8 bytes of what becomes the prompt, without JSON scaffolding; media and token ids by an equivalent. */
  readonly promptBytes: number;
  /** There are media in the prompt: its tokens say nothing of text. */
  readonly hasMedia: boolean;
  /** The client's cap for one output; undefined: none. 0 for embeddings. */
  readonly maxOutputTokens: number | undefined;
  /** Outputs that the engine works on: choices times prompts. */
  readonly outputs: number;
  /** The client expects usage in the stream: it asked for it, or the API always sends it. */
  readonly wantsUsage: boolean;
  /** Forbidden fields that were left out, by path. Names as the client wrote them: not for metric labels. */
  readonly dropped: readonly string[];
  /** The engine may store the answer under its id. */
  readonly isStored?: true;
  /** Tokens of a conversation that the engine has stored, and that this request goes on with; absent: none. */
  readonly heldTokens?: number;
}

export interface ParsedRequest extends RequestFacts {
  /** Without a cap: whole numbers below one that stand in its place, whose meaning is the engine's. */
  readonly belowOne: readonly number[] | undefined;
  /** Where the forbidden fields are. */
  readonly forbidden: Forbidden['keys'];
  /** As it came. */
  readonly document: JsonDocument;
  /** Id of the stored response that it goes on with, as far as one may be long. */
  readonly previousResponse?: string;
}

/** The facts alone, without what would keep the body. @param model that serves it. */
export const factsOf = (request: ParsedRequest, model: string): RequestFacts => ({
  route: request.route,
  model,
  stream: request.stream,
  promptBytes: request.promptBytes,
  hasMedia: request.hasMedia,
  maxOutputTokens: request.maxOutputTokens,
  outputs: request.outputs,
  wantsUsage: request.wantsUsage,
  dropped: request.dropped,
  ...(request.isStored === true && { isStored: true }),
  ...(request.heldTokens !== undefined && { heldTokens: request.heldTokens }),
});

export type RequestResult =
  | { readonly kind: 'ok'; readonly request: ParsedRequest }
  | { readonly kind: 'bad'; readonly error: ApiError };

export interface RequestChanges {
  /** What the engine is asked for; absent: what the client wrote. */
  readonly model?: string;
  /** The cap to enforce, ≥ 1; a lower one of the client's stays. */
  readonly maxOutputTokens?: number;
  /** Have the engine report usage at the end of a stream. */
  readonly includeUsage: boolean;
  /** Keeps the engine's prefix cache apart. */
  readonly cacheSalt?: string;
  /** `priority` is set later, with withPriority(): whatever the client wrote goes. */
  readonly priorityFollows?: boolean;
}

const MAX_CHOICES = 128;
/** In bytes: more than any id has. */
const LONGEST_PREVIOUS = 256;

/** Templates render these as JSON, so their keys are prompt too; on whichever route an engine reads them. */
const RENDERED: readonly KnownName[] = [
  'tools',
  'functions',
  'tool_choice',
  'documents',
  'chat_template_kwargs',
  'response_format',
  'json_schema',
  'text',
  'output_config',
  'reasoning',
  'reasoning_effort',
  'reasoning_budget_message',
  'thinking',
  'guideline',
  'tool_prompt',
];

/** What names something that is stored elsewhere. A previous response of /v1/responses has an owner, who is asked for. */
const STATE: readonly KnownName[] = ['conversation', 'previous_response_id', 'container'];
/** What acts elsewhere, as a field; as tools they have types. */
const ACTING: readonly KnownName[] = ['mcp_servers', 'web_search_options', 'plugins'];

/**
 * Reads a request strictly: every field that the service understands has the API's type, or the request is refused.
 * Null counts as absent for optional fields, as OpenAI has it. Other fields pass unread.
 */
export const parseRequest = (route: EngineRoute, bytes: Uint8Array, policy: PromptPolicy): RequestResult =>
  understand(route, readJson(bytes, namesOf(policy.fields)), policy);

/** The same of a body that has been read, with the names of the policy. */
export function understand(route: EngineRoute, json: Reading, policy: PromptPolicy): RequestResult {
  if (json.kind === 'bad') return bad(invalidRequest(json.message, undefined, 'invalid_json'));
  const { document } = json;

  const forbidden = findForbidden(document, policy.fields);
  const [first] = forbidden.names;
  if (first !== undefined && policy.fields.onForbidden === 'refuse') return bad(forbiddenField(first));
  if (forbidden.names.length > MOST_FORBIDDEN) {
    return bad(
      invalidRequest(`The request has more than ${MOST_FORBIDDEN} fields that are not allowed here.`),
    );
  }

  const skipped = new Set([...forbidden.keys.values()].flat());
  const fields = new BodyFields(document, skipped);
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
  const acting = actingElsewhere(route, fields, policy.fields);
  if (acting !== undefined) return bad(acting);
  const previous = route === 'responses' ? previousResponse(fields) : undefined;
  if (typeof previous === 'object') return bad(previous);
  const size = promptSize(route, fields, policy, skipped);
  if (!('bytes' in size)) return bad(size);

  const embeds = route === 'embeddings';
  return {
    kind: 'ok',
    request: {
      route,
      model,
      stream: stream === true && !embeds,
      promptBytes: size.bytes,
      hasMedia: size.hasMedia,
      maxOutputTokens: embeds ? 0 : cap.tokens,
      belowOne: embeds ? undefined : cap.belowOne,
      outputs: embeds ? 1 : Math.max(n ?? 1, bestOf ?? 1) * promptCount(route, fields),
      wantsUsage: ROUTE_FIELDS[route].usageOption ? usage === true : true,
      dropped: forbidden.names,
      forbidden: forbidden.keys,
      document,
      ...(route === 'responses' && !isFalse(document, fields.at('store')) && { isStored: true }),
      ...(previous !== undefined && { previousResponse: previous }),
    },
  };
}

/** The body to send to the engine, in parts: the client's own bytes, with the changes. */
export const serialiseRequest = (request: ParsedRequest, changes: RequestChanges): readonly Buffer[] =>
  splice(request.document.bytes, editsOf(request, changes));

/** The same; undefined where the client's own bytes say it already: the reader is strict enough for that. */
export function changedBody(request: ParsedRequest, changes: RequestChanges): readonly Buffer[] | undefined {
  const edits = editsOf(request, changes);
  if (edits.length === 0 && changes.priorityFollows !== true) return undefined;
  return splice(request.document.bytes, edits);
}

function editsOf(request: ParsedRequest, changes: RequestChanges): readonly Edit[] {
  const { document, route } = request;
  const fields = new BodyFields(document, new Set(request.forbidden.get(0)));
  const members: string[] = [];
  const cut = keysToCut(request, fields, changes);
  const edits: Edit[] = [];
  for (const [object, keys] of cut) {
    for (const edit of cutMembers(document, object, keys)) edits.push(edit);
  }
  const isCut = (object: number, value: number): boolean =>
    cut.get(object)?.includes(value - STRIDE) === true;
  const set = (name: KnownName, json: string): void => {
    const value = fields.at(name);
    if (value === ABSENT) members.push(`${JSON.stringify(name)}:${json}`);
    else edits.push(replaceValue(document, value, json));
  };

  if (changes.model !== undefined) set('model', JSON.stringify(changes.model));
  const { cap: capField, usageOption: hasUsageOption } = ROUTE_FIELDS[route];

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

// --- what acts, or is stored, elsewhere

/** What the engine, or another service, would do or remember for this request beyond answering it. */
function actingElsewhere(route: EngineRoute, fields: BodyFields, policy: FieldPolicy): ApiError | undefined {
  const { document } = fields;
  if (policy.state === 'refuse') {
    const isTaken = (one: KnownName): boolean => route === 'responses' && one === 'previous_response_id';
    const name = STATE.find((one) => !isTaken(one) && !document.isNothing(fields.at(one)));
    if (name !== undefined) return stateRefused(name, name);
    // A prompt of /v1/responses is one that is stored.
    if (route === 'responses' && document.isObject(fields.at('prompt')))
      return stateRefused('prompt', 'prompt');
  }
  const acts = ACTING.find((one) => !document.isNothing(fields.at(one)));
  if (acts !== undefined && !isAllowedTool(acts, policy)) return toolRefused(acts, acts);
  return refusedTool(document, fields.at('tools'), policy);
}

const isFalse = (document: JsonDocument, at: number): boolean => at >= 0 && document.kind(at) === KIND.false;

function previousResponse(fields: BodyFields): string | undefined | ApiError {
  const { document } = fields;
  const at = fields.at('previous_response_id');
  if (document.isNothing(at)) return undefined;
  return document.isString(at)
    ? document.head(at, LONGEST_PREVIOUS)
    : invalidRequest("'previous_response_id' must be a string.", 'previous_response_id');
}

// --- size

function promptCount(route: EngineRoute, fields: BodyFields): number {
  const { document } = fields;
  const prompt = fields.at('prompt');
  return route === 'completions' && document.isArray(prompt) && !document.isNumber(document.first(prompt))
    ? document.length(prompt)
    : 1;
}

/** Whoever walks over all of a body also looks for what must not be in it. */
function promptSize(
  route: EngineRoute,
  fields: BodyFields,
  policy: PromptPolicy,
  skipped: ReadonlySet<number>,
): ReturnType<PromptWalk['result']> {
  const { document } = fields;
  const walk = new PromptWalk(document, policy, skipped);
  const end = document.next(0);
  for (let key = document.first(0); key < end; key = document.next(key + STRIDE)) {
    if (!skipped.has(key)) walk.key(key, 'body');
  }
  const options = fields.at('stream_options');
  if (document.isObject(options)) {
    const last = document.next(options);
    for (let key = document.first(options); key < last; key = document.next(key + STRIDE)) {
      walk.key(key, 'stream_options');
    }
  }
  lookAtTools(document, fields.at('tools'), walk);
  for (const name of ROUTE_FIELDS[route].prompt) {
    if (name === 'messages') walk.messages(fields.at(name), name);
    else walk.content(fields.at(name), name);
  }
  for (const name of RENDERED) walk.json(fields.at(name));
  return walk.result();
}

/** What a tool is, and which are within it, must be there for readers of any case; see refusedTool. */
function lookAtTools(document: JsonDocument, tools: number, walk: PromptWalk): void {
  if (!document.isArray(tools)) return;
  const end = document.next(tools);
  for (let tool = document.first(tools); tool < end; tool = document.next(tool)) {
    if (!document.isObject(tool)) continue;
    const last = document.next(tool);
    for (let key = document.first(tool); key < last; key = document.next(key + STRIDE)) {
      walk.key(key, 'tools');
      if (document.name(key) === NAME.tools) lookAtTools(document, key + STRIDE, walk);
    }
  }
}
