/** Tools that a request may bring, and what is said of others. */
import type { FieldPolicy } from '../config/config.ts';
import type { ApiError } from '../domain/api-error.ts';
import { invalidRequest, quoted } from './error-body.ts';

/** In bytes. */
export const LONGEST_TOOL = 64;

export const isAllowedTool = (type: string, { tools }: FieldPolicy): boolean =>
  tools.some((one) => (one.endsWith('*') ? type.startsWith(one.slice(0, -1)) : type === one));

export const toolRefused = (type: string, param: string): ApiError =>
  invalidRequest(
    `Tools of the type \`${quoted(type)}\` are not allowed here (fields.tools). Bring tools that your own program runs.`,
    param,
    'tool_refused',
  );
