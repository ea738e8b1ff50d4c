/** What the clusters of a pool's engines have in common. */
import type { Config } from '../config/config.ts';
import { clusterOfPool } from '../domain/names.ts';
import { connectionBuffer, kernelBuffer } from './downstream.ts';
import { type JsonMap, type } from './envoy-json.ts';

export const endpointsFile = (pool: string): string => `endpoints-${pool}.json`;

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

/** Who they are, and what TCP does. */
export const enginesOf = (config: Config, pool: string): JsonMap => ({
  type: 'EDS',
  connect_timeout: '2s',
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
      path_config_source: { path: `${config.envoy.directory}/${endpointsFile(pool)}` },
      resource_api_version: 'V3',
    },
  },
});
