/**
 * The same Envoy with Fairlane and without: one process with two listeners that differ in the ext_proc filter alone, before the
 * same upstream, which costs next to nothing.
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

export interface WithAndWithout {
  /** Ports of the two listeners. */
  readonly with: number;
  readonly without: number;
  /** Milliseconds from the request to the end of its answer, which must be 200. */
  once(port: number, payload: string): Promise<number>;
  /** Requests a second while so many clients ask as fast as they are answered. */
  rate(port: number, payload: string, clients: number, forMs: number): Promise<number>;
  /** CPU time of the service since its start, in ms. */
  serviceCpuMs(): Promise<number>;
  close(): Promise<void>;
}

export async function startWithAndWithout(say: (text: string) => void): Promise<WithAndWithout> {
  const upstream = fork(fileURLToPath(new URL('./upstream.ts', import.meta.url)));
  const { url: engine } = await new Promise<{ url: string }>((resolve) => upstream.once('message', resolve));
  const directory = mkdtempSync(join(tmpdir(), 'fairlane-bench-'));
  const [api = 0, plain = 0, admin = 0, metrics = 0] = await freePorts(4);
  const path = join(directory, 'fairlane.yaml');
  const yaml = configYaml([engine], { api, admin, metrics }, directory, (config) => {
    // Nothing is computed: nobody waits for a slot, nor for the computation of others' prompts.
    config['pools']['main']['concurrencyLimit'] = 1_000;
    config['pools']['main']['prefillTokens'] = 1_000_000;
    // The upstream has no /health of its own: everything answers 200.
    config['log'] = { level: 'info' };
  });
  writeFileSync(path, yaml);
  const loaded = loadConfig(path, process.env);
  if (loaded.kind === 'bad') throw new Error(loaded.problems.join('\n'));
  // The build, as it runs in production: tsx names every closure as it is made, which costs.
  const service = runCli(['serve', '--config', path], process.env, ['dist/cli/index.js']);
  await service.until('serving ext_proc');

  const bootstrap = structuredClone(bootstrapOf(loaded.config)) as unknown as {
    static_resources: { listeners: Listener[] };
  };
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

  return {
    with: api,
    without: plain,
    once,
    async rate(port, payload, clients, forMs) {
      const until = performance.now() + forMs;
      let done = 0;
      await Promise.all(
        Array.from({ length: clients }, async () => {
          while (performance.now() < until) {
            await once(port, payload);
            done += 1;
          }
        }),
      );
      return (1_000 * done) / forMs;
    },
    async serviceCpuMs() {
      const text = await (await fetch(`http://127.0.0.1:${metrics}/metrics`)).text();
      return 1_000 * Number(/^fairlane_process_cpu_seconds_total (\S+)/m.exec(text)?.[1] ?? Number.NaN);
    },
    async close() {
      service.child.kill('SIGTERM');
      await service.exited;
      await envoy.stop(500);
      upstream.kill();
      agent.destroy();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
