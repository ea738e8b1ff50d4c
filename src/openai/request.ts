/** A client's request as the service understands it, and as it is sent on. */
import type { FieldPolicy } from '../config/config.ts';
import type { ApiError } from '../domain/api-error.ts';
import type { EngineRoute } from '../domain/routes.ts';
import { forbiddenField, invalidRequest, PROMPT_FIELD } from './error-body.ts';
import { COPIED_BYTES, type LongTexts } from './long-texts.ts';
import { type JsonObject, type JsonValue, parseStrict } from './strict-json.ts';

export interface ParsedRequest {
  readonly route: EngineRoute;
  readonly model: string;
  readonly stream: boolean;
  /** UTF-8 bytes of what becomes the prompt, without JSON scaffolding; media and token ids by an equivalent. */
  readonly promptBytes: number;
  /** The client's cap for one output; undefined: none. 0 for embeddings. */
  readonly maxOutputTokens: number | undefined;
  /** Outputs that the engine works on: choices times prompts. */
  readonly outputs: number;
  /** The client expects usage in the stream: it asked for it, or the API always sends it. */
  readonly wantsUsage: boolean;
  /** Forbidden fields that were left out. Names as the client wrote them: not for metric labels. */
  readonly dropped: readonly string[];
  /** The request without the dropped fields. */
  readonly body: JsonObject;
  /** What long strings of it stand for. */
  readonly long: LongTexts;
}

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

const MODEL_CHARACTERS = 256;
const MAX_CHOICES = 128;
const MAX_OUTPUT_TOKENS = 2 ** 31;

/** Prompt bytes of a token id: a common bytes-per-token ratio of English text. */
const TOKEN_BYTES = 4;
/** Prompt bytes of an image: a megapixel takes about 1,000 tokens in current vision models. */
const IMAGE_BYTES = 4096;
/** Base64 bytes of audio, video or a file for one prompt byte; compressed speech: about 10 KB and 25 tokens a second. */
const MEDIA_BYTES_PER_PROMPT_BYTE = 100;
const MEDIA_BYTES_MIN = 1024;

/** Names under which one engine or another reads the output cap. */
const CAP_FIELDS = ['max_completion_tokens', 'max_tokens', 'max_output_tokens'] as const;
type CapField = (typeof CAP_FIELDS)[number];

interface RouteFields {
  /** Fields whose text becomes prompt. */
  readonly prompt: readonly string[];
  /** The API's names of the output cap, the strongest first. */
  readonly caps: readonly CapField[];
  /** The name under which every engine reads a cap on this route. */
  readonly cap: CapField | undefined;
  /** `stream_options.include_usage` exists on this route. */
  readonly usageOption: boolean;
}

const FIELDS: Readonly<Record<EngineRoute, RouteFields>> = {
  'chat.completions': {
    prompt: ['messages', 'documents'],
    caps: ['max_completion_tokens', 'max_tokens'],
    cap: 'max_tokens',
    usageOption: true,
  },
  completions: { prompt: ['prompt', 'suffix'], caps: ['max_tokens'], cap: 'max_tokens', usageOption: true },
  embeddings: { prompt: ['input', 'messages'], caps: [], cap: undefined, usageOption: false },
  responses: {
    prompt: ['input', 'instructions'],
    caps: ['max_output_tokens'],
    cap: 'max_output_tokens',
    usageOption: false,
  },
  messages: { prompt: ['messages', 'system'], caps: ['max_tokens'], cap: 'max_tokens', usageOption: false },
};

/** Templates render these as JSON, so their keys are prompt too. */
const TOOL_FIELDS = ['tools', 'functions'] as const;

/**
 * Reads a request strictly: every field that the service understands has the API's type, or the request is refused.
 * Null counts as absent for optional fields, as OpenAI has it. Other fields pass unread.
 */
export function parseRequest(route: EngineRoute, bytes: Uint8Array, fields: FieldPolicy): RequestResult {
  const json = parseStrict(bytes);
  if (json.kind === 'bad') return bad(invalidRequest(json.message, undefined, 'invalid_json'));

  const forbidden = withoutForbidden(json.value, fields);
  if (forbidden.kind === 'refuse') return bad(forbiddenField(forbidden.field));
  const { body, dropped } = forbidden;

  const model = body['model'];
  const modelProblem = problemOfModel(model);
  if (modelProblem !== undefined) return bad(invalidRequest(modelProblem, 'model'));

  const promptProblem = problemOfPrompt(route, body);
  if (promptProblem !== undefined) return bad(promptProblem);

  const stream = optionalBoolean(body, 'stream');
  if (typeof stream === 'object') return bad(stream);
  const n = optionalInteger(body, 'n', 1, MAX_CHOICES);
  if (typeof n === 'object') return bad(n);
  const bestOf = optionalInteger(body, 'best_of', 1, MAX_CHOICES);
  if (typeof bestOf === 'object') return bad(bestOf);
  const cap = outputCap(route, body);
  if (typeof cap === 'object') return bad(cap);
  const usage = usageOption(body);
  if (typeof usage === 'object') return bad(usage);

  const embeds = route === 'embeddings';
  return {
    kind: 'ok',
    request: {
      route,
      model: model as string,
      stream: stream === true && !embeds,
      promptBytes: promptBytes(route, body, json.long),
      maxOutputTokens: embeds ? 0 : cap,
      outputs: embeds ? 1 : Math.max(n ?? 1, bestOf ?? 1) * promptCount(route, body),
      wantsUsage: FIELDS[route].usageOption ? usage === true : true,
      dropped,
      body,
      long: json.long,
    },
  };
}

/** The body to send to the engine, in parts: what was understood, with the changes. */
export function serialiseRequest(request: ParsedRequest, changes: RequestChanges): readonly Buffer[] {
  const { body } = request;
  const { priority, ...rest } = { ...body, ...additions(request, changes) };
  const kept = priority === undefined || changes.priorityFollows === true ? rest : { ...rest, priority };
  return request.long.restore(JSON.stringify(kept));
}

/** The client's own bytes say the same: the reader is strict enough for that. */
export const isUnchanged = (request: ParsedRequest, changes: RequestChanges): boolean =>
  request.dropped.length === 0 &&
  changes.priorityFollows !== true &&
  Object.keys(additions(request, changes)).length === 0;

function additions(request: ParsedRequest, changes: RequestChanges): Readonly<Record<string, JsonValue>> {
  const { body, route } = request;
  const added: Record<string, JsonValue> = {};
  if (changes.model !== undefined) added['model'] = changes.model;
  const { cap: capField, usageOption: hasUsageOption } = FIELDS[route];

  const cap = Math.min(request.maxOutputTokens ?? Infinity, changes.maxOutputTokens ?? Infinity);
  if (capField !== undefined && cap !== Infinity) {
    // vLLM prefers max_completion_tokens, SGLang max_tokens, and TGI reads only the latter: whichever name an engine
    // reads, it must find the number that was counted.
    for (const name of CAP_FIELDS) {
      const isCap = name === capField && changes.maxOutputTokens !== undefined;
      if ((isCap || typeof body[name] === 'number') && body[name] !== cap) added[name] = cap;
    }
  }
  if (changes.includeUsage && hasUsageOption && request.stream && !request.wantsUsage) {
    const options = body['stream_options'];
    added['stream_options'] = isJsonObject(options)
      ? { ...options, include_usage: true }
      : { include_usage: true };
  }
  if (changes.cacheSalt !== undefined) added['cache_salt'] = changes.cacheSalt;
  return added;
}

/** A serialised request, which has no priority, with one. Cheap: the text is neither read again nor copied. */
export function withPriority([first, ...rest]: readonly Buffer[], priority: number): readonly Buffer[] {
  const begin = Buffer.from(`{"priority":${priority},`);
  if (first === undefined) return [];
  return rest.length === 0 && first.length < COPIED_BYTES
    ? [Buffer.concat([begin, first.subarray(1)])]
    : [begin, first.subarray(1), ...rest];
}

const bad = (error: ApiError): RequestResult => ({ kind: 'bad', error });

function isJsonObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

// --- forbidden fields

interface FieldMatcher {
  readonly exact: ReadonlySet<string>;
  readonly prefixes: readonly string[];
}

/** A policy lives as long as its configuration: compiled once. */
const matchers = new WeakMap<FieldPolicy, FieldMatcher>();

function matcherOf(fields: FieldPolicy): FieldMatcher {
  let matcher = matchers.get(fields);
  if (matcher === undefined) {
    matcher = {
      exact: new Set(fields.forbidden.filter((name) => !name.endsWith('*'))),
      prefixes: fields.forbidden.filter((name) => name.endsWith('*')).map((name) => name.slice(0, -1)),
    };
    matchers.set(fields, matcher);
  }
  return matcher;
}

function withoutForbidden(
  body: JsonObject,
  fields: FieldPolicy,
):
  | { readonly kind: 'ok'; readonly body: JsonObject; readonly dropped: readonly string[] }
  | { readonly kind: 'refuse'; readonly field: string } {
  const { exact, prefixes } = matcherOf(fields);
  let dropped: string[] | undefined;
  for (const key of Object.keys(body)) {
    if (exact.has(key) || prefixes.some((prefix) => key.startsWith(prefix))) {
      if (fields.onForbidden === 'refuse') return { kind: 'refuse', field: key };
      (dropped ??= []).push(key);
    }
  }
  if (dropped === undefined) return { kind: 'ok', body, dropped: [] };
  const kept: Record<string, JsonValue> = { ...body };
  for (const key of dropped) delete kept[key];
  return { kind: 'ok', body: kept, dropped };
}

// --- types

function problemOfModel(model: JsonValue | undefined): string | undefined {
  if (model === undefined || model === null) return 'You must provide a model.';
  if (typeof model !== 'string') return 'The model must be a string.';
  if (model === '') return 'The model must not be empty.';
  if (model.length > MODEL_CHARACTERS)
    return `The model's name is longer than ${MODEL_CHARACTERS} characters.`;
  return /[\p{Cc}\p{Cs}]/u.test(model) ? 'The model must not contain control characters.' : undefined;
}

function problemOfPrompt(route: EngineRoute, body: JsonObject): ApiError | undefined {
  const field = PROMPT_FIELD[route];
  const value = body[field];
  // vLLM embeds conversations too.
  if (route === 'embeddings' && isAbsent(value) && !isAbsent(body['messages']))
    return problemOfMessages(body);
  if (isAbsent(value)) return invalidRequest(`Missing required field '${field}'.`, field);
  if (field === 'messages') return problemOfMessages(body);
  if (route === 'responses') {
    return typeof value === 'string' || (Array.isArray(value) && value.every(isJsonObject))
      ? undefined
      : invalidRequest(`'${field}' must be a string or an array of objects.`, field);
  }
  return isTextOrTokens(value, route === 'embeddings')
    ? undefined
    : invalidRequest(
        `'${field}' must be a string, or a non-empty array of strings, of token ids, or of arrays of token ids.`,
        field,
      );
}

function problemOfMessages(body: JsonObject): ApiError | undefined {
  const { messages } = body;
  return Array.isArray(messages) && messages.length > 0 && messages.every(isJsonObject)
    ? undefined
    : invalidRequest("'messages' must be a non-empty array of objects.", 'messages');
}

function isAbsent(value: JsonValue | undefined): boolean {
  return value === undefined || value === null;
}

/** `parts`: also objects, as multimodal embedding models take them. */
function isTextOrTokens(value: JsonValue | undefined, parts: boolean): boolean {
  if (typeof value === 'string') return true;
  if (!Array.isArray(value) || value.length === 0) return false;
  const items = value as readonly JsonValue[];
  const first = items[0];
  if (typeof first === 'string') return items.every((item) => typeof item === 'string');
  if (typeof first === 'number') return items.every(isToken);
  if (Array.isArray(first)) {
    return items.every((item) => Array.isArray(item) && item.length > 0 && item.every(isToken));
  }
  return parts && items.every(isJsonObject);
}

function isToken(value: JsonValue): boolean {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0;
}

function optionalBoolean(from: JsonObject, name: string, param = name): boolean | undefined | ApiError {
  const value = from[name];
  if (value === undefined || value === null) return undefined;
  return typeof value === 'boolean' ? value : invalidRequest(`'${param}' must be true or false.`, param);
}

function optionalInteger(
  from: JsonObject,
  name: string,
  least: number,
  most: number,
): number | undefined | ApiError {
  const value = from[name];
  if (value === undefined || value === null) return undefined;
  return typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most
    ? value
    : invalidRequest(`'${name}' must be an integer between ${least} and ${most}.`, name);
}

/** The effective cap. All names are checked: an engine may read one that the API does not have on this route. */
function outputCap(route: EngineRoute, body: JsonObject): number | undefined | ApiError {
  // Scoring a given text: completions with `echo` generate nothing.
  const least = route === 'completions' && body['echo'] === true ? 0 : 1;
  for (const name of CAP_FIELDS) {
    const value = optionalInteger(body, name, least, MAX_OUTPUT_TOKENS);
    if (typeof value === 'object') return value;
  }
  for (const name of FIELDS[route].caps) {
    const value = body[name];
    if (typeof value === 'number') return value;
  }
  return undefined;
}

function usageOption(body: JsonObject): boolean | undefined | ApiError {
  const options = body['stream_options'];
  if (options === undefined || options === null) return undefined;
  if (!isJsonObject(options)) return invalidRequest("'stream_options' must be an object.", 'stream_options');
  const continuous = optionalBoolean(
    options,
    'continuous_usage_stats',
    'stream_options.continuous_usage_stats',
  );
  if (typeof continuous === 'object') return continuous;
  return optionalBoolean(options, 'include_usage', 'stream_options.include_usage');
}

// --- size

function promptCount(route: EngineRoute, body: JsonObject): number {
  const { prompt } = body;
  return route === 'completions' && Array.isArray(prompt) && typeof prompt[0] !== 'number'
    ? prompt.length
    : 1;
}

function promptBytes(route: EngineRoute, body: JsonObject, long: LongTexts): number {
  let bytes = 0;
  for (const name of FIELDS[route].prompt) bytes += textBytes(body[name], long);
  for (const name of TOOL_FIELDS) bytes += jsonBytes(body[name], long);
  return bytes;
}

const bytesOf = (text: string, long: LongTexts): number =>
  long.of(text)?.byteLength ?? Buffer.byteLength(text);

/** Bytes of the strings in a value, under whatever keys. Recursion is bounded by the reader's MAX_DEPTH. */
function textBytes(value: JsonValue | undefined, long: LongTexts): number {
  if (typeof value === 'string') return bytesOf(value, long);
  if (typeof value === 'number') return TOKEN_BYTES;
  if (typeof value !== 'object' || value === null) return 0;
  let bytes = 0;
  if (Array.isArray(value)) {
    for (const item of value as readonly JsonValue[]) bytes += textBytes(item, long);
    return bytes;
  }
  const part = value as JsonObject;
  const media = mediaBytes(part, long);
  if (media !== undefined) return media;
  for (const key of Object.keys(part)) {
    if (SCAFFOLDING.has(key)) continue;
    const member = part[key];
    // Arguments of an Anthropic tool call: an object that is rendered as JSON.
    bytes += key === 'input' && isJsonObject(member) ? jsonBytes(member, long) : textBytes(member, long);
  }
  return bytes;
}

const SCAFFOLDING: ReadonlySet<string> = new Set([
  'type',
  'id',
  'call_id',
  'tool_call_id',
  'tool_use_id',
  'cache_control',
  'index',
  'status',
]);

/** Bytes of a value as JSON, without quotes and commas. */
function jsonBytes(value: JsonValue | undefined, long: LongTexts): number {
  if (typeof value === 'string') return bytesOf(value, long);
  if (typeof value !== 'object' || value === null) return value === undefined ? 0 : TOKEN_BYTES;
  let bytes = 0;
  if (Array.isArray(value)) {
    for (const item of value as readonly JsonValue[]) bytes += jsonBytes(item, long);
    return bytes;
  }
  const object = value as JsonObject;
  for (const key of Object.keys(object)) bytes += key.length + jsonBytes(object[key], long);
  return bytes;
}

/** Prompt bytes of a content part that is not text; undefined for every other object. */
function mediaBytes(part: JsonObject, long: LongTexts): number | undefined {
  const { type } = part;
  if (typeof type !== 'string') return undefined;
  switch (type) {
    case 'image':
    case 'image_url':
    case 'input_image':
      return IMAGE_BYTES;
    case 'document': {
      const { source } = part;
      if (!isJsonObject(source) || source['type'] !== 'base64') return undefined;
      return encodedBytes(part, long);
    }
    case 'input_audio':
    case 'audio_url':
    case 'video_url':
    case 'file':
    case 'input_file':
      return encodedBytes(part, long);
    default:
      return undefined;
  }
}

function encodedBytes(part: JsonObject, long: LongTexts): number {
  return Math.max(MEDIA_BYTES_MIN, Math.ceil(jsonBytes(part, long) / MEDIA_BYTES_PER_PROMPT_BYTE));
}
