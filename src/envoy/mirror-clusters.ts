/**
 * Clusters that copies go to, one for each pool that gets any. Apart from the pool's own, because Envoy must bound copies: nobody
 * else knows when they end. Envoy chooses the endpoint itself.
 */
import type { Config, MirrorConfig } from '../config/config.ts';
import { clusterOfMirror } from '../domain/names.ts';
import { engineProtocol, enginesOf, leastRequest } from './engine-cluster.ts';
import { duration, type JsonMap, NO_LIMIT, type } from './envoy-json.ts';

function clusterOf(config: Config, pool: string, mirrors: readonly MirrorConfig[]): JsonMap {
  const most = mirrors.reduce((sum, { maxConcurrent }) => sum + maxConcurrent, 0);
  // Of one pool they are the same.
  const longestMs = Math.max(...mirrors.map(({ maxDurationMs }) => maxDurationMs));
  return {
    ...type('envoy.config.cluster.v3.Cluster'),
    name: clusterOfMirror(pool),
    ...enginesOf(config, pool),
    // A copy too many is dropped. Were connections limited too, it would wait for one, and run after its time.
    circuit_breakers: {
      thresholds: [
        {
          priority: 'DEFAULT',
          max_connections: NO_LIMIT,
          max_pending_requests: most,
          max_requests: most,
          max_retries: 0,
        },
      ],
    },
    load_balancing_policy: { policies: [leastRequest] },
    ...engineProtocol(config, pool, {
      common_http_protocol_options: { max_stream_duration: duration(longestMs) },
    }),
  };
}

/** None where no model has a mirror. */
export function mirrorClustersOf(config: Config): readonly JsonMap[] {
  const byPool = new Map<string, MirrorConfig[]>();
  for (const { mirror } of config.models.values()) {
    if (mirror === undefined) continue;
    const others = byPool.get(mirror.pool);
    if (others === undefined) byPool.set(mirror.pool, [mirror]);
    else others.push(mirror);
  }
  return [...byPool].map(([pool, mirrors]) => clusterOf(config, pool, mirrors));
}
