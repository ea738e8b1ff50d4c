/** Our errors: their constructors, and the JSON that a client of each API expects. */
import type { ApiError } from '../domain/api-error.ts';
import type { LimitScope } from '../domain/limit-scope.ts';
import { type EngineRoute, isAnthropic, type RouteName } from '../domain/routes.ts';

/** An error as a response body: Anthropic's shape on its routes, OpenAI's on every other. */
export function errorBody(route: EngineRoute | undefined, error: ApiError): string {
  if (isAnthropic(route)) {
    return JSON.stringify({
      type: 'error',
      error: { type: anthropicType(error.status), message: error.message },
    });
  }
  const { message, type, param, code } = error;
  return JSON.stringify({ error: { message, type, param: param ?? null, code } });
}

/** https://docs.anthropic.com/en/api/errors */
function anthropicType(status: number): string {
  switch (status) {
    case 401:
      return 'authentication_error';
    case 403:
      return 'permission_error';
    case 404:
      return 'not_found_error';
    case 413:
      return 'request_too_large';
    case 429:
      return 'rate_limit_error';
    // Anthropic sends 529; clients decide by the type.
    case 503:
      return 'overloaded_error';
    default:
      return status >= 500 ? 'api_error' : 'invalid_request_error';
  }
}

/** Characters of a client's string that a message quotes. */
const QUOTED_CHARACTERS = 64;

/** A client's string made safe for a message: shortened, without control and format characters. */
export function quoted(text: string): string {
  // More units than are shown, since some of them are stripped or pair up; never all of a huge string.
  const shown = text.slice(0, 4 * QUOTED_CHARACTERS).replace(/[\p{C}\p{Zl}\p{Zp}`]/gu, '');
  const characters = Array.from(shown);
  return characters.length > QUOTED_CHARACTERS || text.length > 4 * QUOTED_CHARACTERS
    ? `${characters.slice(0, QUOTED_CHARACTERS).join('')}…`
    : shown;
}

/** 400: a field, or the body as a whole, is not what the API asks for. */
export function invalidRequest(message: string, param?: string, code = 'invalid_request'): ApiError {
  return {
    status: 400,
    message,
    type: 'invalid_request_error',
    code,
    ...(param === undefined ? {} : { param }),
  };
}

/** 404 in OpenAI's words: also for a response that another tenant owns. */
export function responseNotFound(id: string): ApiError {
  return {
    status: 404,
    message: `Response with id '${quoted(id)}' not found.`,
    type: 'invalid_request_error',
    code: 'response_not_found',
  };
}

/** 404, likewise, of a response that a request was to go on with. */
export function previousResponseNotFound(id: string): ApiError {
  return {
    status: 404,
    message: `Previous response with id '${quoted(id)}' not found.`,
    type: 'invalid_request_error',
    code: 'previous_response_not_found',
    param: 'previous_response_id',
  };
}

/** 400: the operator does not let tenants set this field. */
export function forbiddenField(field: string): ApiError {
  const name = quoted(field);
  return invalidRequest(`The field \`${name}\` is not allowed here. Leave it out.`, name, 'forbidden_field');
}

/** 404 in OpenAI's words, also for a model that exists but that the tenant may not use. */
export function modelNotFound(model: string): ApiError {
  return {
    status: 404,
    message: `The model \`${quoted(model)}\` does not exist or you do not have access to it.`,
    type: 'invalid_request_error',
    code: 'model_not_found',
    param: 'model',
  };
}

/** Whose limit it was; nothing where it is the tenant's own. */
export function scopeText(scope: LimitScope | undefined): string {
  if (scope === undefined) return '';
  return scope.kind === 'key' ? ' for this key' : ` for model ${quoted(scope.model)}`;
}

/**
 * 429. `limit` and `requested` count requests or tokens per minute. Without `retryAfterMs` no wait would help: the
 * request alone is more than the limit lets through.
 */
export function rateLimited(
  kind: 'requests' | 'tokens',
  details: {
    readonly limit: number;
    readonly requested?: number;
    readonly retryAfterMs?: number;
    readonly scope?: LimitScope;
  },
): ApiError {
  const { limit, requested, retryAfterMs, scope } = details;
  const unit = kind === 'requests' ? 'requests per min (RPM)' : 'tokens per min (TPM)';
  const numbers = `Limit ${limit}${requested === undefined ? '' : `, Requested ${requested}`}`;
  return {
    status: 429,
    message:
      retryAfterMs === undefined
        ? `Request too large${scopeText(scope)} on ${unit}: ${numbers}. Send a shorter prompt or lower the output cap.`
        : `Rate limit reached${scopeText(scope)} on ${unit}: ${numbers}. Please try again in ${seconds(retryAfterMs)}.`,
    type: kind,
    code: 'rate_limit_exceeded',
    ...retry(retryAfterMs),
  };
}

/** 429 in OpenAI's words: nothing is left of the month's tokens, or less than this request may take. */
export function quotaSpent(tokensPerMonth: number, retryAfterMs: number, scope?: LimitScope): ApiError {
  return {
    status: 429,
    message: `You exceeded your quota of ${tokensPerMonth} tokens a month${scopeText(scope)}. It begins anew with the next month, in UTC.`,
    type: 'insufficient_quota',
    code: 'insufficient_quota',
    retryAfterMs,
  };
}

/** The same of the month's budget. @param budget with its currency. */
export function budgetSpent(budget: string, retryAfterMs: number, scope?: LimitScope): ApiError {
  return {
    status: 429,
    message: `You exceeded your budget of ${budget} a month${scopeText(scope)}. It begins anew with the next month, in UTC.`,
    type: 'insufficient_quota',
    code: 'insufficient_quota',
    retryAfterMs,
  };
}

/** 400 in OpenAI's words. Token counts; the prompt's is an estimate. */
export function contextLengthExceeded(
  route: EngineRoute,
  tokens: { readonly maxContext: number; readonly prompt: number; readonly output: number },
): ApiError {
  const param = promptFieldOf(route);
  const { maxContext, prompt, output } = tokens;
  return invalidRequest(
    `The maximum context length is ${maxContext} tokens. However, you requested about ${prompt + output} tokens ` +
      `(${prompt} in the ${param}, ${output} in the completion). Please reduce the length of the ${param} or completion.`,
    param,
    'context_length_exceeded',
  );
}

/** The field that holds the prompt on a route. */
const PROMPT_FIELD = {
  'chat.completions': 'messages',
  completions: 'prompt',
  embeddings: 'input',
  responses: 'input',
  'responses.compact': 'input',
  messages: 'messages',
  'messages.count_tokens': 'messages',
  rerank: 'documents',
  score: 'text_1',
  classify: 'input',
  pooling: 'input',
  tokenize: 'prompt',
  detokenize: 'tokens',
  'audio.transcriptions': 'file',
  'audio.translations': 'file',
  'audio.speech': 'input',
  'images.generations': 'prompt',
} as const satisfies Record<RouteName, string>;

export const promptFieldOf = (route: EngineRoute): string =>
  route in PROMPT_FIELD ? PROMPT_FIELD[route as RouteName] : 'body';

/** The queue takes no more: 429 when the tenant's own share of it is full, 503 when all of it is. */
export function queueFull(scope: 'tenant' | 'total', retryAfterMs?: number): ApiError {
  return scope === 'tenant'
    ? {
        status: 429,
        message: 'Too many of your requests are waiting already. Send fewer at once, or try again later.',
        type: 'requests',
        code: 'tenant_queue_full',
        ...retry(retryAfterMs),
      }
    : unavailable('The queue for this model is full. Please try again later.', 'queue_full', retryAfterMs);
}

/** 503: no slot became free within the longest wait. */
export function queueTimeout(waitedMs: number, retryAfterMs?: number): ApiError {
  return unavailable(
    `No capacity became free within ${seconds(waitedMs)}. Please try again later.`,
    'queue_timeout',
    retryAfterMs,
  );
}

/** 503: every endpoint that serves the model is unhealthy. */
export function noHealthyEndpoint(model: string, retryAfterMs?: number): ApiError {
  return unavailable(
    `No healthy endpoint serves the model \`${quoted(model)}\` at the moment. Please try again later.`,
    'no_healthy_endpoint',
    retryAfterMs,
  );
}

/** 503: the adapter could not be loaded on any endpoint that could take the request, or the engine does not have it any more. */
export function adapterUnavailable(model: string, retryAfterMs?: number): ApiError {
  return unavailable(
    `The adapter \`${quoted(model)}\` is not loaded at the moment. Please try again later.`,
    'adapter_unavailable',
    retryAfterMs,
  );
}

/** 413. @param declaredBytes as far as the client said. */
export function bodyTooLarge(maxBytes: number, declaredBytes?: number): ApiError {
  const has = declaredBytes === undefined ? '' : `: it has ${declaredBytes}`;
  return {
    status: 413,
    message: `The request body is larger than ${maxBytes} bytes (\`envoy.maxBodySize\`)${has}.`,
    type: 'invalid_request_error',
    code: 'body_too_large',
  };
}

/** Of a body that did not say how long it is. @param maxBytes that it may have with a length. */
export function unsizedTooLarge(maxUnsizedBytes: number, maxBytes: number): ApiError {
  if (maxUnsizedBytes >= maxBytes) return bodyTooLarge(maxBytes);
  return {
    ...bodyTooLarge(maxBytes),
    message: `The request body has no content-length, and is larger than ${maxUnsizedBytes} bytes (\`envoy.maxUnsizedBodySize\`). Send it with a content-length: then it may have ${maxBytes} bytes.`,
  };
}

/** 503: this instance is about to stop. */
export function draining(retryAfterMs = 1000): ApiError {
  return unavailable('The service is restarting. Please try again.', 'draining', retryAfterMs);
}

function unavailable(message: string, code: string, retryAfterMs: number | undefined): ApiError {
  return { status: 503, message, type: 'server_error', code, ...retry(retryAfterMs) };
}

function retry(retryAfterMs: number | undefined): { readonly retryAfterMs?: number } {
  return retryAfterMs === undefined ? {} : { retryAfterMs };
}

/** `1.5s`, rounded up: a client that obeys comes late rather than early. */
function seconds(ms: number): string {
  return `${Math.ceil(ms / 100) / 10}s`;
}
