/** Why a prompt is not taken as it is. */
import type { ApiError } from '../domain/api-error.ts';
import { invalidRequest } from './error-body.ts';

export const misspelled = (known: string, path: string): ApiError =>
  invalidRequest(
    `A field is called like \`${known}\` in other letters. Engines disagree on what it is; write \`${known}\`.`,
    path,
    'ambiguous_field',
  );

/** What names something that the engine, or another service, remembers. */
export const stateRefused = (what: string, param: string): ApiError =>
  invalidRequest(
    `\`${what}\` stands for something that is stored elsewhere, and is not taken here (fields.state). Send it in the request.`,
    param,
    'state_refused',
  );
