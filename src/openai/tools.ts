/** Tools that a request may bring, and what is said of others. */
import type { FieldPolicy } from '../config/config.ts';
import { OFFERED_TOOLS } from '../config/forbidden-fields.ts';
import type { ApiError } from '../domain/api-error.ts';
import type { BodyFields } from './body-fields.ts';
import { invalidRequest, quoted } from './error-body.ts';
import { type JsonDocument, STRIDE } from './json/document.ts';
import { NAME } from './names.ts';

/** In bytes. */
const LONGEST_TOOL = 64;
/** No agent offers so many; each costs an edit. */
const MOST_OFFERED = 16;
/** `tool_choice` of a model that need not call any. */
const FREE: readonly string[] = ['auto', 'none'];

const isOneOf = (type: string, types: readonly string[]): boolean =>
  types.some((one) => (one.endsWith('*') ? type.startsWith(one.slice(0, -1)) : type === one));

export const isAllowedTool = (type: string, { tools }: FieldPolicy): boolean => isOneOf(type, tools);

export const toolRefused = (type: string, param: string): ApiError =>
  invalidRequest(
    `Tools of the type \`${quoted(type)}\` are not allowed here (fields.tools). Bring tools that your own program runs.`,
    param,
    'tool_refused',
  );

/** Tools of a body that it goes on without. */
export interface LeftOutTools {
  /** The list that they are in. */
  readonly list: number;
  /** In their order. Others stay. */
  readonly tools: readonly number[];
  /** Of their members. */
  readonly keys: readonly number[];
  /** As they are told, one for each. */
  readonly names: readonly string[];
}

const NO_TOOLS: LeftOutTools = { list: -1, tools: [], keys: [], names: [] };

/** Undefined: there is none. A longer one is no type that anybody knows. */
const typeOf = (document: JsonDocument, tool: number): string | undefined => {
  const type = document.get(tool, NAME.type);
  if (document.isNothing(type)) return undefined;
  return document.isString(type) && document.more(type) <= LONGEST_TOOL ? document.text(type) : '';
};

/** What the client offers, and the model may leave alone beside others: see OFFERED_TOOLS. What is asked for by its name stays, and is refused. */
export function offeredTools(fields: BodyFields, policy: FieldPolicy): LeftOutTools {
  const { document } = fields;
  const list = fields.at('tools');
  if (policy.onForbidden === 'refuse' || !document.isArray(list) || !isFreeChoice(fields)) return NO_TOOLS;
  const tools: number[] = [];
  const names: string[] = [];
  let others = 0;
  const end = document.next(list);
  for (let tool = document.first(list); tool < end; tool = document.next(tool)) {
    const type = document.isObject(tool) ? typeOf(document, tool) : undefined;
    if (type === undefined || isAllowedTool(type, policy) || !isOneOf(type, OFFERED_TOOLS)) others += 1;
    else {
      tools.push(tool);
      names.push(`tools.${type}`);
    }
  }
  return tools.length === 0 || others === 0 || tools.length > MOST_OFFERED
    ? NO_TOOLS
    : { list, tools, names, keys: tools.flatMap((tool) => keysOf(document, tool)) };
}

/** The model may call any tool, or none. */
function isFreeChoice(fields: BodyFields): boolean {
  const { document } = fields;
  const choice = fields.at('tool_choice');
  const word = document.isObject(choice) ? document.get(choice, NAME.type) : choice;
  return (
    document.isNothing(choice) || (document.isString(word) && FREE.some((one) => document.says(word, one)))
  );
}

function keysOf(document: JsonDocument, object: number): readonly number[] {
  const keys: number[] = [];
  const end = document.next(object);
  for (let key = document.first(object); key < end; key = document.next(key + STRIDE)) keys.push(key);
  return keys;
}

/**
 * Tools in a namespace of tools are tools. Recursion is bounded by the reader's LIMITS.depth.
 * @param leftOut tools of the list that the request goes on without.
 */
export function refusedTool(
  document: JsonDocument,
  tools: number,
  policy: FieldPolicy,
  leftOut: readonly number[] = [],
): ApiError | undefined {
  if (!document.isArray(tools)) return undefined;
  const end = document.next(tools);
  for (let tool = document.first(tools); tool < end; tool = document.next(tool)) {
    if (!document.isObject(tool) || leftOut.includes(tool)) continue;
    const within = refusedTool(document, document.get(tool, NAME.tools), policy);
    if (within !== undefined) return within;
    const type = typeOf(document, tool);
    if (type !== undefined && !isAllowedTool(type, policy)) return toolRefused(type, 'tools');
  }
  return undefined;
}
