/** Refusals that only admission knows. The common ones are in openai/error-body.ts. */
import type { ApiError } from '../domain/api-error.ts';
import { MAX_REQUEST_HEADERS } from '../domain/names.ts';
import { type BodyKind, type CustomRoutes, servedText } from '../domain/routes.ts';
import {
  adapterUnavailable,
  bodyTooLarge,
  draining,
  invalidRequest,
  noHealthyEndpoint,
  queueFull,
  queueTimeout,
  quotaSpent,
  quoted,
  rateLimited,
} from '../openai/error-body.ts';
import type { Dispatcher, Offer } from '../queue/types.ts';
import type { ReservationResult } from '../tenant/tenant-limits.ts';
import { CODINGS, type Coding, MOST_GROWTH } from './content-coding.ts';

/** Envoy authenticated a tenant that is not configured (any more), or its filter does not authenticate at all. */
export const unknownTenant = (): ApiError => ({
  status: 401,
  message: 'The API key belongs to no configured tenant.',
  type: 'invalid_request_error',
  code: 'invalid_api_key',
});

/** Envoy knows it a moment longer than the service does. */
export const revokedKey = (): ApiError => ({
  status: 401,
  message: 'The API key is not valid any more. Send another one.',
  type: 'invalid_request_error',
  code: 'invalid_api_key',
});

export const expiredKey = (): ApiError => ({
  status: 401,
  message: 'The API key has expired. Send another one.',
  type: 'invalid_request_error',
  code: 'key_expired',
});

/** Envoy is older than its service, and says the tenant alone. */
export const keyNotTold = (): ApiError => ({
  status: 401,
  message:
    'It cannot be said what this API key may be used for: the gateway does not say which key it is. Whoever runs it must give Envoy the filters that `fairlane envoy-config` prints.',
  type: 'invalid_request_error',
  code: 'key_not_told',
});

/** The key is for other routes. @param routes that it is for. */
export const routeNotAllowed = (routes: ReadonlySet<string>): ApiError => ({
  status: 403,
  message: `This API key may not be used for this route. It may be used for ${[...routes].join(', ')}.`,
  type: 'invalid_request_error',
  code: 'route_not_allowed',
});

/** A token names a tenant that cannot be one. */
export const unservableTenant = (): ApiError => ({
  status: 403,
  message: 'The token names no tenant of this service.',
  type: 'invalid_request_error',
  code: 'unknown_tenant',
});

/** As many tenants that are not configured are here as may be. */
export const tooManyTenants = (): ApiError => ({
  status: 429,
  message: 'Too many tenants are active that are not configured. Please try again later.',
  type: 'rate_limit_error',
  code: 'too_many_tenants',
  retryAfterMs: 60_000,
});

export const unknownRoute = (custom?: CustomRoutes): ApiError => ({
  status: 404,
  message: `Not served here. Served are ${servedText(custom)}.`,
  type: 'invalid_request_error',
  code: 'unknown_url',
});

/** The engines of the model's pool have no such route, as far as is known of their kind. @param served paths that they have. */
export const routeNotServed = (path: string, model: string, served: readonly string[]): ApiError => ({
  status: 404,
  message: `\`${quoted(path)}\` is not served for the model \`${quoted(model)}\`. Its engine serves ${served.join(', ')}.`,
  type: 'invalid_request_error',
  code: 'route_not_served',
});

/** The engine itself answered that it has no such route, at least not for this model. */
export const routeNotFound = (path: string, model: string): ApiError => ({
  status: 404,
  message: `The engine of the model \`${quoted(model)}\` does not serve \`${quoted(path)}\`, at least not for this model: it answered 404.`,
  type: 'invalid_request_error',
  code: 'route_not_served',
});

/** Of a route that takes a form. */
export const notMultipart = (): ApiError => ({
  status: 415,
  message:
    'The body must be a form: send it with `content-type: multipart/form-data; boundary=…`, and no other parameter.',
  type: 'invalid_request_error',
  code: 'unsupported_media_type',
});

/** Engines disagree on other types, and would read the body in another way than it is read here. */
export const notJsonType = (): ApiError => ({
  status: 415,
  message: 'The body must be JSON in UTF-8: send it with `content-type: application/json`.',
  type: 'invalid_request_error',
  code: 'unsupported_media_type',
});

export const unknownCoding = (): ApiError => ({
  status: 415,
  message: `The body has a \`content-encoding\` that is not decoded here. Taken is one of ${CODINGS.join(', ')}, or none.`,
  type: 'invalid_request_error',
  code: 'unsupported_content_encoding',
});

/** It would be decoded to something, or to nothing: no engine gets a part of a body. */
export const brokenCoding = (coding: Coding): ApiError =>
  invalidRequest(
    `The body could not be decoded: it is no \`${coding}\`, it is cut off, or something stands behind its end. Send what \`content-encoding\` says, or send it without.`,
    undefined,
    'invalid_content_encoding',
  );

export const decodedTooLarge = (maxBytes: number): ApiError => ({
  ...bodyTooLarge(maxBytes),
  message: `The request body is larger than ${maxBytes} bytes when it is decoded (\`envoy.maxBodySize\`).`,
});

export const growsTooMuch = (): ApiError => ({
  status: 413,
  message: `The request body becomes more than ${MOST_GROWTH} times larger when it is decoded. Send it without \`content-encoding\`.`,
  type: 'invalid_request_error',
  code: 'body_grows_too_much',
});

export const headersTooLarge = (): ApiError => ({
  status: 431,
  message: `The request has too many headers or too large ones: at most ${MAX_REQUEST_HEADERS.count} with ${MAX_REQUEST_HEADERS.bytes / 1024} KiB are taken. Send fewer.`,
  type: 'invalid_request_error',
  code: 'headers_too_large',
});

/** A fault of ours. */
export const internalError = (): ApiError => ({
  status: 500,
  message: 'The service failed on this request. Please try again.',
  type: 'server_error',
  code: 'internal_error',
  retryAfterMs: 1_000,
});

/** In answer to the headers. */
export const holdingRefusal = (reason: 'too-many-open' | 'too-many-bytes', retryAfterMs: number): ApiError =>
  reason === 'too-many-open'
    ? queueFull('tenant', retryAfterMs)
    : {
        status: 429,
        message:
          'The bodies of your requests that are uploaded, wait or run are too large together. Send fewer at once, with a content-length, or try again later.',
        type: 'requests',
        code: 'too_many_bytes_held',
        retryAfterMs,
      };

export const uploadTooSlow = (): ApiError => ({
  status: 408,
  message: 'The request body came too slowly. Please try again.',
  type: 'invalid_request_error',
  code: 'request_timeout',
});

export const emptyBody = (kind: BodyKind): ApiError =>
  invalidRequest(`The request has no body. Send ${kind === 'multipart' ? 'a form' : 'a JSON object'}.`);

/** No endpoint of a pool has said yet which models it serves. */
export const modelsUnknown = (): ApiError => ({
  status: 503,
  message: 'The engines have not said yet which models they serve. Please try again.',
  type: 'server_error',
  code: 'models_unknown',
  retryAfterMs: 1_000,
});

/** A stored response whose owner another replica may know, and Redis does not answer. */
export const ownersUnknown = (): ApiError => ({
  status: 503,
  message: 'It cannot be said at the moment where that response is stored. Please try again.',
  type: 'server_error',
  code: 'response_owner_unknown',
  retryAfterMs: 1_000,
});

/** The endpoint that has it serves nothing now. */
export const responseUnavailable = (): ApiError => ({
  status: 503,
  message:
    'The response is stored in an engine that does not serve at the moment. Try again later, or send the whole conversation.',
  type: 'server_error',
  code: 'response_unavailable',
  retryAfterMs: 5_000,
});

/** The endpoint that had it is gone, and with it all that it stored. */
export const responseLost = (): ApiError => ({
  status: 404,
  message: 'The response was stored in an engine that is gone, and is lost. Send the whole conversation.',
  type: 'invalid_request_error',
  code: 'response_lost',
});

/** The model that is asked for does not run where the previous response is stored. */
export const otherModelsResponse = (model: string): ApiError =>
  invalidRequest(
    `The previous response is stored with another model, and \`${quoted(model)}\` cannot go on with it. Ask for the same model, or send the whole conversation.`,
    'previous_response_id',
    'previous_response_of_other_model',
  );

/** A route of a stored response. */
export const bodyNotTaken = (): ApiError =>
  invalidRequest('This request takes no body. Send it without one.');

/** Of whatever a gateway may choose from. */
export const noEndpointReady = (): ApiError => ({
  status: 503,
  message: 'No endpoint is ready at the moment. Please try again later.',
  type: 'server_error',
  code: 'no_healthy_endpoint',
  retryAfterMs: 1_000,
});

/** Waiting does not help: the bucket never holds that much. So it is no 429, which clients try again. */
const promptOverBurst = (promptTokens: number, burst: number): ApiError =>
  invalidRequest(
    `The prompt has about ${promptTokens} tokens, and the token limit lets through at most ${burst} at once. Send a shorter prompt.`,
    undefined,
    'prompt_over_token_burst',
  );

export const tooManyOutputs = (outputs: number, most: number): ApiError =>
  invalidRequest(
    `The request asks for ${outputs} outputs, choices times prompts; at most ${most} are allowed. Send several requests.`,
    'n',
    'too_many_outputs',
  );

const SHED_CODES: ReadonlySet<string> = new Set(['queue_full', 'queue_timeout']);
const SHED_RETRY_MS = 1_000;

/** As a gateway has it: 503 says that no endpoint is ready, and 429 that there is too much to do. */
const shed = (error: ApiError): ApiError =>
  SHED_CODES.has(error.code)
    ? { ...error, status: 429, type: 'requests', retryAfterMs: error.retryAfterMs ?? SHED_RETRY_MS }
    : error;

const DEATH_CODES: ReadonlySet<string> = new Set(['tenant_queue_full', 'queue_timeout']);

/** What a client is told. @param isLimited its tenant runs one request at a time. @param isPicker a gateway tells it. */
export function toldRefusal(refusal: ApiError, isLimited: boolean, isPicker: boolean): ApiError {
  const error = isPicker ? shed(refusal) : refusal;
  return isLimited && DEATH_CODES.has(refusal.code) ? limitedByDeaths(error) : error;
}

/** What has waited too long, or may not wait, because its tenant runs one request at a time. */
const limitedByDeaths = (error: ApiError): ApiError => ({
  ...error,
  message: `${error.message} Engines died while they had requests of yours: until one ends well, yours run one at a time.`,
  code: 'tenant_limited',
});

/** @param attempt that tokens were to be reserved for. */
export function reservationRefusal(
  result: Exclude<ReservationResult, { kind: 'reserved' }>,
  attempt: { readonly tokensToReserve: number; readonly prediction: { readonly promptTokens: number } },
): ApiError {
  const { limit } = result;
  switch (result.kind) {
    case 'never':
      return promptOverBurst(attempt.prediction.promptTokens, limit);
    case 'spent':
      return quotaSpent(limit, result.retryAfterMs);
    case 'short': {
      const { retryAfterMs } = result;
      return rateLimited('tokens', { limit, requested: attempt.tokensToReserve, retryAfterMs });
    }
  }
}

/** What waited in the queue and gets no slot. */
export function expiryRefusal(
  reason: Parameters<Parameters<Dispatcher['offer']>[0]['onExpire']>[0],
  {
    model,
    waitedMs,
    retryAfterMs,
  }: { readonly model: string; readonly waitedMs: number; readonly retryAfterMs: number },
): ApiError {
  switch (reason) {
    case 'timeout':
      return queueTimeout(waitedMs, retryAfterMs);
    case 'queue-full':
      return queueFull('tenant', retryAfterMs);
    case 'no-endpoint':
      return noHealthyEndpoint(model, retryAfterMs);
    case 'adapter-failed':
      return adapterUnavailable(model, retryAfterMs);
    case 'adapter-busy':
      return queueFull('total', retryAfterMs);
    case 'draining':
      return draining();
  }
}

/** What may not even wait. @param model that the client asked for. */
export function queueRefusal(offer: Extract<Offer, { kind: 'refused' }>, model: string): ApiError {
  switch (offer.reason) {
    case 'no-endpoint':
      return noHealthyEndpoint(model, offer.retryAfterMs);
    case 'tenant-queue-full':
      return queueFull('tenant', offer.retryAfterMs);
    case 'queue-full':
    case 'adapter-busy':
      return queueFull('total', offer.retryAfterMs);
    case 'adapter-failed':
      return adapterUnavailable(model, offer.retryAfterMs);
  }
}

/** The word in metrics and records. Both rate limits have OpenAI's one code; here they are told apart. */
export const reasonOf = (error: ApiError): string =>
  error.code === 'rate_limit_exceeded' ? `${error.type}_per_minute` : error.code;
