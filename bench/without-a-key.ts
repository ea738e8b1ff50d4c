/**
 * `node --import tsx bench/without-a-key.ts [--against PATH] [--per-second N] [--seconds N]`: what requests without a key cost
 * the service and Envoy, in CPU. Each build of Fairlane (`npm run build`) runs alone, in turn, with an Envoy of its own.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { freePorts } from '../tests/support/ports.ts';
import { runCli } from '../tests/support/serve.ts';

const { values } = parseArgs({
  options: {
    against: { type: 'string' },
    'per-second': { type: 'string', default: '1000' },
    seconds: { type: 'string', default: '20' },
  },
});
const perSecond = Number(values['per-second']);
const seconds = Number(values.seconds);
/** Connections that are kept. */
const CONNECTIONS = 32;
/** Of /proc/PID/stat: a tick is 10 ms on Linux. */
const MS_PER_TICK = 10;
const BODY = JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'word '.repeat(100) }] });

/** CPU time of a process so far, in ms; with the command's name, which may have spaces, taken off. */
function cpuMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /s, '')
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) * MS_PER_TICK;
}

const childrenOf = (pid: number): readonly number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number);

/** Envoy is a child, or a child of one that guards it. */
function envoyBelow(pid: number): number {
  for (const child of childrenOf(pid)) {
    if (readFileSync(`/proc/${child}/comm`, 'utf8').startsWith('envoy')) return child;
    const below = envoyBelow(child);
    if (below > 0) return below;
  }
  return 0;
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

async function flood(port: number, path: string): Promise<Record<string, number>> {
  const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  const statuses: Record<string, number> = {};
  const pending: Promise<void>[] = [];
  const startMs = performance.now();
  for (let sent = 0; performance.now() - startMs < seconds * 1_000; await pause(1)) {
    const due = Math.floor(((performance.now() - startMs) * perSecond) / 1_000);
    for (; sent < due; sent += 1) {
      pending.push(
        new Promise((resolve) => {
          const call = request(
            { port, path, method: 'POST', agent, headers: { 'content-type': 'application/json' } },
            (answer) => {
              const status = String(answer.statusCode);
              statuses[status] = (statuses[status] ?? 0) + 1;
              answer.resume().once('close', resolve);
            },
          );
          call.once('error', () => resolve());
          call.end(BODY);
        }),
      );
    }
  }
  await Promise.all(pending);
  agent.destroy();
  return statuses;
}

async function measure(root: string, engine: string): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'fairlane-bench-'));
  const [api = 0, admin = 0, service = 0, metrics = 0] = await freePorts(4);
  const path = join(directory, 'fairlane.yaml');
  const config = {
    listen: `127.0.0.1:${api}`,
    envoy: { directory: join(directory, 'run'), admin: `127.0.0.1:${admin}` },
    service: { address: `127.0.0.1:${service}`, metrics: `127.0.0.1:${metrics}` },
    pools: { main: { endpoints: [engine] } },
    models: { m: { pool: 'main' } },
    tenants: { a: { keys: ['k'.repeat(32)] } },
  };
  writeFileSync(path, JSON.stringify(config));
  const start = runCli(['start', '--config', path], process.env, [join(root, 'dist/cli/index.js')]);
  try {
    await start.until('http://', 60_000);
    await pause(3_000);
    const pid = start.child.pid ?? 0;
    const pids = { service: pid, envoy: envoyBelow(pid) };
    const used = (): readonly [number, number] => [cpuMs(pids.service), cpuMs(pids.envoy)];
    const idleBefore = used();
    await pause(5_000);
    const idle = used().map((ms, i) => (ms - (idleBefore[i] ?? 0)) / 5);
    const before = used();
    const statuses = await flood(api, '/v1/chat/completions');
    const flooded = used().map((ms, i) => (ms - (before[i] ?? 0)) / seconds);
    console.log(
      JSON.stringify({
        root,
        statuses,
        service_ms_per_s: { idle: idle[0], flooded: flooded[0] },
        envoy_ms_per_s: { idle: idle[1], flooded: flooded[1] },
      }),
    );
  } finally {
    start.child.kill('SIGTERM');
    await start.exited;
    rmSync(directory, { recursive: true, force: true });
  }
}

const engine = createServer((_, response) => response.end('{}'));
await new Promise<void>((resolve) => engine.listen(0, '127.0.0.1', resolve));
const engineUrl = `http://127.0.0.1:${(engine.address() as AddressInfo).port}`;
for (const root of [fileURLToPath(new URL('..', import.meta.url)), values.against]) {
  if (root !== undefined) await measure(root, engineUrl);
}
engine.close();
