/** Types of the fields that the service understands: each check gives the value, or what is wrong with it. */
import type { ApiError } from '../domain/api-error.ts';
import { isResponses, type RouteName } from '../domain/routes.ts';
import { type BodyFields, CAP_FIELDS, PAIRS, ROUTE_FIELDS } from './body-fields.ts';
import { invalidRequest, promptFieldOf } from './error-body.ts';
import { type JsonDocument, KIND, STRIDE } from './json/document.ts';
import { type KnownName, NAME } from './names.ts';

const MODEL_CHARACTERS = 256;
/** UTF-8 of as many characters. */
const MODEL_BYTES = 4 * MODEL_CHARACTERS;
const MAX_OUTPUT_TOKENS = 2 ** 31;

/** The name, or what is wrong with it. */
export function modelOf(fields: BodyFields): string | ApiError {
  const { document } = fields;
  const at = fields.at('model');
  const problem = (message: string): ApiError => invalidRequest(message, 'model');
  if (document.isNothing(at)) return problem('You must provide a model.');
  if (!document.isString(at)) return problem('The model must be a string.');
  if (document.more(at) === 0) return problem('The model must not be empty.');
  const model = document.more(at) > MODEL_BYTES ? 'm'.repeat(MODEL_CHARACTERS + 1) : document.text(at);
  return problemOfModelName(model) ?? model;
}

/** Of a name, wherever it stood. */
export function problemOfModelName(model: string): ApiError | undefined {
  const problem = (message: string): ApiError => invalidRequest(message, 'model');
  if (model === '') return problem('The model must not be empty.');
  if (model.length > MODEL_CHARACTERS) {
    return problem(`The model's name is longer than ${MODEL_CHARACTERS} characters.`);
  }
  return /[\p{Cc}\p{Cs}]/u.test(model)
    ? problem('The model must not contain control characters.')
    : undefined;
}

const MAY_CONVERSE: ReadonlySet<RouteName> = new Set(['embeddings', 'classify', 'pooling', 'tokenize']);
const TEXT_ALONE: ReadonlySet<RouteName> = new Set(['audio.speech', 'images.generations']);

/** Of the field that holds the route's prompt. */
export function problemOfPrompt(route: RouteName, fields: BodyFields): ApiError | undefined {
  const { document } = fields;
  const pairs = PAIRS[route];
  if (pairs !== undefined) return problemOfPairs(pairs, fields);
  const field = promptFieldOf(route) as KnownName;
  const at = fields.at(field);
  // vLLM embeds, classifies and tokenizes conversations too.
  if (MAY_CONVERSE.has(route) && document.isNothing(at) && !document.isNothing(fields.at('messages'))) {
    return problemOfMessages(fields);
  }
  if (route === 'tokenize') return problemOfTokenize(fields);
  // The extension of an operator reads it: what it means, and what it fetches, nobody knows here.
  if (route === 'pooling' && !document.isNothing(fields.at('data'))) {
    return invalidRequest("'data' for a plugin is not taken here. Send 'input' or 'messages'.", 'data');
  }
  if (document.isNothing(at)) return invalidRequest(`Missing required field '${field}'.`, field);
  if (field === 'messages') return problemOfMessages(fields);
  if (TEXT_ALONE.has(route)) {
    return document.isString(at) ? undefined : invalidRequest(`'${field}' must be a string.`, field);
  }
  if (route === 'detokenize') {
    return isTokens(document, at)
      ? undefined
      : invalidRequest(`'${field}' must be a non-empty array of token ids.`, field);
  }
  if (isResponses(route)) {
    return document.isString(at) || (document.isArray(at) && hasOnly(document, at, KIND.object))
      ? undefined
      : invalidRequest(`'${field}' must be a string or an array of objects.`, field);
  }
  return isTextOrTokens(document, at, MAY_CONVERSE.has(route))
    ? undefined
    : invalidRequest(
        `'${field}' must be a string, or a non-empty array of strings, of token ids, or of arrays of token ids.`,
        field,
      );
}

/** llama.cpp has another name for it, which is read where the other is not. */
function problemOfTokenize(fields: BodyFields): ApiError | undefined {
  const { document } = fields;
  const given = (['prompt', 'content'] as const).filter((name) => !document.isNothing(fields.at(name)));
  const [name = 'prompt'] = given;
  if (given.length === 0) return invalidRequest("Missing required field 'prompt'.", 'prompt');
  const at = fields.at(name);
  const isText = document.isString(at) || (document.isArray(at) && hasOnly(document, at, KIND.string));
  return isText ? undefined : invalidRequest(`'${name}' must be a string or an array of strings.`, name);
}

/** Both sides of the first pair of which anything is there. */
function problemOfPairs(
  pairs: readonly (readonly [KnownName, KnownName])[],
  fields: BodyFields,
): ApiError | undefined {
  const { document } = fields;
  const isThere = (name: KnownName): boolean => !document.isNothing(fields.at(name));
  const pair = pairs.find((names) => names.every(isThere)) ?? pairs.find((names) => names.some(isThere));
  for (const name of pair ?? pairs[0] ?? []) {
    const at = fields.at(name);
    if (document.isNothing(at)) return invalidRequest(`Missing required field '${name}'.`, name);
    if (!isTextOrTokens(document, at, true) && !document.isObject(at)) {
      return invalidRequest(
        `'${name}' must be a string, an object, or a non-empty array of strings, of objects or of token ids.`,
        name,
      );
    }
  }
  return undefined;
}

function problemOfMessages(fields: BodyFields): ApiError | undefined {
  const { document } = fields;
  const at = fields.at('messages');
  return document.isArray(at) && !isEmpty(document, at) && hasOnly(document, at, KIND.object)
    ? undefined
    : invalidRequest("'messages' must be a non-empty array of objects.", 'messages');
}

const isEmpty = (document: JsonDocument, array: number): boolean =>
  document.first(array) === document.next(array);

function hasOnly(document: JsonDocument, array: number, kind: number): boolean {
  const end = document.next(array);
  for (let at = document.first(array); at < end; at = document.next(at)) {
    if (document.kind(at) !== kind) return false;
  }
  return true;
}

/** A non-empty array of whole numbers that are not negative: one run of them. */
function isTokens(document: JsonDocument, at: number): boolean {
  if (!document.isArray(at) || isEmpty(document, at)) return false;
  const first = document.first(at);
  return document.isNumber(first) && document.isDigits(first) && document.next(first) === document.next(at);
}

/** `parts`: also objects, as multimodal embedding models take them. */
function isTextOrTokens(document: JsonDocument, at: number, parts: boolean): boolean {
  if (document.isString(at)) return true;
  if (!document.isArray(at) || isEmpty(document, at)) return false;
  const kind = document.kind(document.first(at));
  if (kind === KIND.number) return isTokens(document, at);
  if (kind === KIND.array) {
    const end = document.next(at);
    for (let item = document.first(at); item < end; item = document.next(item)) {
      if (!isTokens(document, item)) return false;
    }
    return true;
  }
  return (kind === KIND.string || (parts && kind === KIND.object)) && hasOnly(document, at, kind);
}

/** Null counts as absent. */
export function optionalBoolean(
  document: JsonDocument,
  at: number,
  param: string,
): boolean | undefined | ApiError {
  if (document.isNothing(at)) return undefined;
  const kind = document.kind(at);
  if (kind === KIND.true) return true;
  return kind === KIND.false ? false : invalidRequest(`'${param}' must be true or false.`, param);
}

export function optionalInteger(
  fields: BodyFields,
  name: KnownName,
  least: number,
  most: number,
): number | undefined | ApiError {
  const at = fields.at(name);
  if (fields.document.isNothing(at)) return undefined;
  const value = fields.document.number(at);
  return Number.isInteger(value) && value >= least && value <= most
    ? value
    : invalidRequest(`'${name}' must be an integer between ${least} and ${most}.`, name);
}

export interface OutputCap {
  /** The effective one; undefined: none. */
  readonly tokens: number | undefined;
  /** Without one: the whole numbers below one that stand in its place, whose meaning is the engine's. */
  readonly belowOne: readonly number[] | undefined;
}

const NO_CAP: OutputCap = { tokens: undefined, belowOne: undefined };

/** All names are checked: an engine may read one that the API does not have on this route. */
export function outputCap(route: RouteName, fields: BodyFields): OutputCap | ApiError {
  const { document } = fields;
  let belowOne: number[] | undefined;
  for (const name of CAP_FIELDS) {
    const value = optionalInteger(fields, name, -MAX_OUTPUT_TOKENS, MAX_OUTPUT_TOKENS);
    if (typeof value === 'object') return value;
    if (value !== undefined && value < 1) (belowOne ??= []).push(value);
  }
  const echo = fields.at('echo');
  // Scoring a given text: completions with `echo` generate nothing.
  const least = route === 'completions' && echo >= 0 && document.kind(echo) === KIND.true ? 0 : 1;
  for (const name of ROUTE_FIELDS[route].caps) {
    const tokens = document.number(fields.at(name));
    if (tokens >= least) return { tokens, belowOne: undefined };
  }
  return belowOne === undefined ? NO_CAP : { tokens: undefined, belowOne };
}

/** `stream_options.include_usage`. @param skipped keys of members that are left out: nobody reads them. */
export function usageOption(
  fields: BodyFields,
  skipped: ReadonlySet<number>,
): boolean | undefined | ApiError {
  const { document } = fields;
  const options = fields.at('stream_options');
  if (document.isNothing(options)) return undefined;
  if (!document.isObject(options))
    return invalidRequest("'stream_options' must be an object.", 'stream_options');
  const read = (name: KnownName): boolean | undefined | ApiError => {
    const value = document.get(options, NAME[name]);
    return skipped.has(value - STRIDE)
      ? undefined
      : optionalBoolean(document, value, `stream_options.${name}`);
  };
  const continuous = read('continuous_usage_stats');
  return typeof continuous === 'object' ? continuous : read('include_usage');
}
