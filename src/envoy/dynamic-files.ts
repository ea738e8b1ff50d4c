/** The files that Envoy watches: keys, engines' secrets, clusters and endpoints. Each is a discovery response. */
import type { Config, PoolConfig } from '../config/config.ts';
import { clusterOfPool, ENDPOINTS_METADATA_KEY, METADATA_NAMESPACE, TENANT_HEADER } from '../domain/names.ts';
import { ATTEMPT_FILTERS } from './attempts.ts';
import { metadataOf, weightOf } from './engine-access.ts';
import { endpointsFile, engineProtocol, enginesOf, leastRequest, policy } from './engine-cluster.ts';
import { secretFilesOf } from './engine-secrets.ts';
import { type JsonMap, noLimits, socketAddress, type } from './envoy-json.ts';
import { mirrorClustersOf } from './mirror-clusters.ts';

/** A cluster per pool: the endpoints that the service names, in that order, and any other when it names none. */
export function clusterOf(config: Config, pool: PoolConfig): JsonMap {
  return {
    ...type('envoy.config.cluster.v3.Cluster'),
    name: clusterOfPool(pool.name),
    ...enginesOf(config, pool.name),
    ...engineProtocol(config, pool.name, {}, ATTEMPT_FILTERS),
    circuit_breakers: noLimits,
    load_balancing_policy: {
      policies: [
        policy('override_host', {
          ...type('envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost'),
          override_host_sources: [
            { metadata: { key: METADATA_NAMESPACE, path: [{ key: ENDPOINTS_METADATA_KEY }] } },
          ],
          fallback_policy: {
            policies: [leastRequest],
          },
        }),
      ],
    },
  };
}

function endpointsOf(pool: PoolConfig, resolved: ReadonlyMap<string, string>): JsonMap {
  const reachable = pool.endpoints.flatMap((endpoint) => {
    const host = resolved.get(endpoint.url);
    return host === undefined ? [] : [{ address: socketAddress({ host, port: endpoint.port }), endpoint }];
  });
  return {
    ...type('envoy.config.endpoint.v3.ClusterLoadAssignment'),
    cluster_name: clusterOfPool(pool.name),
    endpoints: [
      {
        lb_endpoints: reachable.map(({ address, endpoint }) => ({
          endpoint: { address },
          ...metadataOf(endpoint),
          ...weightOf(endpoint, pool.endpoints),
        })),
      },
    ],
  };
}

function apiKeysOf(config: Config): JsonMap {
  return {
    ...type('envoy.config.core.v3.TypedExtensionConfig'),
    name: 'fairlane.api_key_auth',
    typed_config: {
      ...type('envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth'),
      credentials: [...config.tenants.values()].flatMap(({ name, keys }) =>
        keys.map((key) => ({ key, client: name })),
      ),
      // Anthropic's clients send x-api-key.
      key_sources: [{ header: 'Authorization' }, { header: 'x-api-key' }],
      forwarding: { header: TENANT_HEADER, hide_credentials: true },
    },
  };
}

export const API_KEYS_FILE = 'api-keys.json';
export const CLUSTERS_FILE = 'clusters.json';

/**
 * File name → discovery response, in the order in which they have to be written: what is referred to comes first.
 *
 * @param resolved IP address of each endpoint's URL; an endpoint without one is left out until it has one.
 * @param authorities PEM of those that engines' certificates may be from where `tls.ca` names none. Empty: they are from none.
 */
export function dynamicFilesOf(
  config: Config,
  resolved: ReadonlyMap<string, string>,
  authorities = '',
): ReadonlyMap<string, JsonMap> {
  const files = new Map<string, JsonMap>([[API_KEYS_FILE, { resources: [apiKeysOf(config)] }]]);
  for (const [name, file] of secretFilesOf(config.pools.values(), authorities)) files.set(name, file);
  for (const pool of config.pools.values()) {
    files.set(endpointsFile(config, pool.name), { resources: [endpointsOf(pool, resolved)] });
  }
  files.set(CLUSTERS_FILE, {
    resources: [
      ...[...config.pools.values()].map((pool) => clusterOf(config, pool)),
      ...mirrorClustersOf(config),
    ],
  });
  return files;
}
