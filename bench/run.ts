/**
 * What Fairlane costs, against the same Envoy without it: one Envoy process with two listeners that differ in the
 * ext_proc filter alone, the same upstream, the same run, the two alternating. `--json` prints the figures as JSON.
 */
import { fork } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadConfig } from '../src/config/fs-config.ts';
import { bootstrapOf } from '../src/envoy/bootstrap.ts';
import { startEnvoy } from '../src/envoy/process-envoy.ts';
import { findEnvoy } from '../src/envoy/process-find-envoy.ts';
import { freePorts } from '../tests/support/ports.ts';
import { runCli } from '../tests/support/serve.ts';
import { configYaml, KEYS } from '../tests/support/stack.ts';

const LATENCY_REQUESTS = 1_500;
const CPU_REQUESTS = 4_000;
const STREAMS = 20;
const TOKENS = 400;
const SATURATION_MS = 4_000;
const SATURATION_ROUNDS = 2;
const SATURATION_CLIENTS = 32;

const say = (text: string): void => console.error(text);

const upstream = fork(fileURLToPath(new URL('./upstream.ts', import.meta.url)));
const { url: engine } = await new Promise<{ url: string }>((resolve) => upstream.once('message', resolve));
const directory = mkdtempSync(join(tmpdir(), 'fairlane-bench-'));
const [api = 0, plain = 0, admin = 0, metrics = 0] = await freePorts(4);
const path = join(directory, 'fairlane.yaml');
const yaml = configYaml([engine], { api, admin, metrics }, directory, (config) => {
  config['pools']['main']['windowPerEndpoint'] = 1_000;
  // The upstream has no /health of its own: everything answers 200.
  config['log'] = { level: 'info' };
});
writeFileSync(path, yaml);
const loaded = loadConfig(path, process.env);
if (loaded.kind === 'bad') throw new Error(loaded.problems.join('\n'));
// The build, as it runs in production: tsx names every closure as it is made, which costs.
const service = runCli(['serve', '--config', path], process.env, ['dist/cli/index.js']);
await service.until('serving ext_proc');

/** The same listener twice; the second without ext_proc. */
const bootstrap = structuredClone(bootstrapOf(loaded.config)) as unknown as {
  static_resources: { listeners: Listener[] };
};
interface Listener {
  name: string;
  address: { socket_address: { port_value: number } };
  filter_chains: {
    filters: {
      typed_config: {
        http_filters: { name: string }[];
        route_config: { virtual_hosts: { routes: object[] }[] };
      };
    }[];
  }[];
}
const [listener] = bootstrap.static_resources.listeners;
if (listener === undefined) throw new Error('no listener');
const without = structuredClone(listener);
without.name = 'without-fairlane';
without.address.socket_address.port_value = plain;
const http = without.filter_chains[0]?.filters[0]?.typed_config;
if (http === undefined) throw new Error('no http filters');
http.http_filters = http.http_filters.filter(({ name }) => name !== 'fairlane.ext_proc');
for (const host of http.route_config.virtual_hosts) host.routes.pop();
bootstrap.static_resources.listeners.push(without);
const envoy = await startEnvoy({
  envoy: await findEnvoy({ env: process.env, onProgress: say }),
  bootstrap: bootstrap as never,
  directory,
  admin: loaded.config.envoy.admin,
  concurrency: 1,
  onLog: say,
});

const agent = new Agent({ keepAlive: true, maxSockets: 256 });
const body = (fields: object = {}): string =>
  JSON.stringify({
    model: 'demo',
    messages: [{ role: 'user', content: 'x'.repeat(500) }],
    max_tokens: 1,
    ...fields,
  });
/** Milliseconds from the request to the end of the answer. */
const once = (port: number, payload: string): Promise<number> =>
  new Promise((resolve, reject) => {
    const started = performance.now();
    const outgoing = request(
      {
        host: '127.0.0.1',
        port,
        method: 'POST',
        path: '/v1/chat/completions',
        agent,
        headers: {
          authorization: `Bearer ${KEYS.quiet}`,
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(payload),
        },
      },
      (incoming) => {
        if (incoming.statusCode !== 200) reject(new Error(`status ${incoming.statusCode}`));
        incoming.resume();
        incoming.on('end', () => resolve(performance.now() - started));
      },
    );
    outgoing.on('error', reject);
    outgoing.end(payload);
  });
const cpuMs = async (): Promise<number> => {
  const text = await (await fetch(`http://127.0.0.1:${metrics}/metrics`)).text();
  return 1_000 * Number(/^fairlane_process_cpu_seconds_total (\S+)/m.exec(text)?.[1] ?? Number.NaN);
};
const repeat = async (count: number, clients: number, work: () => Promise<unknown>): Promise<void> => {
  let left = count;
  await Promise.all(
    Array.from({ length: clients }, async () => {
      while (left > 0) {
        left -= 1;
        await work();
      }
    }),
  );
};
const quantile = (values: readonly number[], q: number): number => {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
};
const round = (value: number, digits = 3): number => Number(value.toFixed(digits));

try {
  say('warming up …');
  await repeat(1_500, 8, () => once(api, body()));
  await repeat(500, 8, () => once(plain, body()));

  say('latency: one request at a time, the two listeners in turn …');
  const with_: number[] = [];
  const without_: number[] = [];
  for (let i = 0; i < LATENCY_REQUESTS; i += 1) {
    with_.push(await once(api, body()));
    without_.push(await once(plain, body()));
  }

  say('CPU of the service: requests, then streams …');
  const idle = await cpuMs();
  await repeat(CPU_REQUESTS, 16, () => once(api, body()));
  const afterRequests = await cpuMs();
  const perRequest = (afterRequests - idle) / CPU_REQUESTS;
  await repeat(STREAMS, STREAMS, () => once(api, body({ stream: true, max_tokens: TOKENS })));
  const perChunk = ((await cpuMs()) - afterRequests - STREAMS * perRequest) / (STREAMS * TOKENS);

  say('saturation: 32 clients as fast as they go, the two in turn …');
  const rate = async (port: number): Promise<number> => {
    const until = performance.now() + SATURATION_MS;
    let done = 0;
    await Promise.all(
      Array.from({ length: SATURATION_CLIENTS }, async () => {
        while (performance.now() < until) {
          await once(port, body());
          done += 1;
        }
      }),
    );
    return (1_000 * done) / SATURATION_MS;
  };
  let withRate = 0;
  let withoutRate = 0;
  for (let i = 0; i < SATURATION_ROUNDS; i += 1) {
    withRate += (await rate(api)) / SATURATION_ROUNDS;
    withoutRate += (await rate(plain)) / SATURATION_ROUNDS;
  }

  const figures = {
    latency_p50_vs_envoy: round(quantile(with_, 0.5) / quantile(without_, 0.5)),
    latency_p99_vs_envoy: round(quantile(with_, 0.99) / quantile(without_, 0.99)),
    added_p50_ms: round(quantile(with_, 0.5) - quantile(without_, 0.5)),
    added_p99_ms: round(quantile(with_, 0.99) - quantile(without_, 0.99)),
    service_cpu_us_per_request: round(perRequest * 1_000, 1),
    service_cpu_us_per_chunk: round(perChunk * 1_000, 1),
    saturation_rps_vs_envoy: round(withRate / withoutRate),
    saturation_rps: Math.round(withRate),
    saturation_rps_without: Math.round(withoutRate),
  };
  if (process.argv.includes('--json')) console.log(JSON.stringify(figures));
  else {
    console.log(`
                                with Fairlane   Envoy alone     ratio
latency p50                     ${quantile(with_, 0.5).toFixed(2).padStart(10)} ms ${quantile(without_, 0.5).toFixed(2).padStart(10)} ms ${figures.latency_p50_vs_envoy.toFixed(2).padStart(9)}
latency p99                     ${quantile(with_, 0.99).toFixed(2).padStart(10)} ms ${quantile(without_, 0.99).toFixed(2).padStart(10)} ms ${figures.latency_p99_vs_envoy.toFixed(2).padStart(9)}
requests/s at saturation        ${String(figures.saturation_rps).padStart(10)}    ${String(figures.saturation_rps_without).padStart(10)}    ${figures.saturation_rps_vs_envoy.toFixed(2).padStart(9)}

CPU of the service              ${figures.service_cpu_us_per_request} µs a request, ${figures.service_cpu_us_per_chunk} µs a streamed chunk

How to read this: bench/README.md`);
  }
} finally {
  service.child.kill('SIGTERM');
  await service.exited;
  await envoy.stop(500);
  upstream.kill();
  agent.destroy();
  rmSync(directory, { recursive: true, force: true });
}
