/** What the clusters of a pool's engines have in common. */
import type { Config, EndpointConfig } from '../config/config.ts';
import { CREDENTIAL_HEADERS, clusterOfPool } from '../domain/names.ts';
import { ANSWER_HEADERS_TO_CLIENTS, REQUEST_HEADERS_TO_ENGINES } from '../openai/engine-headers.ts';
import { connectionBuffer, kernelBuffer } from './downstream.ts';
import { accessFiltersOf, shapeOf, transportSocketsOf } from './engine-access.ts';
import { type JsonMap, type } from './envoy-json.ts';
import { anyHeaderBut } from './names-pattern.ts';

const endpointsAt = (config: Config, pool: string): readonly EndpointConfig[] =>
  config.pools.get(pool)?.endpoints ?? [];

/** Of a pool whose endpoints are all plain it has no other name than the pool's. */
export function endpointsFile(config: Config, pool: string): string {
  const shape = shapeOf(endpointsAt(config, pool));
  return shape === '' ? `endpoints-${pool}.json` : `endpoints-${pool}@${shape}.json`;
}

export const policy = (name: string, config: JsonMap): JsonMap => ({
  typed_extension_config: {
    name: `envoy.load_balancing_policies.${name}`,
    typed_config: config,
  },
});

export const leastRequest = policy('least_request', {
  ...type('envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest'),
});

/** What was sent and not acknowledged for so long was sent to nobody. */
const UNACKNOWLEDGED_MS = 5_000;

const removeAllBut = (names: readonly string[]): readonly JsonMap[] =>
  anyHeaderBut(names).map((regex) => ({ remove_on_match: { key_matcher: { safe_regex: { regex } } } }));

/**
 * What passes between clients and engines, over HTTP/1.1. In the cluster, so that it holds for every route, every retry and every copy,
 * with the service or without it. Of an answer it is before the service, which adds headers of its own.
 *
 * @param filters behind the one that removes headers: what they add for themselves stays until they remove it.
 */
export const engineProtocol = (
  config: Config,
  pool: string,
  options: JsonMap = {},
  filters: readonly JsonMap[] = [],
): JsonMap => ({
  typed_extension_protocol_options: {
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
      ...type('envoy.extensions.upstreams.http.v3.HttpProtocolOptions'),
      explicit_http_config: { http_protocol_options: {} },
      ...options,
      http_filters: [
        {
          name: 'fairlane.engine_headers',
          typed_config: {
            ...type('envoy.extensions.filters.http.header_mutation.v3.HeaderMutation'),
            mutations: {
              request_mutations: removeAllBut([
                ...REQUEST_HEADERS_TO_ENGINES,
                ...(config.envoy.passHeaders ?? []).filter((name) => !CREDENTIAL_HEADERS.includes(name)),
              ]),
              response_mutations: removeAllBut(ANSWER_HEADERS_TO_CLIENTS),
            },
          },
        },
        ...accessFiltersOf(endpointsAt(config, pool), config.envoy.directory),
        ...filters,
        {
          name: 'envoy.filters.http.upstream_codec',
          typed_config: type('envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec'),
        },
      ],
    },
  },
});

/** Who they are, and what TCP does. */
export const enginesOf = (config: Config, pool: string): JsonMap => ({
  type: 'EDS',
  connect_timeout: '2s',
  ...transportSocketsOf(endpointsAt(config, pool), config.envoy.directory),
  per_connection_buffer_limit_bytes: connectionBuffer(config),
  // A host that is gone without a word is noticed in seconds: while it should answer, and while it should take a request.
  upstream_connection_options: {
    tcp_keepalive: { keepalive_probes: 3, keepalive_time: 3, keepalive_interval: 1 },
  },
  upstream_bind_config: {
    socket_options: [
      {
        description: 'TCP_USER_TIMEOUT of Linux',
        level: 6,
        name: 18,
        int_value: UNACKNOWLEDGED_MS,
        state: 'STATE_PREBIND',
      },
      {
        description: 'SO_RCVBUF of Linux: what an engine may send ahead',
        level: 1,
        name: 8,
        int_value: kernelBuffer(config),
        state: 'STATE_PREBIND',
      },
    ],
  },
  eds_cluster_config: {
    service_name: clusterOfPool(pool),
    eds_config: {
      path_config_source: { path: `${config.envoy.directory}/${endpointsFile(config, pool)}` },
      resource_api_version: 'V3',
    },
  },
});
