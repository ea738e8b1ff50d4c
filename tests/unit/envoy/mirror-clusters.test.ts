import { describe, expect, it } from 'vitest';
import type { Config, MirrorConfig } from '../../../src/config/config.ts';
import { MIRROR_HEADER, POOL_HEADER } from '../../../src/domain/names.ts';
import { API_ROUTES, pathsOf } from '../../../src/domain/routes.ts';
import { bootstrapOf, routesOf } from '../../../src/envoy/bootstrap.ts';
import { dynamicFilesOf } from '../../../src/envoy/dynamic-files.ts';
import { createWorld } from '../../support/lifecycle.ts';

const { config } = createWorld();
const [main] = config.pools.values();
const shadow: MirrorConfig = {
  pool: 'next',
  fraction: 0.1,
  maxConcurrent: 8,
  perSecond: 5,
  maxDurationMs: 1_500,
};
const next = (name: string) => (main === undefined ? [] : [[name, { ...main, name }] as const]);
const withShadows = (names: readonly string[]): Config => ({
  ...config,
  pools: new Map([...config.pools, ...next('next')]),
  models: new Map(
    [...config.models].map(([name, model]) => [
      name,
      names.includes(name) ? { ...model, mirror: shadow } : model,
    ]),
  ),
});
const clustersOf = (of: Config): readonly Readonly<Record<string, unknown>>[] =>
  (dynamicFilesOf(of, new Map()).get('clusters.json') as { resources: Readonly<Record<string, unknown>>[] })
    .resources;
const namesOf = (of: Config) => clustersOf(of).map(({ name }) => name);

describe('copies', () => {
  it('have a cluster of their own, and none where no model has a shadow', () => {
    expect(namesOf(withShadows([]))).toEqual(['pool-main', 'pool-next']);
    expect(namesOf(withShadows(['small']))).toEqual(['pool-main', 'pool-next', 'fairlane-shadow-next']);
    expect(namesOf(withShadows(['small', 'secret']))).toHaveLength(3);
  });

  it('are bounded by Envoy, in number and in time', () => {
    expect(clustersOf(withShadows(['small', 'secret'])).at(-1)).toMatchObject({
      circuit_breakers: {
        thresholds: [{ max_requests: 16, max_pending_requests: 16, max_retries: 0 }],
      },
      typed_extension_protocol_options: {
        'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
          common_http_protocol_options: { max_stream_duration: '1.5s' },
        },
      },
    });
  });

  it('go to the endpoints of the pool, by Envoy’s own choice, with its TCP settings', () => {
    const cluster = clustersOf(withShadows(['small'])).at(-1);
    expect(cluster).toMatchObject({
      eds_cluster_config: {
        service_name: 'pool-next',
        eds_config: { path_config_source: { path: '/nowhere/endpoints-next.json' } },
      },
      upstream_connection_options: { tcp_keepalive: { keepalive_time: 3 } },
    });
    expect(JSON.stringify(cluster)).not.toContain('override_host');
    expect(JSON.stringify(cluster)).toContain('least_request');
  });

  it('are made by routes to engines that the service has chosen, and only there', () => {
    const copying = routesOf(config).filter((route) => JSON.stringify(route).includes('mirror'));
    expect(copying).toHaveLength(API_ROUTES.flatMap(pathsOf).length);
    for (const route of copying) {
      expect(route).toMatchObject({
        match: { headers: [{ string_match: { exact: 'POST' } }, { name: POOL_HEADER }] },
        route: { request_mirror_policies: [{ cluster_header: MIRROR_HEADER }] },
      });
    }
  });

  it('need no other bootstrap: a shadow comes and goes by a reload', () => {
    expect(bootstrapOf(withShadows(['small']))).toEqual(bootstrapOf(withShadows([])));
  });
});
