/** How much of a body becomes prompt, by its route. */
import type { ApiError } from '../domain/api-error.ts';
import type { RouteName } from '../domain/routes.ts';
import { type BodyFields, MEDIA_FIELDS, PAIRS, ROUTE_FIELDS } from './body-fields.ts';
import { type JsonDocument, STRIDE } from './json/document.ts';
import { type KnownName, NAME } from './names.ts';
import { type PromptPolicy, type PromptSize, PromptWalk } from './prompt.ts';

/** Routes whose engines take media in fields of their own. */
const WITH_MEDIA: ReadonlySet<RouteName> = new Set(['audio.speech', 'images.generations']);

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

/** What of a body becomes prompt. */
export interface BodySize extends PromptSize {
  /** Texts that are computed each with another one: `bytes` has both of each. */
  readonly pairs?: number;
}

/** Prompts of a completion. */
export function promptCount(route: RouteName, fields: BodyFields): number {
  const { document } = fields;
  const prompt = fields.at('prompt');
  return route === 'completions' && document.isArray(prompt) && !document.isNumber(document.first(prompt))
    ? document.length(prompt)
    : 1;
}

/** Whoever walks over all of a body also looks for what must not be in it. */
export function promptSize(
  route: RouteName,
  fields: BodyFields,
  policy: PromptPolicy,
  skipped: ReadonlySet<number>,
): ApiError | BodySize {
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
  if (WITH_MEDIA.has(route)) {
    for (const name of MEDIA_FIELDS) {
      walk.mediumField(fields.at(name), name === 'ref_audio' ? 'audio' : 'image', name);
    }
  }
  const pairs = PAIRS[route];
  for (const name of RENDERED) if (pairs === undefined || name !== 'documents') walk.json(fields.at(name));
  return pairs === undefined ? walk.result() : sizeOfPairs(pairs, fields, walk);
}

/** Each text is computed as often as it stands in a pair. */
function sizeOfPairs(
  pairs: readonly (readonly [KnownName, KnownName])[],
  fields: BodyFields,
  walk: PromptWalk,
): ApiError | BodySize {
  const { document } = fields;
  const names = [...new Set(pairs.flat())].filter((name) => !document.isNothing(fields.at(name)));
  const sides = names.map((name) => {
    const at = fields.at(name);
    const isList = document.isArray(at) && !document.isNumber(document.first(at));
    return { count: isList ? Math.max(1, document.length(at)) : 1, bytes: walk.sizeOf(at, name) };
  });
  const most = Math.max(1, ...sides.map(({ count }) => count));
  const size = walk.result();
  if ('status' in size) return size;
  const more = sides.reduce((sum, { count, bytes }) => sum + bytes * (count === 1 ? most - 1 : 0), 0);
  return { ...size, bytes: size.bytes + more, pairs: most };
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
