/** How engines are asked, over real HTTP: recorded answers, and answers that no engine would give. */
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { EndpointConfig, PoolConfig } from '../../src/config/config.ts';
import { askGauges } from '../../src/engine/http-gauge-monitor.ts';
import { type HealthMonitor, startHealthMonitor } from '../../src/engine/http-health-monitor.ts';
import { askServerInfo, type Identity, identifyEngine, identityOf } from '../../src/engine/http-identify.ts';
import { askAsleep, askModels, probeHealth } from '../../src/engine/http-probe.ts';
import { LLAMACPP } from '../../src/engine/llamacpp.ts';
import { SGLANG } from '../../src/engine/sglang.ts';
import { VLLM } from '../../src/engine/vllm.ts';
import { readFixture } from '../support/engine-answers.ts';
import { eventually } from '../support/eventually.ts';
import { freePorts } from '../support/ports.ts';

const servers: Server[] = [];
const monitors: HealthMonitor[] = [];
afterEach(() => {
  for (const monitor of monitors.splice(0)) monitor.stop();
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

const endpointAt = (port: number): EndpointConfig => ({
  url: `http://127.0.0.1:${port}`,
  host: '127.0.0.1',
  port,
});

async function serve(listener: RequestListener, port = 0): Promise<EndpointConfig> {
  const server = createServer(listener);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  return endpointAt((server.address() as AddressInfo).port);
}

type Page = readonly [status: number, body: string] | 'hang';

/** Answers from a table; what is not in it is 404. */
const pages =
  (table: Readonly<Record<string, Page>>, seen: string[] = []): RequestListener =>
  (request, response) => {
    const path = request.url ?? '';
    seen.push(path);
    const page = table[path] ?? [404, '{"detail":"Not Found"}'];
    if (page !== 'hang') response.writeHead(page[0]).end(page[1]);
  };

/** All pages that a fixture has, or some. */
function pagesOf(engine: string, only?: readonly string[]): Record<string, Page> {
  const table: Record<string, Page> = {};
  for (const [, { question, status, body }] of readFixture(engine).answers) {
    const { method, path } = question;
    if (method === 'GET' && table[path] === undefined && only?.includes(path) !== false) {
      table[path] = [status, body];
    }
  }
  return table;
}

const poolOf = (
  endpoints: readonly EndpointConfig[],
  engine: PoolConfig['engine'] = 'auto',
  timeoutMs = 5_000,
): PoolConfig => ({
  name: 'main',
  endpoints,
  routing: 'least-loaded',
  choice: { weights: {}, slowClients: [], sessionHeader: 'x-session-id', zones: new Map() },
  drain: [],
  engine,
  concurrencyLimit: 'auto',
  prefillTokens: 1,
  headroom: 'auto',
  gauges: { path: '/metrics', intervalMs: 100 },
  engineCapabilities: { priority: 'off', cacheSalt: 'off' },
  health: { path: '/health', intervalMs: 20, timeoutMs, unhealthyAfter: 2, healthyAfter: 1, slowStartMs: 0 },
  discoverModels: false,
});

function watch(pool: PoolConfig) {
  const engines: (Identity & { readonly url: string })[] = [];
  const health: { readonly url: string; readonly healthy: boolean; readonly detail: string }[] = [];
  const loaded: string[] = [];
  const monitor = startHealthMonitor({
    pool,
    now: () => performance.now(),
    onLoaded: ({ url }) => loaded.push(url),
    onHealth: ({ url }, healthy, detail) => health.push({ url, healthy, detail }),
    onModels: () => {},
    onEngine: ({ url }, identity) => engines.push({ url, ...identity }),
  });
  monitors.push(monitor);
  return { engines, health, loaded, monitor };
}

const identify = async (table: Readonly<Record<string, Page>>, timeoutMs = 5_000) =>
  identifyEngine(await serve(pages(table)), '/metrics', timeoutMs);

describe('an endpoint is identified', () => {
  it.each(['vllm', 'sglang', 'llamacpp', 'tgi', 'lmdeploy'])('by the metrics of %s', async (engine) => {
    expect(await identify(pagesOf(engine))).toEqual({ engine, by: '/metrics' });
  });

  it('by the metrics of trtllm, which are elsewhere', async () => {
    const table = pagesOf('trtllm', ['/metrics', '/prometheus/metrics']);
    const endpoint = await serve(pages(table));
    const path = '/prometheus/metrics';
    expect(await identifyEngine(endpoint, path, 5_000)).toEqual({ engine: 'trtllm', by: path });
    expect((await identifyEngine(endpoint, '/metrics', 5_000)).engine).toBeUndefined();
  });

  it.each(['vllm', 'sglang', 'llamacpp', 'trtllm', 'lmdeploy'])(
    'by the models of %s, without metrics',
    async (engine) => {
      expect(await identify(pagesOf(engine, ['/v1/models']))).toEqual({ engine, by: '/v1/models' });
    },
  );

  it.each([
    ['sglang', '/get_server_info'],
    ['llamacpp', '/props'],
    ['tgi', '/info'],
  ])('by the own page of %s, without either', async (engine, path) => {
    expect(await identify(pagesOf(engine, [path]))).toEqual({ engine, by: path });
  });

  it('as SGLang also by the later name of its page', async () => {
    const page = pagesOf('sglang')['/get_server_info'] ?? [0, ''];
    expect(await identify({ '/server_info': page })).toEqual({ engine: 'sglang', by: '/server_info' });
  });

  it.each<[string, Record<string, Page>]>([
    ['nothing', {}],
    ['HTML', { '/metrics': [200, '<html>hello</html>'], '/v1/models': [200, '<html>hello</html>'] }],
    ['JSON of other shapes', { '/v1/models': [200, '[1]'], '/props': [200, 'null'], '/info': [200, '"x"'] }],
    ['half of the metrics', { '/metrics': [200, 'vllm:num_requests_running 1'] }],
  ])('as none by %s, and it is said', async (_, table) => {
    const { engine, by } = await identify(table);
    expect(engine).toBeUndefined();
    expect(by).toMatch(/\/metrics.*\/v1\/models.*tells/);
  });

  it('as none when it hangs, within the time for all questions together', async () => {
    const began = performance.now();
    const { engine, by } = await identify({ '/metrics': [404, ''], '/v1/models': 'hang' }, 500);
    expect(engine).toBeUndefined();
    expect(by).toMatch(/no answer in \d+ ms/);
    expect(performance.now() - began).toBeLessThan(1_500);
  });

  it('as none when nothing listens there', async () => {
    const [port = 0] = await freePorts(1);
    expect(await identifyEngine(endpointAt(port), '/metrics', 500)).toMatchObject({ engine: undefined });
  });

  it('as none by an answer without an end, of which no more than 4 MiB is read', async () => {
    let written = 0;
    const endpoint = await serve((_, response) => {
      const more = (): void => {
        while (response.writable && response.write('x'.repeat(65_536))) written += 65_536;
        if (response.writable) response.once('drain', more);
      };
      more();
    });
    const { engine, by } = await identifyEngine(endpoint, '/metrics', 5_000);
    expect(engine).toBeUndefined();
    expect(by).toContain('answer over 4 MiB');
    expect(written).toBeLessThan(16 * 1024 * 1024);
  });

  it('by no page that it is redirected to', async () => {
    const target = await serve(pages(pagesOf('vllm')));
    const endpoint = await serve((request, response) =>
      response.writeHead(302, { location: `${target.url}${request.url}` }).end(),
    );
    expect((await identifyEngine(endpoint, '/metrics', 500)).engine).toBeUndefined();
    expect(await probeHealth(endpoint, '/health', 500)).toMatchObject({ state: 'dead' });
    expect(await askModels(endpoint, 500)).toBeUndefined();
    expect(await askServerInfo(endpoint, LLAMACPP, 500)).toBeUndefined();
  });
});

describe('health', () => {
  it('tells loading from dead', async () => {
    const loading = readFixture('llamacpp').answers.get('loading');
    const endpoint = await serve(pages({ '/health': [503, loading?.body ?? ''] }));
    expect(await probeHealth(endpoint, '/health', 5_000, LLAMACPP.health, true)).toEqual({
      state: 'loading',
      answered: true,
      refused: false,
      detail: 'GET /health: 503, loading',
    });
    expect((await probeHealth(endpoint, '/health', 5_000, VLLM.health, true)).state).toBe('dead');
    expect((await probeHealth(endpoint, '/health', 5_000, VLLM.health, false)).state).toBe('loading');
    const [port = 0] = await freePorts(1);
    expect(await probeHealth(endpointAt(port), '/health', 5_000, VLLM.health)).toMatchObject({
      state: 'dead',
      answered: false,
      refused: true,
      detail: expect.stringContaining('ECONNREFUSED') as string,
    });
  });

  it('tells sleep by the page for it, and nothing by a page that is none', async () => {
    const { sleep } = VLLM.health;
    if (sleep === undefined) throw new Error('vLLM can sleep');
    for (const [page, expected] of [
      [[200, '{"is_sleeping":true}'], 'asleep'],
      [[200, '{"is_sleeping":false}'], 'awake'],
      [[200, '{"is_sleeping":"true"}'], 'awake'],
      [[200, '[]'], 'awake'],
      [[404, ''], 'cannot'],
      [[500, ''], undefined],
      [[200, '<html>'], undefined],
      ['hang', undefined],
    ] as const) {
      const endpoint = await serve(pages({ '/is_sleeping': page }));
      const timeoutMs = page === 'hang' ? 300 : 5_000;
      expect([page, await askAsleep(endpoint, sleep, timeoutMs)]).toEqual([page, expected]);
    }
  });

  it('gives an engine that is not known yet the time of the slowest, and SGLang its own', async () => {
    const slow: RequestListener = (request, response) => {
      if (request.url !== '/health') pages(pagesOf('sglang'))(request, response);
      else setTimeout(() => response.writeHead(200).end(), 700);
    };
    expect(SGLANG.health.leastTimeoutMs).toBeGreaterThan(1_000);
    for (const engine of ['auto', 'sglang'] as const) {
      const { monitor, health } = watch(poolOf([await serve(slow)], engine, 200));
      await monitor.firstRound;
      expect(health).toMatchObject([{ healthy: true }]);
    }
  });
});

describe('the health monitor', () => {
  it('tells which engine each endpoint of a mixed pool is, before it is in the rotation', async () => {
    const endpoints = await Promise.all(
      ['vllm', 'llamacpp', 'tgi'].map((engine) => {
        const seen = pagesOf(engine);
        return serve(pages({ ...seen, '/health': [200, ''], '/is_sleeping': [404, ''] }));
      }),
    );
    const { engines, health, monitor } = watch(poolOf(endpoints));
    await monitor.firstRound;
    expect(health).toHaveLength(3);
    const found = new Map(engines.map(({ url, engine }) => [url, engine]));
    expect(endpoints.map(({ url }) => found.get(url))).toEqual(['vllm', 'llamacpp', 'tgi']);
  });

  it('asks once, and again when the endpoint has been away: what comes back may be another engine', async () => {
    let table: Record<string, Page> = { ...pagesOf('tgi'), '/health': [200, ''] };
    const seen: string[] = [];
    const endpoint = await serve((request, response) => pages(table, seen)(request, response));
    const { engines, health } = watch(poolOf([endpoint]));
    await eventually(
      () => seen.filter((path) => path === '/health').length,
      (count) => count > 5,
    );
    expect(seen.filter((path) => path === '/metrics')).toHaveLength(1);
    expect(engines.map(({ engine }) => engine)).toEqual(['tgi']);
    table = { '/health': [500, ''] };
    await eventually(
      () => health.at(-1)?.healthy,
      (healthy) => healthy === false,
    );
    table = { ...pagesOf('llamacpp'), '/health': [200, ''] };
    await eventually(
      () => engines.map(({ engine }) => engine),
      (all) => all.length === 2,
    );
    expect(engines.at(-1)).toMatchObject({ engine: 'llamacpp', by: '/metrics' });
    expect(health.at(-1)?.healthy).toBe(true);
  });

  it('takes the configured engine at its word, and asks only whether it lets us in', async () => {
    const seen: string[] = [];
    const endpoint = await serve(pages({ '/health': [200, ''] }, seen));
    const { engines, monitor } = watch(poolOf([endpoint], 'llamacpp'));
    await monitor.firstRound;
    expect(engines).toMatchObject([{ engine: 'llamacpp', by: 'the configuration' }]);
    expect(new Set(seen)).toEqual(new Set(['/health', '/v1/models']));
  });

  it('asks an endpoint that tells nothing again, but not at every probe, and says so once', async () => {
    const seen: string[] = [];
    let table: Record<string, Page> = { '/health': [200, ''] };
    const endpoint = await serve((request, response) => pages(table, seen)(request, response));
    const { engines, health, monitor } = watch(poolOf([endpoint]));
    await monitor.firstRound;
    expect(engines).toMatchObject([{ engine: undefined }]);
    expect(health).toMatchObject([{ healthy: true }]);
    const probes = () => seen.filter((path) => path === '/health').length;
    await eventually(probes, (count) => count > 10);
    expect(seen.filter((path) => path === '/props')).toHaveLength(1);
    table = { ...table, ...pagesOf('tgi', ['/info']) };
    await eventually(
      () => engines.length,
      (count) => count === 2,
    );
    expect(engines.at(-1)).toMatchObject({ engine: 'tgi', by: '/info' });
  });

  it('takes an engine that sleeps out of the rotation at once, and takes it back when it is awake', async () => {
    let asleep = false;
    const endpoint = await serve((request, response) =>
      pages({
        ...pagesOf('vllm'),
        '/health': [200, ''],
        '/is_sleeping': [200, JSON.stringify({ is_sleeping: asleep })],
      })(request, response),
    );
    const { engines, health, monitor } = watch(poolOf([endpoint]));
    await monitor.firstRound;
    asleep = true;
    await eventually(
      () => health.length,
      (count) => count === 2,
    );
    expect(health.at(-1)).toMatchObject({ healthy: false, detail: 'GET /is_sleeping: asleep' });
    asleep = false;
    await eventually(
      () => health.length,
      (count) => count === 3,
    );
    expect(health.at(-1)?.healthy).toBe(true);
    // It is still the same engine.
    expect(engines).toHaveLength(1);
  });

  it('asks an engine that cannot sleep no more than once', async () => {
    const seen: string[] = [];
    const endpoint = await serve(pages({ ...pagesOf('vllm', ['/metrics']), '/health': [200, ''] }, seen));
    watch(poolOf([endpoint]));
    await eventually(
      () => seen.filter((path) => path === '/health').length,
      (count) => count > 5,
    );
    expect(seen.filter((path) => path === '/is_sleeping')).toHaveLength(1);
  });
});

describe('an engine that loads', () => {
  const loading: Page = [503, readFixture('llamacpp').answers.get('loading')?.body ?? ''];

  it('leaves at once, is probed sooner than its interval, and starts without a record when it is ready', async () => {
    let page: Page = [200, ''];
    const endpoint = await serve((request, response) => pages({ '/health': page })(request, response));
    const pool = poolOf([endpoint], 'llamacpp');
    const { health, loaded, monitor } = watch({ ...pool, health: { ...pool.health, intervalMs: 60_000 } });
    await monitor.firstRound;
    page = loading;
    // The next probe would be in a minute.
    monitor.hurry(endpoint.url);
    await eventually(
      () => monitor.describe(endpoint.url),
      (words) => /^loading for \d s: GET \/health: 503/.test(words ?? ''),
    );
    expect(health.at(-1)).toMatchObject({ healthy: false });
    expect(loaded).toEqual([]);
    page = [200, ''];
    await eventually(
      () => health.at(-1)?.healthy,
      (healthy) => healthy === true,
    );
    expect(loaded).toEqual([endpoint.url]);
    expect(monitor.describe(endpoint.url)).toMatch(/^healthy for \d s/);
  });

  it('is not probed more often because more requests fail', async () => {
    const seen: string[] = [];
    const endpoint = await serve(pages({ '/health': [200, ''] }, seen));
    const pool = poolOf([endpoint], 'llamacpp');
    const { monitor } = watch({ ...pool, health: { ...pool.health, intervalMs: 60_000 } });
    await monitor.firstRound;
    const until = performance.now() + 500;
    while (performance.now() < until) {
      monitor.hurry(endpoint.url);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    expect(seen.length).toBeGreaterThan(1);
    expect(seen.length).toBeLessThan(8);
  });
});

describe('an endpoint that is said to be an API like OpenAI’s', () => {
  it('is asked for nothing but its models, and has no gauges', async () => {
    const seen: string[] = [];
    const endpoint = await serve(pages({ ...pagesOf('vllm'), '/health': [500, ''] }, seen));
    const settings = { engine: 'openai', gauges: { path: '/metrics', intervalMs: 1_000 } } as const;
    expect(await identityOf(endpoint, settings, 500)).toEqual({ engine: undefined, by: 'the configuration' });
    expect(await askGauges(endpoint, '/metrics', 'openai')).toMatchObject({ kind: 'unusable' });
    expect(seen).toEqual([]);
  });
});

describe('gauges', () => {
  it('of another engine than the configured one are not used', async () => {
    const endpoint = await serve(pages(pagesOf('tgi')));
    expect(await askGauges(endpoint, '/metrics', 'auto')).toMatchObject({ report: { kind: 'tgi' } });
    expect(await askGauges(endpoint, '/metrics', 'tgi')).toMatchObject({ report: { kind: 'tgi' } });
    expect(await askGauges(endpoint, '/metrics', 'vllm')).toEqual({
      kind: 'unusable',
      detail: 'metrics of TGI, not of vLLM',
    });
  });

  it.each<[string, Page, RegExp]>([
    ['HTML', [200, '<html>vllm:num_requests_running 1</html>'], /no metrics of a known engine/],
    ['a redirect', [302, ''], /302/],
    ['nothing', 'hang', /no answer in 1000 ms/],
    ['NUL bytes', [200, '\0'.repeat(1_000)], /no metrics of a known engine/],
  ])('that are %s are not used, and it is said why', async (_, page, why) => {
    const result = await askGauges(await serve(pages({ '/metrics': page })), '/metrics', 'auto');
    expect(result.kind === 'unusable' ? result.detail : '').toMatch(why);
  });
});

describe('the page of an engine', () => {
  it('is read where it is, and another page is not taken for it', async () => {
    const endpoint = await serve(pages(pagesOf('llamacpp')));
    expect(LLAMACPP.info?.maxSequences(await askServerInfo(endpoint, LLAMACPP, 5_000))).toBe(2);
    expect(await askServerInfo(endpoint, VLLM, 500)).toBeUndefined();
    for (const page of [[200, '{"total_slots":4}'], [200, '<html>'], [500, '{}'], 'hang'] as const) {
      const other = await serve(pages({ '/props': page }));
      expect(await askServerInfo(other, LLAMACPP, 300)).toBeUndefined();
    }
  });
});

it('an endpoint of a name with several addresses is asked at its own, by its name', async () => {
  const hosts: (string | undefined)[] = [];
  const { port } = await serve((request, response) => {
    hosts.push(request.headers.host);
    response.end('{"data":[{"id":"demo"}]}');
  });
  const endpoint = {
    url: `http://engines.test:${port}#127.0.0.1`,
    host: 'engines.test',
    port,
    address: '127.0.0.1',
  };
  expect(await probeHealth(endpoint, '/health', 1_000)).toMatchObject({ state: 'healthy' });
  expect(await askModels(endpoint, 1_000)).toEqual(['demo']);
  expect(hosts).toEqual([`engines.test:${port}`, `engines.test:${port}`]);
  // Another address of the same name is another endpoint: nothing listens there.
  const dead = { ...endpoint, address: '127.0.0.9' };
  expect(await probeHealth(dead, '/health', 1_000)).toMatchObject({ state: 'dead', refused: true });
});
