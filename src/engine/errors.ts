/** An engine's error answer, or an error in its stream, in the words that all engines have in common. */
import { type Fields, isObject } from '../openai/usage.ts';
import type { EngineDriver, ErrorFields, ErrorMeaning } from './driver.ts';

export interface EngineError extends ErrorFields {
  readonly meaning: ErrorMeaning;
}

/** Of a message, so that an engine cannot fill a log. */
const MAX_CHARACTERS = 500;

const textOf = (value: unknown): string =>
  typeof value === 'string' || typeof value === 'number' ? String(value).slice(0, MAX_CHARACTERS) : '';

/**
 * The object that holds the error: `error` (vLLM, llama.cpp, Anthropic), or the body itself (SGLang's `object: "error"`,
 * TGI's `error` that is a text, FastAPI's `detail`). Undefined: the body is no error.
 */
function holderOf(body: Fields): Fields | undefined {
  const { error, detail } = body;
  if (isObject(error)) return error;
  if (typeof error === 'string') return { message: error, type: body['error_type'] };
  if (body['object'] === 'error') return body;
  return detail === undefined ? undefined : { message: detail };
}

const isStatus = (value: unknown): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= 400 && value <= 599;

function byStatus(status: number): ErrorMeaning {
  if (status === 429 || status === 503) return 'overloaded';
  if (status >= 500 || status === 424) return 'internal';
  return status === 400 || status === 413 || status === 415 || status === 422 ? 'invalid-request' : 'unknown';
}

/**
 * @param driver of the engine that answered; undefined: it is not known.
 * @param status of the answer; 200 for an event of a stream.
 * @param body the answer's, or the event's data; undefined is given back when it is no error.
 */
export function readEngineError(
  driver: EngineDriver | undefined,
  status: number,
  body: string,
): EngineError | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(body);
  } catch {
    parsed = undefined;
  }
  const holder = isObject(parsed) ? holderOf(parsed) : undefined;
  if (holder === undefined && status < 400) return undefined;
  const { message, type, param, code } = holder ?? {};
  const own = isStatus(code) ? code : 500;
  const fields: ErrorFields = {
    status: status >= 400 ? status : own,
    message: textOf(message),
    type: textOf(type),
    param: textOf(param),
    code: textOf(code),
  };
  return { ...fields, meaning: driver?.meaningOf(fields) ?? byStatus(fields.status) };
}
