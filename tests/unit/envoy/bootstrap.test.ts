import { describe, expect, it } from 'vitest';
import type { Config } from '../../../src/config/config.ts';
import { API_ROUTES, MODEL_ROUTES, pathsOf, ROUTES, STORED_ROUTES } from '../../../src/domain/routes.ts';
import { bootstrapOf, httpFiltersOf, routesOf } from '../../../src/envoy/bootstrap.ts';
import { dynamicFilesOf } from '../../../src/envoy/dynamic-files.ts';
import { createWorld } from '../../support/lifecycle.ts';
import { plainKey } from '../../support/plain-key.ts';

const { config } = createWorld();
const KEY = 'a-key-that-must-not-be-seen';
const withKey: Config = {
  ...config,
  tenants: new Map(
    [...config.tenants].map(([name, tenant]) => [name, { ...tenant, keys: [plainKey(`${KEY}-${name}`)] }]),
  ),
};
const seconds = (text: unknown): number => Number(/^([\d.]+)s$/.exec(String(text))?.[1]);

/** For what the service adds to a body. */
const ADDED_BYTES = 16_384;

describe('the bootstrap', () => {
  it('holds no key; the files for keys hold all of them', () => {
    expect(JSON.stringify(bootstrapOf(withKey))).not.toContain(KEY);
    const files = dynamicFilesOf(withKey, new Map());
    const keys = [...files]
      .filter(([, content]) => JSON.stringify(content).includes(KEY))
      .map(([name]) => name);
    expect(keys).toEqual(['key-ids.json', 'api-keys.json']);
    expect(JSON.stringify(files.get('api-keys.json')).match(/a-key-that-must-not-be-seen-\w/g)).toHaveLength(
      2,
    );
  });

  it('removes what clients may not send before it authenticates, and asks the service after', () => {
    expect(httpFiltersOf(config).map(({ name }) => name)).toEqual([
      'fairlane.remove_reserved_headers',
      'fairlane.azure_paths',
      'fairlane.hashed_keys',
      'fairlane.choose_credentials',
      'fairlane.key_ids',
      'fairlane.api_key_auth',
      'fairlane.ext_proc',
      'envoy.filters.http.router',
    ]);
  });

  it('has three routes for each that is allowed, by path, method and whether its body has a length, and a last one that ends everything else', () => {
    const routes = routesOf(config);
    const allowed = API_ROUTES.flatMap((name) =>
      pathsOf(name).map((path) => ({ method: ROUTES[name].method, path })),
    );
    const azure = ['Azure’s names with escaped slashes', 'Azure’s paths'];
    const others = [...Object.keys(MODEL_ROUTES), ...azure, 'escaped slashes', 'HEAD /', 'everything else'];
    expect(routes).toHaveLength(3 * allowed.length + 2 * Object.keys(STORED_ROUTES).length + others.length);
    for (const { method, path } of allowed) {
      const mine = routes.filter((route) => (route['match'] as { path?: string }).path === path);
      const [sent, unsized, sized] = mine.map((route) => route['request_body_buffer_limit'] as number);
      expect([sent, sized]).toEqual([sized, sent]);
      expect(unsized).toBe(config.envoy.maxUnsizedBodyBytes + ADDED_BYTES);
      expect(mine).toHaveLength(3);
      for (const route of mine) expect(JSON.stringify(route['match'])).toContain(`{"exact":"${method}"}`);
    }
    expect(routes.at(-1)).toMatchObject({ match: { prefix: '/' }, direct_response: { status: 404 } });
  });

  it.each(Object.entries(ROUTES))('%s: goes unread where its table says so, else nowhere', (_, spec) => {
    const unread = routesOf(config).find(({ match }) => {
      const { path, headers } = match as { path?: string; headers?: readonly unknown[] };
      return path === spec.path && headers?.length === 1;
    });
    expect(unread).toMatchObject(
      spec.unread === 'refused'
        ? { direct_response: { status: 503 } }
        : { route: { cluster: `pool-${config.envoy.fallbackPool}` } },
    );
  });

  it('answers HEAD / itself, without a key', () => {
    expect(routesOf(config).filter(({ match }) => (match as { path?: string }).path === '/')).toMatchObject([
      {
        match: { headers: [{ string_match: { exact: 'HEAD' } }] },
        direct_response: { status: 200 },
        typed_per_filter_config: {
          'fairlane.api_key_auth': { disabled: true },
          'fairlane.ext_proc': { disabled: true },
        },
      },
    ]);
  });

  it('sends a request for a stored response to an engine only by the word of the service', () => {
    const stored = routesOf(config).filter((route) =>
      JSON.stringify(route['match']).includes('"regex":"/v1/responses/'),
    );
    expect(stored).toHaveLength(2 * Object.keys(STORED_ROUTES).length);
    for (const route of stored) {
      const text = JSON.stringify(route);
      expect(text.includes('"cluster_header":":fairlane-pool"')).toBe(text.includes('"present_match":true'));
      if (!text.includes('"present_match":true'))
        expect(route).toMatchObject({ direct_response: { status: 503 } });
      expect(text).not.toContain('"cluster":');
    }
  });

  it('has escaped slashes in names of models alone, and no engine hears of one', () => {
    const routes = routesOf(config);
    const regexOf = (route: (typeof routes)[number]): string =>
      (route['match'] as { safe_regex?: { regex: string } }).safe_regex?.regex ?? '';
    const refusing = routes.findIndex((route) => new RegExp(`^${regexOf(route)}$`).test('/x%2fy'));
    expect(routes[refusing]).toMatchObject({ direct_response: { status: 400 } });
    // After them there are Azure’s names, which leave the path before it is looked at again.
    expect(refusing).toBe(Object.keys(MODEL_ROUTES).length + 1);
    for (const path of ['/v1%2Fmodels', '/v1/chat%5ccompletions', '/%2F', '/v1/responses/resp_1%2Fcancel']) {
      const first = routes.find((route) => new RegExp(`^${regexOf(route)}$`).test(path));
      expect(first).toMatchObject({ direct_response: { status: 400 } });
    }
    const [list, one] = routes;
    expect(list).toMatchObject({ match: { path: '/v1/models' } });
    expect(one).toMatchObject({
      match: { safe_regex: { regex: '/v1/models/.+' } },
      direct_response: { status: 503 },
    });
  });

  it('never gives up on a request before the queue does', () => {
    for (const maxWaitMs of [100, 30_000, 55 * 60_000]) {
      const text = JSON.stringify(bootstrapOf({ ...config, queue: { ...config.queue, maxWaitMs } }));
      for (const name of ['stream_idle_timeout', 'request_timeout', 'max_message_timeout']) {
        const value = seconds(new RegExp(`"${name}":"([^"]+)"`).exec(text)?.[1]);
        expect(value * 1_000).toBeGreaterThan(maxWaitMs + 5_000);
      }
    }
  });

  it.each([
    [1, 2],
    [4, 3],
    [20, 5],
  ])('tries a request of a pool of %i elsewhere up to %i times', (size, retries) => {
    const pools = new Map(
      [...config.pools].map(([name, pool]) => [
        name,
        {
          ...pool,
          endpoints: Array.from({ length: size }, () => pool.endpoints[0]).flatMap((one) => one ?? []),
        },
      ]),
    );
    const found = JSON.stringify(routesOf({ ...config, pools })).match(/"num_retries":\d+/g);
    expect(new Set(found)).toEqual(new Set([`"num_retries":${retries}`]));
  });

  it('notices a host that is gone without a word within seconds', () => {
    const clusters = dynamicFilesOf(config, new Map()).get('clusters.json');
    const { resources } = clusters as { readonly resources: readonly object[] };
    expect(resources).toHaveLength(config.pools.size);
    for (const cluster of resources) {
      expect(cluster).toMatchObject({
        upstream_connection_options: { tcp_keepalive: { keepalive_time: 3 } },
        upstream_bind_config: {
          socket_options: expect.arrayContaining([
            expect.objectContaining({ level: 6, name: 18, int_value: 5_000 }),
          ]) as unknown,
        },
      });
    }
  });

  it('leaves an endpoint out until its name is resolved', () => {
    const [pool] = config.pools.values();
    const url = pool?.endpoints[0]?.url ?? '';
    const addresses = (resolved: ReadonlyMap<string, string>) =>
      JSON.stringify(dynamicFilesOf(config, resolved).get('endpoints-main.json')).match(/"address":"[^"]+"/g);
    expect(addresses(new Map())).toBeNull();
    expect(addresses(new Map([[url, '10.1.2.3']]))).toEqual(['"address":"10.1.2.3"']);
  });
});
