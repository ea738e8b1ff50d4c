/** The files that Envoy watches: keys, engines' secrets, clusters and endpoints. Each is a discovery response. */
import type { Config, PoolConfig } from '../config/config.ts';
import { clusterOfPool, ENDPOINTS_METADATA_KEY, METADATA_NAMESPACE } from '../domain/names.ts';
import { keyFilesOf } from './api-keys.ts';
import { ATTEMPT_FILTERS } from './attempts.ts';
import { listenerSecretFilesOf } from './client-tls.ts';
import { CREDENTIALS_FILE, credentialsScript } from './credentials.ts';
import { metadataOf, weightOf } from './engine-access.ts';
import { endpointsFile, engineProtocol, enginesOf, leastRequest, policy } from './engine-cluster.ts';
import { secretFilesOf } from './engine-secrets.ts';
import { type JsonMap, noLimits, socketAddress, type } from './envoy-json.ts';
import { mirrorClustersOf } from './mirror-clusters.ts';
import { serviceSecretFilesOf } from './service-tls.ts';
import { jwksClusters, jwksSecretFilesOf, tokenFilesOf } from './tokens.ts';

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

export const CLUSTERS_FILE = 'clusters.json';

/**
 * File name → discovery response, in the order in which they have to be written: what is referred to comes first.
 *
 * @param resolved IP address of each endpoint's URL; an endpoint without one is left out until it has one.
 * @param authorities PEM of those that engines' certificates may be from where `tls.ca` names none. Empty: they are from none.
 * @param takesTokens the filters of tokens are in Envoy, as they were in the configuration that it was started with.
 */
export function dynamicFilesOf(
  config: Config,
  resolved: ReadonlyMap<string, string>,
  authorities = '',
  takesTokens = config.jwt !== undefined,
): ReadonlyMap<string, JsonMap> {
  const files = new Map<string, JsonMap>([
    ...listenerSecretFilesOf(config),
    ...serviceSecretFilesOf(config),
    ...jwksSecretFilesOf(config),
    // Tenants before their keys: a key that comes names a tenant that is let through.
    ...(takesTokens ? tokenFilesOf(config) : []),
    ...keyFilesOf(config, takesTokens),
    [CREDENTIALS_FILE, { resources: [credentialsScript(config)] }],
  ]);
  for (const [name, file] of secretFilesOf(config.pools.values(), authorities)) files.set(name, file);
  for (const pool of config.pools.values()) {
    files.set(endpointsFile(config, pool.name), { resources: [endpointsOf(pool, resolved)] });
  }
  files.set(CLUSTERS_FILE, {
    resources: [
      ...[...config.pools.values()].map((pool) => clusterOf(config, pool)),
      ...mirrorClustersOf(config),
      ...jwksClusters(config),
    ],
  });
  return files;
}
