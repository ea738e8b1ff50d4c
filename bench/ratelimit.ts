/**
 * `npm run bench:ratelimit`: the rate limit service against a plain one that does what the reference service does (one INCRBY
 * and one EXPIRE in Redis a call). One run, equal cores, the services in turn; read the ratios. `--json` prints one object.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as grpc from '@grpc/grpc-js';
import * as protoLoader from '@grpc/proto-loader';
import { quantileOf } from '../src/loadtest/outcome.ts';
import { freePorts } from '../tests/support/ports.ts';
import { startRedis } from '../tests/support/redis.ts';
import { type CliProcess, runCli } from '../tests/support/serve.ts';
import type { Used } from './ratelimit/cpu.ts';

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
  readonly use: () => Promise<Used>;
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
  options: grpc.ChannelOptions,
) => { readonly ShouldRateLimit: Call };

const OVER = 2;

function callerOf(port: number): Server['call'] {
  const client = new loaded.envoy.service.ratelimit.v3.RateLimitService(
    `127.0.0.1:${port}`,
    grpc.credentials.createInsecure(),
    // Of its own: a shared connection that failed is not tried again for a second.
    { 'grpc.use_local_subchannel_pool': 1 },
  );
  return (key) =>
    new Promise((done, fail) => {
      client.ShouldRateLimit(
        { domain: 'bench', descriptors: [{ entries: [{ key: 'user', value: key }] }] },
        (error, answer) => (error === null ? done(answer?.overall_code ?? 0) : fail(error)),
      );
    });
}

function started(script: string, args: readonly string[]): Promise<Server> {
  const child = fork(fileURLToPath(new URL(`./ratelimit/${script}`, import.meta.url)), args, {
    execArgv: ['--import', 'tsx'],
  });
  return new Promise((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`${script} ended with ${code}`)));
    child.once('message', (message) => {
      const { port } = message as { readonly port: number };
      resolve({
        child,
        call: callerOf(port),
        use: () =>
          new Promise((done) => {
            child.once('message', (told) => done(told as Used));
            child.send('cpu');
          }),
      });
    });
  });
}

/** Offers calls of one key at a rate, in turn to the servers. Counts what was granted, and what failed. */
async function offer(
  servers: readonly Server[],
  key: string,
  { perSecond, ms }: { readonly perSecond: number; readonly ms: number },
): Promise<{
  readonly sent: number;
  readonly granted: number;
  readonly errors: number;
  readonly tookMs: number;
}> {
  let sent = 0;
  let granted = 0;
  let errors = 0;
  const pending: Promise<void>[] = [];
  const startMs = performance.now();
  while (performance.now() - startMs < ms) {
    const due = Math.floor(((performance.now() - startMs) * perSecond) / 1_000);
    for (; sent < due; sent += 1) {
      const server = servers[sent % servers.length];
      if (server === undefined) break;
      pending.push(
        server.call(key).then(
          (code) => {
            if (code === 1) granted += 1;
          },
          () => {
            errors += 1;
          },
        ),
      );
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await Promise.all(pending);
  return { sent, granted, errors, tookMs: performance.now() - startMs };
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

/** Quantiles of one run of calls, in ms. */
interface Latency {
  /** From when calls were due: a call that the generator sends late counts as waiting. */
  readonly p50: number;
  readonly p99: number;
  /** From when they were sent. */
  readonly sentP99: number;
  /** How late the generator sent them. */
  readonly lateP99: number;
  readonly longestGcMs: number;
}

/** Open loop. */
async function latencies(server: Server): Promise<Latency> {
  const times: number[] = [];
  const ofSent: number[] = [];
  const late: number[] = [];
  await server.use();
  const pending: Promise<void>[] = [];
  const startMs = performance.now();
  let sent = 0;
  while (performance.now() - startMs < LATENCY_MS) {
    const due = Math.floor(((performance.now() - startMs) * LATENCY_PER_SECOND) / 1_000);
    for (; sent < due; sent += 1) {
      const dueMs = startMs + (sent * 1_000) / LATENCY_PER_SECOND;
      const sentMs = performance.now();
      late.push(sentMs - dueMs);
      pending.push(
        server.call(`user-${sent % KEYS}`).then(() => {
          const nowMs = performance.now();
          times.push(nowMs - dueMs);
          ofSent.push(nowMs - sentMs);
        }),
      );
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await Promise.all(pending);
  const quantile = (values: readonly number[], q: number): number => quantileOf(values, q) ?? Number.NaN;
  return {
    p50: quantile(times, 0.5),
    p99: quantile(times, 0.99),
    sentP99: quantile(ofSent, 0.99),
    lateP99: quantile(late, 0.99),
    longestGcMs: (await server.use()).longestGcMs,
  };
}

const folder = mkdtempSync(join(tmpdir(), 'fairlane-bench-'));
const HOT = { perMinute: 6_000, perSecond: 1_500, ms: 10_000 };
writeFileSync(
  join(folder, 'limits.yaml'),
  `domain: bench
descriptors:
  - key: user
    rate_limit: { unit: minute, requests_per_unit: 1000000000 }
  - key: user
    value: hot
    rate_limit: { unit: minute, requests_per_unit: ${HOT.perMinute} }
  - key: user
    value: spent
    rate_limit: { unit: day, requests_per_unit: 1 }
`,
);

const redis = await startRedis();
const redisCpuUs = async (): Promise<number> => {
  const info = await redis.client.info('cpu');
  const of = (name: string): number => Number(new RegExp(`^${name}:([\\d.]+)`, 'm').exec(info)?.[1] ?? 0);
  return (of('used_cpu_user') + of('used_cpu_sys')) * 1e6;
};

/** From SIGKILL of `fairlane serve` until another one of it refuses what was used up before. */
async function restartMs(): Promise<number> {
  const [metrics = 0, service = 0] = await freePorts(2);
  const path = join(folder, 'fairlane.yaml');
  const config = {
    envoy: { directory: join(folder, 'run') },
    service: { address: `127.0.0.1:${service}`, metrics: `127.0.0.1:${metrics}` },
    redis: { url: redis.url },
    rateLimit: { directory: 'limits.yaml' },
    // Nobody answers there, and says so at once.
    pools: { main: { endpoints: ['http://127.0.0.1:9'] } },
    models: { m: { pool: 'main' } },
    tenants: { a: { keys: ['k'.repeat(32)] } },
    log: { level: 'error' },
  };
  writeFileSync(path, JSON.stringify(config));
  const start = (): CliProcess => runCli(['serve', '--config', path], process.env, ['dist/cli/index.js']);
  const clientOf = (): Server['call'] => callerOf(service);
  let serve = start();
  await serve.until('serving ext_proc');
  const call = clientOf();
  while ((await call('spent')) !== OVER) {
    // The one token of the day.
  }
  const startedMs = performance.now();
  serve.child.kill('SIGKILL');
  await serve.exited;
  serve = start();
  for (;;) {
    try {
      if ((await clientOf()('spent')) === OVER) break;
    } catch {
      // It does not listen yet.
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const tookMs = performance.now() - startedMs;
  serve.child.kill('SIGKILL');
  await serve.exited;
  return tookMs;
}

const servers: Server[] = [];
try {
  const baseline = await started('baseline.ts', ['0', redis.url]);
  const memory = await started('ours.ts', ['0', folder]);
  const shared = await started('ours.ts', ['0', folder, redis.url]);
  const nothing = await started('nothing.ts', ['0']);
  servers.push(baseline, memory, shared, nothing);
  /** CPU µs a call, Redis counted. */
  const cost = async (server: Server): Promise<number> => {
    const before = (await server.use()).us + (await redisCpuUs());
    await calls(server, CPU_CALLS);
    return ((await server.use()).us + (await redisCpuUs()) - before) / CPU_CALLS;
  };
  say('warming up');
  for (const server of servers) await calls(server, CPU_CALLS);
  say('CPU a decision');
  const costs: [number, number, number][] = [];
  for (let i = 0; i < ROUNDS; i += 1)
    costs.push([await cost(baseline), await cost(memory), await cost(shared)]);
  say('latency at equal load');
  const latency: { readonly plain: Latency; readonly ours: Latency; readonly nothing: Latency }[] = [];
  for (let i = 0; i < ROUNDS; i += 1) {
    latency.push({
      plain: await latencies(baseline),
      ours: await latencies(shared),
      nothing: await latencies(nothing),
    });
  }
  say('four replicas, one hot key');
  const replicas = [shared];
  for (let i = 0; i < 3; i += 1) replicas.push(await started('ours.ts', ['0', folder, redis.url]));
  servers.push(...replicas.slice(1));
  for (const server of replicas.slice(1)) await calls(server, 200);
  const commandsOf = async (): Promise<number> => {
    let sum = 0;
    for (const server of replicas) sum += (await server.use()).commands;
    return sum;
  };
  const before = await commandsOf();
  const hot = await offer(replicas, 'hot', HOT);
  const commands = (await commandsOf()) - before;
  const allowed = HOT.perMinute + (HOT.perMinute * hot.tookMs) / 60_000;
  say('Redis is killed and restarted under load');
  const load = offer([shared], 'user-1', { perSecond: 500, ms: 6_000 });
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  await redis.kill();
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  await redis.restart();
  const { errors } = await load;
  say('a replica is killed and started');
  const restarts: number[] = [];
  for (let i = 0; i < 3; i += 1) restarts.push(await restartMs());

  const figures = {
    cpu_baseline_vs_memory: rounded(median(costs.map(([base, ours]) => base / ours))),
    cpu_baseline_vs_redis: rounded(median(costs.map(([base, , ours]) => base / ours))),
    p99_vs_baseline: rounded(median(latency.map(({ plain, ours }) => ours.p99 / plain.p99))),
    p99_of_nothing_vs_baseline: rounded(
      median(latency.map(({ plain, nothing: none }) => none.p99 / plain.p99)),
    ),
    over_grant: rounded(Math.max(0, hot.granted / allowed - 1)),
    redis_commands_per_1000: rounded((commands * 1_000) / hot.sent),
    restart_ms: Math.round(median(restarts)),
    errors_while_redis_restarts: errors,
  };
  if (asJson) console.log(JSON.stringify(figures));
  else {
    const us = (i: 0 | 1 | 2): number => rounded(median(costs.map((row) => row[i])));
    console.log(
      `CPU a decision, Redis counted: plain ${us(0)} µs, Fairlane in memory ${us(1)} µs, with Redis ${us(2)} µs`,
    );
    for (const [name, key] of [
      ['plain', 'plain'],
      ['Fairlane with Redis', 'ours'],
      ['a service that decides nothing', 'nothing'],
    ] as const) {
      const ms = (of: keyof Latency): number => rounded(median(latency.map((row) => row[key][of])));
      console.log(
        `${LATENCY_PER_SECOND}/s, ${name}: p50 ${ms('p50')} ms, p99 ${ms('p99')} ms; from when they were sent ${ms('sentP99')} ms; sent late ${ms('lateP99')} ms; longest collection ${ms('longestGcMs')} ms`,
      );
    }
    console.log(
      `hot key: ${hot.granted} of ${hot.sent} granted, ${Math.round(allowed)} allowed, ${commands} commands; restarts ${restarts.map(Math.round).join(', ')} ms`,
    );
    console.log(JSON.stringify(figures, undefined, 2));
  }
} finally {
  for (const { child } of servers) if (child.connected) child.disconnect();
  await redis.close();
  rmSync(folder, { recursive: true, force: true });
}
