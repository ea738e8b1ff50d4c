/** Tools that a request may bring, and what is said of others. */
import type { FieldPolicy } from '../config/config.ts';
import type { ApiError } from '../domain/api-error.ts';
import { invalidRequest, quoted } from './error-body.ts';
import type { JsonDocument } from './json/document.ts';
import { NAME } from './names.ts';

/** In bytes. */
const LONGEST_TOOL = 64;

export const isAllowedTool = (type: string, { tools }: FieldPolicy): boolean =>
  tools.some((one) => (one.endsWith('*') ? type.startsWith(one.slice(0, -1)) : type === one));

export const toolRefused = (type: string, param: string): ApiError =>
  invalidRequest(
    `Tools of the type \`${quoted(type)}\` are not allowed here (fields.tools). Bring tools that your own program runs.`,
    param,
    'tool_refused',
  );

/** Tools in a namespace of tools are tools. Recursion is bounded by the reader's LIMITS.depth. */
export function refusedTool(
  document: JsonDocument,
  tools: number,
  policy: FieldPolicy,
): ApiError | undefined {
  if (!document.isArray(tools)) return undefined;
  const end = document.next(tools);
  for (let tool = document.first(tools); tool < end; tool = document.next(tool)) {
    if (!document.isObject(tool)) continue;
    const within = refusedTool(document, document.get(tool, NAME.tools), policy);
    if (within !== undefined) return within;
    const type = document.get(tool, NAME.type);
    if (document.isNothing(type)) continue;
    const name = document.isString(type) && document.more(type) <= LONGEST_TOOL ? document.text(type) : '';
    if (!isAllowedTool(name, policy)) return toolRefused(name, 'tools');
  }
  return undefined;
}
