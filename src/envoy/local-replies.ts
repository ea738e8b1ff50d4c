/** What Envoy answers itself, without the service: each status in the words and the shape of the API. */
import { BROKE_TWICE_DETAILS } from '../domain/broke-twice.ts';
import { RESPONSE_DETAILS_PREFIX } from '../domain/names.ts';
import { type CustomRoutes, ROUTES, servedText } from '../domain/routes.ts';
import { type JsonMap, type } from './envoy-json.ts';
import { OVERLOADED } from './overload.ts';

interface LocalReply {
  readonly status: number;
  readonly type: string;
  readonly code: string;
  readonly anthropic: string;
  readonly message: string;
  readonly retryAfterS?: number;
  /** Of Envoy's answers with this status, those with these details. */
  readonly details?: string;
}

const NOT_SERVED = 'Not served here.';

/** What Envoy says itself, in the words of the API. */
const LOCAL_REPLIES: readonly LocalReply[] = [
  OVERLOADED,
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
    message: 'Incorrect or missing API key. Send it as `Authorization: Bearer KEY`.',
  },
  {
    status: 403,
    type: 'invalid_request_error',
    code: 'upgrade_refused',
    anthropic: 'permission_error',
    message: 'Connections are not upgraded here. Send the request without `Upgrade`.',
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
    status: 413,
    type: 'invalid_request_error',
    code: 'body_too_large',
    anthropic: 'request_too_large',
    message: 'The request body is too large.',
  },
  {
    status: 426,
    type: 'invalid_request_error',
    code: 'http_version_not_supported',
    anthropic: 'invalid_request_error',
    message: 'HTTP/1.0 is not served here. Use HTTP/1.1 or HTTP/2.',
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

/** Every answer of Envoy's own gets the shape of the API; those of the service and of attempts.ts have it. */
export function localReplies(routes?: CustomRoutes): JsonMap {
  const filterOf = (reply: LocalReply, onlyMessages: boolean): JsonMap => {
    const filters: JsonMap[] = [
      {
        status_code_filter: {
          comparison: { op: 'EQ', value: { default_value: reply.status, runtime_key: 'fairlane.unset' } },
        },
      },
      {
        extension_filter: {
          name: 'envoy.access_loggers.extension_filters.cel',
          typed_config: {
            ...type('envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter'),
            expression:
              reply.details === undefined
                ? `!response.code_details.contains('${RESPONSE_DETAILS_PREFIX}') && response.code_details != '${BROKE_TWICE_DETAILS}'`
                : `response.code_details == '${reply.details}'`,
          },
        },
      },
    ];
    if (onlyMessages) {
      filters.push({
        header_filter: { header: { name: ':path', string_match: { prefix: ROUTES.messages.path } } },
      });
    }
    return { and_filter: { filters } };
  };
  const served = `${NOT_SERVED} Served are ${servedText(routes)}.`;
  const messageOf = ({ message }: LocalReply): string => (message === NOT_SERVED ? served : message);
  const mapper = (reply: LocalReply, onlyMessages: boolean): JsonMap => ({
    filter: filterOf(reply, onlyMessages),
    body_format_override: {
      json_format: onlyMessages
        ? { type: 'error', error: { type: reply.anthropic, message: messageOf(reply) } }
        : { error: { message: messageOf(reply), type: reply.type, param: null, code: reply.code } },
      content_type: 'application/json',
    },
    ...(reply.retryAfterS !== undefined && {
      headers_to_add: [
        {
          header: { key: 'retry-after', value: String(reply.retryAfterS) },
          append_action: 'OVERWRITE_IF_EXISTS_OR_ADD',
        },
      ],
    }),
  });
  return {
    mappers: LOCAL_REPLIES.flatMap((reply) => [mapper(reply, true), mapper(reply, false)]),
  };
}
