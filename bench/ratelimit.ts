/**
 * `npm run bench:ratelimit`: the rate limit service against a plain one that does what the reference service does (one INCRBY
 * and one EXPIRE in Redis a call). One run, equal cores, the services in turn; read the ratios. `--json` prints one object.
 */
import { type ChildProcess, fork, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as grpc from '@grpc/grpc-js';
import * as protoLoader from '@grpc/proto-loader';
import { Redis } from 'ioredis';
import { quantileOf } from '../src/bench/outcome.ts';
import { freePorts } from '../tests/support/ports.ts';

const CPU_CALLS = 20_000;
const ROUNDS = 5;
/** Few enough that calls are not served in batches, as they are not under ordinary load. */
const CONCURRENCY = 8;
const LATENCY_PER_SECOND = 1_000;
const LATENCY_MS = 5_000;
const KEYS = 200;

const asJson = process.argv.includes('--json');
const say = (text: string): void => console.error(text);
const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
const rounded = (value: number): number => Number(value.toPrecision(3));

interface Server {
  readonly child: ChildProcess;
  readonly call: (key: string) => Promise<number>;
  readonly cpuUs: () => Promise<number>;
}

const loaded = grpc.loadPackageDefinition(
  protoLoader.loadSync('envoy/service/ratelimit/v3/rls.proto', {
    includeDirs: [fileURLToPath(new URL('../proto/', import.meta.url))],
    keepCase: true,
    enums: Number,
  }),
) as unknown as {
  readonly envoy: {
    readonly service: { readonly ratelimit: { readonly v3: { readonly RateLimitService: Client } } };
  };
};
type Call = (
  request: object,
  done: (error: Error | null, answer?: { readonly overall_code: number }) => void,
) => void;
type Client = new (
  address: string,
  credentials: grpc.ChannelCredentials,
) => { readonly ShouldRateLimit: Call };

function started(script: string, args: readonly string[]): Promise<Server> {
  const child = fork(fileURLToPath(new URL(`./ratelimit/${script}`, import.meta.url)), args, {
    execArgv: ['--import', 'tsx'],
  });
  return new Promise((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`${script} ended with ${code}`)));
    child.once('message', (message) => {
      const { port } = message as { readonly port: number };
      const client = new loaded.envoy.service.ratelimit.v3.RateLimitService(
        `127.0.0.1:${port}`,
        grpc.credentials.createInsecure(),
      );
      resolve({
        child,
        call: (key) =>
          new Promise((done, fail) => {
            client.ShouldRateLimit(
              { domain: 'bench', descriptors: [{ entries: [{ key: 'user', value: key }] }] },
              (error, answer) => (error === null ? done(answer?.overall_code ?? 0) : fail(error)),
            );
          }),
        cpuUs: () =>
          new Promise((done) => {
            child.once('message', (told) => done((told as { readonly us: number }).us));
            child.send('cpu');
          }),
      });
    });
  });
}

async function calls(server: Server, count: number): Promise<void> {
  let left = count;
  const one = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      await server.call(`user-${left % KEYS}`);
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, one));
}

/** Open loop: times count from when a call was due. */
async function latencies(server: Server): Promise<readonly number[]> {
  const times: number[] = [];
  const pending: Promise<void>[] = [];
  const startMs = performance.now();
  let sent = 0;
  while (performance.now() - startMs < LATENCY_MS) {
    const due = Math.floor(((performance.now() - startMs) * LATENCY_PER_SECOND) / 1_000);
    for (; sent < due; sent += 1) {
      const dueMs = startMs + (sent * 1_000) / LATENCY_PER_SECOND;
      pending.push(server.call(`user-${sent % KEYS}`).then(() => void times.push(performance.now() - dueMs)));
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await Promise.all(pending);
  return times;
}

const folder = mkdtempSync(join(tmpdir(), 'fairlane-bench-'));
const [redisPort = 0] = await freePorts(1);
const redisServer = spawn(
  'redis-server',
  ['--port', String(redisPort), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'],
  { stdio: 'ignore' },
);
redisServer.once('error', () =>
  say('redis-server is needed: install it, for example with apt-get install redis-server'),
);
const redis = new Redis(`redis://127.0.0.1:${redisPort}`, { maxRetriesPerRequest: null });
const redisCpuUs = async (): Promise<number> => {
  const info = await redis.info('cpu');
  const of = (name: string): number => Number(new RegExp(`^${name}:([\\d.]+)`, 'm').exec(info)?.[1] ?? 0);
  return (of('used_cpu_user') + of('used_cpu_sys')) * 1e6;
};
writeFileSync(
  join(folder, 'limits.yaml'),
  'domain: bench\ndescriptors:\n  - key: user\n    rate_limit: { unit: minute, requests_per_unit: 1000000000 }\n',
);

const servers: Server[] = [];
try {
  const baseline = await started('baseline.ts', ['0', `redis://127.0.0.1:${redisPort}`]);
  const memory = await started('ours.ts', ['0', folder]);
  servers.push(baseline, memory);
  /** CPU µs a call, Redis counted. */
  const cost = async (server: Server): Promise<number> => {
    const before = (await server.cpuUs()) + (await redisCpuUs());
    await calls(server, CPU_CALLS);
    return ((await server.cpuUs()) + (await redisCpuUs()) - before) / CPU_CALLS;
  };
  say('warming up');
  for (const server of servers) await calls(server, CPU_CALLS);
  say('CPU a decision');
  const costs: [number, number][] = [];
  for (let i = 0; i < ROUNDS; i += 1) costs.push([await cost(baseline), await cost(memory)]);
  say('latency at equal load');
  const p99: [number, number][] = [];
  for (let i = 0; i < 2; i += 1) {
    p99.push([
      quantileOf(await latencies(baseline), 0.99) ?? Number.NaN,
      quantileOf(await latencies(memory), 0.99) ?? Number.NaN,
    ]);
  }
  const figures = {
    cpu_baseline_vs_memory: rounded(median(costs.map(([base, ours]) => base / ours))),
    p99_vs_baseline: rounded(median(p99.map(([base, ours]) => ours / base))),
  };
  if (asJson) console.log(JSON.stringify(figures));
  else {
    console.log(
      `CPU a decision: plain ${rounded(median(costs.map(([base]) => base)))} µs (Redis counted), Fairlane in memory ${rounded(median(costs.map(([, ours]) => ours)))} µs`,
    );
    console.log(
      `p99 at ${LATENCY_PER_SECOND}/s: plain ${rounded(median(p99.map(([base]) => base)))} ms, Fairlane ${rounded(median(p99.map(([, ours]) => ours)))} ms`,
    );
    console.log(JSON.stringify(figures, undefined, 2));
  }
} finally {
  for (const { child } of servers) child.disconnect();
  redis.disconnect();
  redisServer.kill();
  rmSync(folder, { recursive: true, force: true });
}
