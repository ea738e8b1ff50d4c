/** What Envoy answers itself, without the service: each status in the words and the shape of the API. */
import type { Config } from '../config/config.ts';
import { BROKE_TWICE_DETAILS } from '../domain/broke-twice.ts';
import { RESPONSE_DETAILS_PREFIX } from '../domain/names.ts';
import { ROUTES, servedText } from '../domain/routes.ts';
import { bodyTooLarge, unsizedTooLarge } from '../openai/error-body.ts';
import { retryHeadersOf } from '../openai/retry-headers.ts';
import { type JsonMap, type } from './envoy-json.ts';
import { OVERLOADED } from './overload.ts';
import { ID_OF_UNREAD } from './request-ids.ts';
import { TOKEN_DETAILS_PREFIX, UNKNOWN_TENANT_DETAILS } from './tokens.ts';

interface LocalReply {
  readonly status: number;
  readonly type: string;
  readonly code: string;
  readonly anthropic: string;
  readonly message: string;
  /** In place of it, in Anthropic's shape. */
  readonly anthropicMessage?: string;
  readonly retryAfterS?: number;
  /** Of Envoy's answers with this status, those with these details. */
  readonly details?: string;
  /** Or those whose details begin so. */
  readonly detailsPrefix?: string;
  /** The client gets another status than Envoy's. */
  readonly as?: number;
  /** Of Envoy's answers with this status, those to requests that have this header. */
  readonly withHeader?: string;
}

/** Statuses of which one answer is as good as another. */
interface OtherReplies extends Omit<LocalReply, 'status'> {
  /** And all above. */
  readonly from: number;
}

const NOT_SERVED = 'Not served here.';

/** What Envoy says itself, in the words of the API. */
const LOCAL_REPLIES: readonly LocalReply[] = [
  OVERLOADED,
  {
    status: 401,
    detailsPrefix: `${TOKEN_DETAILS_PREFIX}{Jwks_remote_fetch`,
    as: 503,
    type: 'server_error',
    code: 'token_keys_unavailable',
    anthropic: 'api_error',
    message: 'The keys that tokens are checked with cannot be read now. Please try again.',
    retryAfterS: 5,
  },
  ...[401, 403].map((status) => ({
    status,
    detailsPrefix: TOKEN_DETAILS_PREFIX,
    // An audience is no reason for another status: the token is not for this service.
    as: 401,
    type: 'invalid_request_error',
    code: 'invalid_token',
    anthropic: 'authentication_error',
    // Envoy's words: of a few, none of which is the client's.
    message: 'The token was refused: %LOCAL_REPLY_BODY%.',
  })),
  {
    status: 403,
    details: UNKNOWN_TENANT_DETAILS,
    type: 'invalid_request_error',
    code: 'unknown_tenant',
    anthropic: 'permission_error',
    message: 'The token names no tenant of this service.',
  },
  {
    status: 400,
    type: 'invalid_request_error',
    code: 'invalid_request',
    anthropic: 'invalid_request_error',
    message: 'The request is not valid HTTP for this API: check the path and the headers.',
  },
  {
    status: 401,
    type: 'invalid_request_error',
    code: 'invalid_api_key',
    anthropic: 'authentication_error',
    message:
      'Incorrect or missing API key. Send it as `Authorization: Bearer KEY`, `x-api-key` or `api-key`.',
    // Claude Code takes what names `x-api-key` for a user who has not logged in to Anthropic, and says nothing else.
    anthropicMessage:
      'Incorrect or missing API key. Send the key of this gateway as `Authorization: Bearer KEY` (ANTHROPIC_AUTH_TOKEN).',
  },
  {
    status: 403,
    type: 'invalid_request_error',
    code: 'upgrade_refused',
    anthropic: 'invalid_request_error',
    message: 'Connections are not upgraded here. Send the request without `Upgrade`, over HTTP.',
    // Clients that try a WebSocket first go on over HTTP at once when they see it.
    as: 426,
  },
  {
    status: 404,
    type: 'invalid_request_error',
    code: 'unknown_url',
    anthropic: 'not_found_error',
    // localReplies() says which.
    message: NOT_SERVED,
  },
  {
    status: 408,
    type: 'invalid_request_error',
    code: 'request_timeout',
    anthropic: 'api_error',
    message: 'The request did not arrive in time. Please try again.',
  },
  {
    status: 431,
    type: 'invalid_request_error',
    code: 'headers_too_large',
    anthropic: 'invalid_request_error',
    message: 'The request has too many headers or too large ones. Send fewer.',
  },
  {
    status: 500,
    type: 'server_error',
    code: 'gateway_error',
    anthropic: 'api_error',
    message: 'The gateway failed on this request. Please try again.',
    retryAfterS: 1,
  },
  {
    status: 501,
    type: 'invalid_request_error',
    code: 'transfer_encoding_not_supported',
    anthropic: 'invalid_request_error',
    message:
      'The request has a `transfer-encoding` that is not taken here. Send it `chunked`, or with a content-length.',
  },
  {
    status: 502,
    type: 'server_error',
    code: 'engine_protocol_error',
    anthropic: 'api_error',
    message: 'The engine gave no valid answer. Please try again.',
    retryAfterS: 1,
  },
  {
    status: 503,
    type: 'server_error',
    code: 'engine_unavailable',
    anthropic: 'overloaded_error',
    message: 'No engine could be reached for this request. Please try again.',
    retryAfterS: 1,
  },
  {
    status: 504,
    type: 'server_error',
    code: 'gateway_timeout',
    anthropic: 'api_error',
    message: 'The request was not answered in time. Please try again.',
    retryAfterS: 1,
  },
];

/** What no line above names. */
const OTHERS: readonly OtherReplies[] = [
  {
    from: 500,
    type: 'server_error',
    code: 'gateway_error',
    anthropic: 'api_error',
    message: 'The gateway failed on this request. Please try again.',
    retryAfterS: 1,
  },
  {
    from: 400,
    type: 'invalid_request_error',
    code: 'invalid_request',
    anthropic: 'invalid_request_error',
    message: 'The gateway does not take this request: check the path, the method and the headers.',
  },
];

const tooLarge = (maxBytes: number): LocalReply => {
  const { status, type: errorType, code, message } = bodyTooLarge(maxBytes);
  return { status, type: errorType, code, anthropic: 'request_too_large', message };
};

/** It may be known how large it is. Digits alone: Envoy takes no other length. */
const tooLargeBy = ({ maxBodyBytes, maxUnsizedBodyBytes }: Config['envoy']): readonly LocalReply[] => {
  const reply = tooLarge(maxBodyBytes);
  const message = reply.message.replace(/\.$/, ': it has %REQ(content-length)%.');
  const unsized = unsizedTooLarge(maxUnsizedBodyBytes, maxBodyBytes);
  return [
    { ...reply, message, withHeader: 'content-length' },
    { ...reply, message: unsized.message },
  ];
};

/** By the status that the client gets. */
const CODES: ReadonlyMap<string, string> = new Map(
  [...LOCAL_REPLIES, tooLarge(0)].map(({ status, as = status, details, detailsPrefix, code }) => [
    (details ?? detailsPrefix) === undefined ? String(as) : code,
    code,
  ]),
);

/** The code of an answer of Envoy's own, as its body has it. @param counted as refusal-counts.ts has it. */
export const localCodeOf = (counted: string): string =>
  CODES.get(counted) ?? OTHERS.find(({ from }) => Number(counted) >= from)?.code ?? 'other';

/** The status of such an answer, as the client gets it. Undefined: of no one status. */
export function localStatusOf(counted: string): number | undefined {
  if (/^[1-5]\d\d$/.test(counted)) return Number(counted);
  const reply = LOCAL_REPLIES.find(({ code }) => code === counted);
  return reply?.as ?? reply?.status;
}

/** Whether its details are those that a reply is for: they say that it is not the service's, too. */
function expressionOf({ details, detailsPrefix }: LocalReply | OtherReplies): string {
  if (detailsPrefix !== undefined) return `response.code_details.startsWith('${detailsPrefix}')`;
  return details === undefined
    ? `!response.code_details.contains('${RESPONSE_DETAILS_PREFIX}') && response.code_details != '${BROKE_TWICE_DETAILS}'`
    : `response.code_details == '${details}'`;
}

/**
 * Answers of the filters that know who a client is, and of an Envoy without memory: what is true of their details alone, and their code.
 * Their statuses are also those of other answers.
 */
export const NAMED_REPLIES: readonly { readonly expression: string; readonly code: string }[] = [
  ...new Map(
    LOCAL_REPLIES.filter(({ details, detailsPrefix }) => (details ?? detailsPrefix) !== undefined).map(
      (reply) => [reply.code, reply],
    ),
  ).values(),
].map((reply, i, all) => ({
  code: reply.code,
  // One begins as another does, which is longer and comes before it.
  expression: [reply, ...all.slice(0, i)]
    .map((one) => (one === reply ? expressionOf(one) : `!(${expressionOf(one)})`))
    .join(' && '),
}));

/** Its clients always say their version, also where the path is not theirs alone. */
const FROM_ANTHROPIC: JsonMap = {
  or_filter: {
    filters: [
      { header_filter: { header: { name: ':path', string_match: { prefix: ROUTES.messages.path } } } },
      { header_filter: { header: { name: 'anthropic-version', present_match: true } } },
    ],
  },
};

/** Of answers that are not the service's, those that a mapper is for. */
function filterOf(reply: LocalReply | OtherReplies, isAnthropic: boolean): JsonMap {
  const [op, value] = 'status' in reply ? ['EQ', reply.status] : ['GE', reply.from];
  const filters: JsonMap[] = [
    {
      status_code_filter: {
        comparison: { op, value: { default_value: value, runtime_key: 'fairlane.unset' } },
      },
    },
    {
      extension_filter: {
        name: 'envoy.access_loggers.extension_filters.cel',
        typed_config: {
          ...type('envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter'),
          expression: expressionOf(reply),
        },
      },
    },
  ];
  if (reply.withHeader !== undefined) {
    filters.push({ header_filter: { header: { name: reply.withHeader, present_match: true } } });
  }
  if (isAnthropic) filters.push(FROM_ANTHROPIC);
  return { and_filter: { filters } };
}

const setHeader = ([key, value]: readonly [string, string]): JsonMap => ({
  header: { key, value },
  append_action: 'OVERWRITE_IF_EXISTS_OR_ADD',
});

function mapperOf(reply: LocalReply | OtherReplies, message: string, isAnthropic: boolean): JsonMap {
  const { code, retryAfterS } = reply;
  const waits = { code, ...(retryAfterS !== undefined && { retryAfterMs: retryAfterS * 1_000 }) };
  return {
    filter: filterOf(reply, isAnthropic),
    ...(reply.as !== undefined && { status_code: reply.as }),
    body_format_override: {
      json_format: isAnthropic
        ? { type: 'error', error: { type: reply.anthropic, message } }
        : { error: { message, type: reply.type, param: null, code: reply.code } },
      content_type: 'application/json',
    },
    headers_to_add: [ID_OF_UNREAD, ...retryHeadersOf(waits).map(setHeader)],
  };
}

/** Every answer of Envoy's own gets the shape of the API; those of the service and of attempts.ts have it. */
export function localReplies({ envoy, routes }: Pick<Config, 'envoy' | 'routes'>): JsonMap {
  const served = `${NOT_SERVED} Served are ${servedText(routes)}.`;
  return {
    mappers: [...LOCAL_REPLIES, ...tooLargeBy(envoy), ...OTHERS].flatMap((reply) => {
      const message = reply.message === NOT_SERVED ? served : reply.message;
      return [mapperOf(reply, reply.anthropicMessage ?? message, true), mapperOf(reply, message, false)];
    }),
  };
}
