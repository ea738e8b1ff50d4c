/** A stack with all that can be seen of it, under load of several tenants, and a Prometheus that watches it. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { loadConfig } from '../../src/config/fs-config.ts';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { eventually } from './eventually.ts';
import { freePorts } from './ports.ts';
import { startPrometheus, type TestPrometheus } from './prometheus.ts';
import { startRedis, type TestRedis } from './redis.ts';
import { type Draft, KEYS, type Stack, startStack } from './stack.ts';
import { WatchedLoad } from './watched-load.ts';

const MODELS = ['demo', 'demo-next', 'embedder'];
const SEQUENCES = 6;
const FAULT_MS = 2_500;
const SETTLED_MS = 7_500;
const REFUSED_BY_ENVOY = 'sum(fairlane_refusals_total{tenant="",reason="invalid_api_key"})';
const LIMITED_KEY = 'key-of-the-limited-one';
const SPENT_KEY = 'key-of-the-spent-one';
const ODD_KEY = 'key-of-the-odd-one';
const ADMIN_TOKEN = 'FAIRLANE_WATCHED_ADMIN';
/** Those that the odd engine answers, and those that it fails after them. */
const ODD_ANSWERS = 3;
const ODD_REQUESTS = ODD_ANSWERS + 2;

export interface WatchedWorld {
  readonly stack: Stack;
  readonly prometheus: TestPrometheus;
  readonly load: WatchedLoad;
  /** Requests beside the load, of a tenant of its own, to an engine that counts nonsense. */
  readonly oddRequests: number;
  /** Seconds since 1970 at which the load began and ended. */
  readonly fromS: number;
  readonly toS: number;
  close(): Promise<void>;
}

export interface WorldOptions {
  /** How long the load lasts. */
  readonly loadMs: number;
  /** How long the quiet ones are alone, before and after the noisy one. Default: never. */
  readonly aloneMs?: number;
  /** How long an engine fails. Default: 2.5 s. */
  readonly faultMs?: number;
  readonly ruleFiles?: readonly string[];
}

function configure(
  config: Draft,
  { redis, next, hooks, odd, admin }: Record<'redis' | 'next' | 'hooks' | 'odd', string> & { admin: number },
): void {
  const { main } = config['pools'];
  Object.assign(main, {
    concurrencyLimit: 'auto',
    adaptersPerEndpoint: 2,
    gauges: { interval: '500ms' },
    gpuPrice: { perHour: '2.50 EUR', per: 'endpoint' },
    kvCache: { memory: '2GiB', layers: 16, kvHeads: 8, headDim: 64, bytes: 2 },
  });
  Object.assign(config, {
    queue: { maxWait: '5s', maxQueued: 60 },
    lanes: { all: { stalledAfter: '1s', ttft: '500ms' } },
    redis: { url: redis, maxWait: '500ms' },
    ledger: { directory: join(config['envoy'].directory, 'ledger') },
    webhooks: [hooks, `${hooks}/gone`].map((url) => ({
      url,
      secret: `whsec_${Buffer.alloc(32, 7).toString('base64')}`,
    })),
    prices: { default: { prompt: '2 EUR', cachedPrompt: '1 EUR', completion: '5 EUR' } },
    admin: {
      address: `127.0.0.1:${admin}`,
      token: `env:${ADMIN_TOKEN}`,
      directory: join(config['envoy'].directory, 'made'),
    },
    adapters: Object.fromEntries(
      ['legal', 'poems'].map((name) => [name, { base: 'demo', path: `/adapters/${name}` }]),
    ),
  });
  config['pools'].next = { endpoints: [next], concurrencyLimit: 4 };
  config['pools'].odd = { endpoints: [odd] };
  config['models'] = {
    demo: {
      pool: 'main',
      canary: { model: 'demo-next', weight: 20 },
      mirror: { pool: 'next', percent: 30 },
    },
    'demo-next': { pool: 'main' },
    embedder: { pool: 'main' },
    odd: { pool: 'odd' },
  };
  config['tenants'].odd = { keys: [ODD_KEY] };
  config['tenants'].limited = { keys: [LIMITED_KEY], limits: { requestsPerMinute: 6, requestBurst: 2 } };
  config['tenants'].spent = {
    keys: [SPENT_KEY],
    limits: {
      tokensPerMonth: 1_000,
      tokensPerMinute: 100_000,
      budgetPerMonth: '0.00125 EUR',
      budgetAlerts: [10, 50],
    },
  };
  for (const name of ['quiet', 'noisy'])
    config['tenants'][name].limits = { tokensPerMinute: 10_000_000, requestsPerMinute: 100_000 };
}

async function startHooks(): Promise<{ readonly server: Server; readonly url: string }> {
  const server = createServer((request, response) => {
    request.resume();
    // Gone: it wants no more, and what comes for it is dropped.
    response.writeHead(request.url?.endsWith('/gone') === true ? 410 : 200).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hooks` };
}

/** Answers some prompts and says that they had no tokens, and fails the others. */
async function startOdd(): Promise<{ readonly server: Server; readonly url: string }> {
  const usage = { prompt_tokens: 0, completion_tokens: 0, total_tokens: 0 };
  let answered = 0;
  const server = createServer((request, response) => {
    request.resume();
    if (request.method === 'POST' && ++answered > ODD_ANSWERS) return void response.writeHead(500).end();
    const answer =
      request.url === '/v1/models'
        ? { object: 'list', data: [{ id: 'odd', object: 'model' }] }
        : { object: 'chat.completion', choices: [{ index: 0, message: { content: 'hello' } }], usage };
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

async function askOdd(url: string): Promise<void> {
  for (let i = 0; i < ODD_REQUESTS; i += 1) {
    const answer = await fetch(`${url}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${ODD_KEY}`, 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'odd', messages: [{ role: 'user', content: 'hello, how are you?' }] }),
    });
    const text = await answer.text();
    if (answer.ok !== i < ODD_ANSWERS) throw new Error(`the odd engine: ${answer.status} ${text}`);
  }
}

const hostOf = (url: string): string => new URL(url).host;

/** One reload that changes something, one that is refused, an engine that fails for a while. */
async function disturb(stack: Stack, engine: Simulator, faultMs: number): Promise<void> {
  const loaded = loadConfig(stack.configPath, process.env);
  if (loaded.kind === 'bad') throw new Error(loaded.problems.join('\n'));
  await stack.service().reload(loaded.config, []);
  stack.service().refuseReload(['pools.main.endpoints: a problem that was made up']);
  engine.setFault({ kind: 'status', status: 503 });
  await new Promise((resolve) => setTimeout(resolve, faultMs));
  engine.setFault(undefined);
}

/** Starts all, runs the load; resolves when it has ended and Prometheus has seen its end. */
export async function watchLoad({
  loadMs,
  aloneMs = 0,
  faultMs = FAULT_MS,
  ruleFiles = [],
}: WorldOptions): Promise<WatchedWorld> {
  const profile = parseProfile('test', { maxSequences: SEQUENCES, stepBaseMs: 10, kvBlocks: 512 });
  const engines = await Promise.all(
    [0, 1, 2].map((at) =>
      startSimulator({
        profile,
        models: MODELS,
        faults: true,
        ...(at < 2 && { adapters: { max: 2, loadMs: 50 } }),
      }),
    ),
  );
  const [one, two, next] = engines as [Simulator, Simulator, Simulator];
  const redis: TestRedis = await startRedis();
  const hooks = await startHooks();
  const odd = await startOdd();
  const [admin = 0] = await freePorts(1);
  process.env[ADMIN_TOKEN] = 'key-of-the-admin'.padEnd(32, '-');
  const stack = await startStack({
    engines: [one.url, two.url],
    change: (config) =>
      configure(config, { redis: redis.url, next: next.url, hooks: hooks.url, odd: odd.url, admin }),
  });
  const prometheus = await startPrometheus({
    ruleFiles,
    scrape: [
      { job: 'fairlane', targets: [hostOf(stack.metricsUrl)] },
      { job: 'envoy', targets: [hostOf(stack.adminUrl)], path: '/stats/prometheus' },
    ],
  });
  const close = async (): Promise<void> => {
    await prometheus.close();
    await stack.close();
    await Promise.all(engines.map((engine) => engine.close()));
    for (const { server } of [hooks, odd]) {
      server.closeAllConnections();
      server.close();
    }
    await redis.close();
  };
  try {
    // The first scrape comes before the load: what counts from a first request on rises from nothing.
    await eventually(
      () => prometheus.query('sum(up)'),
      ([series]) => series?.points[0]?.[1] === 2,
      20_000,
    );
    const load = new WatchedLoad(stack.url, { ...KEYS, limited: LIMITED_KEY, spent: SPENT_KEY });
    const fromS = Date.now() / 1_000;
    const run = load.run(loadMs, aloneMs);
    await new Promise((resolve) => setTimeout(resolve, loadMs / 2));
    await askOdd(stack.url);
    await disturb(stack, two, faultMs);
    await run;
    // Envoy says every 5 s whom it refused by itself; a scrape later all is known. On a busy machine one may fail.
    await new Promise((resolve) => setTimeout(resolve, SETTLED_MS));
    await eventually(
      () => prometheus.query(`${REFUSED_BY_ENVOY} and sum(up) == 2`),
      ([refused]) => Number(refused?.points[0]?.[1]) >= load.unknownKeys,
      20_000,
    );
    return { stack, prometheus, load, oddRequests: ODD_REQUESTS, fromS, toS: Date.now() / 1_000, close };
  } catch (error) {
    await close();
    throw error;
  }
}
