/**
 * The headers, in lower case, that pass between clients and engines: lists of what may, because engines, and whatever a team puts
 * before them, take orders by headers (`x-vllm-*`, `x-sglang-*`, `x-override-*`, `x-smg-*`, `x-prefiller-host-port`, …) and get new ones
 * with every release. Envoy's clusters of engines hold to them (src/envoy/engine-cluster.ts), also while the service is away.
 *
 * A name that ends with `*` stands for all that begin so.
 */

/** Of a request: what it is, who wrote the client, how it is traced, and the versions of the APIs. */
export const REQUEST_HEADERS_TO_ENGINES: readonly string[] = [
  'accept',
  'anthropic-*',
  'b3',
  'content-encoding',
  'content-length',
  'content-type',
  'openai-*',
  'traceparent',
  'tracestate',
  'user-agent',
  'x-b3-*',
  'x-client-request-id',
  'x-request-id',
];

/** Of an answer, what browsers obey. */
export const CORS_HEADERS = 'access-control-*';

/**
 * Of an answer: what it is, how to read and keep it, and when to come again. Not among them, because an engine does not speak for the
 * origin that clients know: `set-cookie`, `server`, `location`, `alt-svc`, `strict-transport-security`, `x-envoy-*`, `x-fairlane-*`,
 * rate limits other than ours.
 */
export const ANSWER_HEADERS_TO_CLIENTS: readonly string[] = [
  CORS_HEADERS,
  'anthropic-*',
  'cache-control',
  'content-encoding',
  'content-language',
  'content-length',
  'content-type',
  'date',
  'openai-*',
  'request-id',
  'retry-after',
  'retry-after-ms',
  'vary',
  'x-request-id',
  // Of ours too, where a request broke two engines.
  'x-should-retry',
];
