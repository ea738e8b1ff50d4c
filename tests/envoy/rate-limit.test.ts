/** A real Envoy with the `ratelimit` filter in front of the rate limit service, as a user of the reference service has it. */
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { JsonMap } from '../../src/envoy/envoy-json.ts';
import { type RunningEnvoy, startEnvoy } from '../../src/envoy/process-envoy.ts';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { type Answer, chatBody, send } from '../support/client.ts';
import { envoyForTests } from '../support/envoy.ts';
import { eventually } from '../support/eventually.ts';
import { freePorts } from '../support/ports.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { type Labels, scraped, sumIn } from '../support/scraped.ts';
import { type CliProcess, runCli } from '../support/serve.ts';
import { configYaml } from '../support/stack.ts';

const LIMITS = `
domain: shop
descriptors:
  - key: path
    value: /limited
    rate_limit: { unit: hour, requests_per_unit: 3 }
  - key: path
    value: /described
    metadata: { queue: fast }
    rate_limit: { unit: hour, requests_per_unit: 1 }
  - key: tokens
    rate_limit: { unit: hour, requests_per_unit: 100 }
`;

const TYPE = 'type.googleapis.com/envoy.extensions';
/** Each request of /tokens turns out to have used so many tokens. */
const TOKENS = 40;

const byUser = { request_headers: { header_name: 'x-user', descriptor_key: 'tokens' } };

const cluster = (name: string, ports: readonly number[], http2: boolean): JsonMap => ({
  name,
  type: 'STATIC',
  load_assignment: {
    cluster_name: name,
    endpoints: [
      {
        lb_endpoints: ports.map((port) => ({
          endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: port } } },
        })),
      },
    ],
  },
  ...(http2 && {
    typed_extension_protocol_options: {
      'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
        '@type': `${TYPE}.upstreams.http.v3.HttpProtocolOptions`,
        explicit_http_config: { http2_protocol_options: {} },
      },
    },
  }),
});

const bootstrap = (ports: {
  api: number;
  admin: number;
  engine: number;
  services: readonly number[];
}): JsonMap => ({
  admin: { address: { socket_address: { address: '127.0.0.1', port_value: ports.admin } } },
  static_resources: {
    clusters: [cluster('engine', [ports.engine], false), cluster('fairlane', ports.services, true)],
    listeners: [
      {
        name: 'api',
        address: { socket_address: { address: '127.0.0.1', port_value: ports.api } },
        filter_chains: [
          {
            filters: [
              {
                name: 'envoy.filters.network.http_connection_manager',
                typed_config: {
                  '@type': `${TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
                  stat_prefix: 'api',
                  http_filters: [
                    {
                      name: 'envoy.filters.http.set_metadata',
                      typed_config: {
                        '@type': `${TYPE}.filters.http.set_metadata.v3.Config`,
                        metadata: [{ metadata_namespace: 'usage', value: { tokens: TOKENS } }],
                      },
                    },
                    {
                      name: 'envoy.filters.http.ratelimit',
                      typed_config: {
                        '@type': `${TYPE}.filters.http.ratelimit.v3.RateLimit`,
                        domain: 'shop',
                        timeout: '5s',
                        failure_mode_deny: false,
                        enable_x_ratelimit_headers: 'DRAFT_VERSION_03',
                        rate_limit_service: {
                          transport_api_version: 'V3',
                          grpc_service: { envoy_grpc: { cluster_name: 'fairlane' } },
                        },
                      },
                    },
                    {
                      name: 'envoy.filters.http.router',
                      typed_config: { '@type': `${TYPE}.filters.http.router.v3.Router` },
                    },
                  ],
                  route_config: {
                    virtual_hosts: [
                      {
                        name: 'all',
                        domains: ['*'],
                        routes: [
                          {
                            match: { prefix: '/tokens' },
                            route: {
                              cluster: 'engine',
                              prefix_rewrite: '/v1/chat/completions',
                            },
                            typed_per_filter_config: {
                              'envoy.filters.http.ratelimit': {
                                '@type': `${TYPE}.filters.http.ratelimit.v3.RateLimitPerRoute`,
                                rate_limits: [
                                  { actions: [byUser], hits_addend: { number: 0 } },
                                  {
                                    actions: [byUser],
                                    hits_addend: { format: '%DYNAMIC_METADATA(usage:tokens)%' },
                                    apply_on_stream_done: true,
                                  },
                                ],
                              },
                            },
                          },
                          ...['/limited', '/else', '/described'].map((prefix) => ({
                            match: { prefix },
                            response_headers_to_add: [
                              {
                                header: {
                                  key: 'x-queue',
                                  value: '%DYNAMIC_METADATA(envoy.filters.http.ratelimit:metadata:queue)%',
                                },
                              },
                            ],
                            route: {
                              cluster: 'engine',
                              prefix_rewrite: '/v1/chat/completions',
                              rate_limits: [
                                {
                                  actions: [
                                    { request_headers: { header_name: ':path', descriptor_key: 'path' } },
                                  ],
                                },
                              ],
                            },
                          })),
                        ],
                      },
                    ],
                  },
                },
              },
            ],
          },
        ],
      },
    ],
  },
});

describe('the ratelimit filter', () => {
  let engine: Simulator;
  let service: CliProcess;
  let envoy: RunningEnvoy;
  let folder: string;
  let api: number;
  let metrics: number;
  const ask = (path: string, headers: Record<string, string> = {}): Promise<Answer> =>
    send(`http://127.0.0.1:${api}`, { path, headers, body: chatBody({ max_tokens: 1 }) });
  const writeLimits = (text: string): void => {
    const path = join(folder, 'limits', 'shop.yaml');
    writeFileSync(`${path}.new`, text);
    renameSync(`${path}.new`, path);
  };
  const metric = async (name: string, labels: Labels): Promise<number> =>
    sumIn(await scraped(`http://127.0.0.1:${metrics}`), name, labels);
  const reloads = (result: string): Promise<number> => metric('fairlane_ratelimit_reloads_total', { result });

  beforeAll(async () => {
    engine = await startSimulator({ profile: parseProfile('test', {}), models: ['demo'] });
    folder = mkdtempSync(join(tmpdir(), 'fairlane-limits-'));
    mkdirSync(join(folder, 'limits'));
    writeLimits(LIMITS);
    const [apiPort = 0, admin = 0, metricsPort = 0, servicePort = 0, unused = 0] = await freePorts(5);
    api = apiPort;
    metrics = metricsPort;
    const path = join(folder, 'fairlane.yaml');
    writeFileSync(
      path,
      configYaml([engine.url], { api: unused, admin, metrics }, join(folder, 'run'), (config) => {
        config['service']['address'] = `127.0.0.1:${servicePort}`;
        config['rateLimit'] = { directory: 'limits' };
      }),
    );
    service = runCli(['serve', '--config', path]);
    await service.until('serving ext_proc');
    envoy = await startEnvoy({
      envoy: await envoyForTests(),
      bootstrap: bootstrap({ api, admin, engine: engine.port, services: [servicePort] }),
      directory: folder,
      admin: { host: '127.0.0.1', port: admin },
      concurrency: 1,
      onLog: () => undefined,
    });
  });
  afterAll(async () => {
    service.child.kill('SIGTERM');
    await service.exited;
    await envoy.stop(500);
    await engine.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it('gets its answers, with what is left', async () => {
    const answers = [];
    for (let i = 0; i < 4; i += 1) answers.push(await ask('/limited'));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 429]);
    expect(answers.map(({ headers }) => headers['x-ratelimit-remaining'])).toEqual(['2', '1', '0', '0']);
    expect(answers[0]?.headers['x-ratelimit-limit']).toContain('3');
    expect(answers[3]?.headers['ratelimit-remaining']).toBe('0');
    expect((await ask('/else')).status).toBe(200);
  });

  it('gets the metadata of a limit while it has room', async () => {
    const [first, second] = [await ask('/described'), await ask('/described')];
    expect([first.status, first.headers['x-queue']]).toEqual([200, 'fast']);
    expect([second.status, second.headers['x-queue']]).toEqual([429, undefined]);
  });

  it('charges tokens when the stream has ended, and checks with 0 hits before', async () => {
    const user = { 'x-user': 'ann' };
    const charged = () => metric('fairlane_ratelimit_hits_total', { key: 'shop.tokens' });
    // 100 tokens, 40 a request: the third is let in with 20 left, and brings a debt.
    for (let i = 1; i <= 3; i += 1) {
      expect((await ask('/tokens', user)).status).toBe(200);
      // Envoy tells of them when its client has all.
      await eventually(charged, (tokens) => tokens === i * TOKENS);
    }
    expect((await ask('/tokens', user)).status).toBe(429);
    expect((await ask('/tokens', { 'x-user': 'bob' })).status).toBe(200);
  });

  it('follows a change of the files, and keeps what it has when they are bad', async () => {
    writeLimits(LIMITS.replace('requests_per_unit: 3', 'requests_per_unit: 1000'));
    await eventually(
      () => reloads('applied'),
      (n) => n === 2,
      5_000,
    );
    await eventually(
      async () => (await ask('/limited')).headers['x-ratelimit-limit'],
      (limit) => String(limit).includes('1000'),
    );
    writeLimits(LIMITS.replace('unit: hour', 'unit: fortnight'));
    await eventually(
      () => reloads('refused'),
      (n) => n === 1,
      5_000,
    );
    expect((await ask('/limited')).headers['x-ratelimit-limit']).toContain('1000');
    expect(service.stdout()).toContain("invalid rate limit unit 'fortnight'");
  });
});

describe('three replicas behind one Envoy, with a Redis', () => {
  let redis: TestRedis;
  let engine: Simulator;
  let services: CliProcess[];
  let envoy: RunningEnvoy;
  let folder: string;
  let api: number;
  const metricsPorts: number[] = [];

  const limits = (requestsPerHour: number): string =>
    `domain: shop\ndescriptors:\n  - key: path\n    rate_limit: { unit: hour, requests_per_unit: ${requestsPerHour} }\n`;
  const startReplica = async (path: string): Promise<CliProcess> => {
    const service = runCli(['serve', '--config', path]);
    await service.until('serving ext_proc');
    return service;
  };
  /** Statuses of requests to the limited path, some at once. */
  const ask = async (path: string, count: number): Promise<number[]> => {
    const statuses: number[] = [];
    for (let i = 0; i < count; i += 10) {
      const batch = Array.from({ length: Math.min(10, count - i) }, () =>
        send(`http://127.0.0.1:${api}`, { path, body: chatBody({ max_tokens: 1 }) }),
      );
      statuses.push(...(await Promise.all(batch)).map(({ status }) => status));
    }
    return statuses;
  };
  const granted = (statuses: readonly number[]): number => statuses.filter((status) => status === 200).length;
  const configs: string[] = [];

  beforeAll(async () => {
    redis = await startRedis();
    engine = await startSimulator({ profile: parseProfile('test', {}), models: ['demo'] });
    folder = mkdtempSync(join(tmpdir(), 'fairlane-replicas-'));
    mkdirSync(join(folder, 'limits'));
    writeFileSync(join(folder, 'limits', 'shop.yaml'), limits(40));
    const [apiPort = 0, admin = 0, ...ports] = await freePorts(11);
    api = apiPort;
    const servicePorts = ports.slice(0, 3);
    metricsPorts.push(...ports.slice(3, 6));
    servicePorts.forEach((port, i) => {
      const path = join(folder, `fairlane-${i}.yaml`);
      configs.push(path);
      const unused = { api: ports[6] ?? 0, admin: ports[7] ?? 0, metrics: metricsPorts[i] ?? 0 };
      writeFileSync(
        path,
        configYaml([engine.url], unused, join(folder, `run-${i}`), (config) => {
          config['service']['address'] = `127.0.0.1:${port}`;
          config['rateLimit'] = { directory: 'limits' };
          // Who waits no longer decides alone: a busy machine's Redis has time, and Envoy has more.
          config['redis'] = { url: redis.url, maxWait: '1s', failureShare: 0.34 };
        }),
      );
    });
    services = await Promise.all(configs.map(startReplica));
    envoy = await startEnvoy({
      envoy: await envoyForTests(),
      bootstrap: bootstrap({ api, admin, engine: engine.port, services: servicePorts }),
      directory: folder,
      admin: { host: '127.0.0.1', port: admin },
      concurrency: 1,
      onLog: () => undefined,
    });
  });
  afterAll(async () => {
    for (const service of services) service.child.kill('SIGKILL');
    await Promise.all(services.map(({ exited }) => exited));
    await envoy.stop(500);
    await engine.close();
    await redis.close();
    rmSync(folder, { recursive: true, force: true });
  });

  let first = 0;
  it('hold one limit together', async () => {
    const statuses = await ask('/limited', 120);
    first = granted(statuses);
    expect(first).toBeLessThanOrEqual(40);
    expect(first).toBeGreaterThanOrEqual(38);
    expect(statuses.every((status) => status === 200 || status === 429)).toBe(true);
  });

  it('keep it over the death and the return of one of them', async () => {
    services[0]?.child.kill('SIGKILL');
    await services[0]?.exited;
    services[0] = await startReplica(configs[0] ?? '');
    // One comes back in a minute and a half.
    expect(first + granted(await ask('/limited', 30))).toBeLessThanOrEqual(41);
  });

  it('answer while Redis is away, each its share, and say so; debts are paid when it is back', async () => {
    await redis.kill();
    const statuses = await ask('/else', 90);
    expect(statuses.every((status) => status === 200 || status === 429)).toBe(true);
    // A third of the 40 for each of the three, rounded up.
    expect(granted(statuses)).toBeGreaterThan(0);
    expect(granted(statuses)).toBeLessThanOrEqual(42);
    const health = (): Promise<readonly unknown[]> =>
      Promise.all(
        metricsPorts.map(async (port) => {
          const answer = await (await fetch(`http://127.0.0.1:${port}/health`)).json();
          return (answer as { redis?: string }).redis;
        }),
      );
    expect(new Set(await health())).toEqual(new Set(['away']));
    await redis.restart();
    await eventually(health, (states) => states.every((state) => state === 'connected'), 10_000);
    // Each tells what it has granted alone.
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(granted(await ask('/else', 60))).toBeLessThanOrEqual(5);
  });
});
