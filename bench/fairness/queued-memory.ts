/** Memory of queued requests: `fairlane serve` as it runs in production, and an ext_proc stream for each request. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePorts } from '../../tests/support/ports.ts';
import { runCli } from '../../tests/support/serve.ts';
import {
  CHAT_HEADERS,
  connect,
  type ExtProcClient,
  type ProcessCall,
  requestBody,
} from '../ext-proc-client.ts';

const BODY_BYTES = 2_048;
const BATCH = 100;
/** Envoy has a connection to the service for each of its threads. */
const CONNECTIONS = 4;

const MB = 1024 * 1024;

function residentMb(pid: number): number {
  const [, kilobytes = '0'] = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return (Number(kilobytes) * 1_024) / MB;
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Resident memory of the service with `count` requests queued, less what it had before, in MB. */
export async function queuedMemory(
  count: number,
): Promise<{ readonly mb: number; readonly beforeMb: number }> {
  const engine = createServer((_, response) => response.end('{}'));
  await new Promise<void>((resolve) => engine.listen(0, '127.0.0.1', resolve));
  const directory = mkdtempSync(join(tmpdir(), 'fairlane-bench-'));
  const [service = 0, metrics = 0] = await freePorts(2);
  const path = join(directory, 'fairlane.yaml');
  const config = {
    envoy: { directory },
    service: { address: `127.0.0.1:${service}`, metrics: `127.0.0.1:${metrics}` },
    queue: { maxWait: '10m', maxQueued: 2 * count },
    pools: {
      main: {
        endpoints: [`http://127.0.0.1:${(engine.address() as AddressInfo).port}`],
        concurrencyLimit: 1,
      },
    },
    models: { m: { pool: 'main' } },
    tenants: { a: { keys: ['k'.repeat(32)], limits: { maxQueued: 100_000 } } },
    log: { level: 'error' },
  };
  writeFileSync(path, JSON.stringify(config));
  const serve = runCli(['serve', '--config', path], process.env, ['dist/cli/index.js']);
  const clients: ExtProcClient[] = [];
  try {
    await serve.until('serving ext_proc');
    for (let i = 0; i < CONNECTIONS; i += 1) clients.push(connect(service));
    const envelope = '{"model":"m","stream":true,"messages":[{"role":"user","content":""}]}';
    const bodyOf = (i: number): object => {
      const content = `${i} ${'word '.repeat(BODY_BYTES / 5)}`.slice(0, BODY_BYTES - envelope.length);
      const body = JSON.stringify({ model: 'm', stream: true, messages: [{ role: 'user', content }] });
      return requestBody(body);
    };
    const calls: ProcessCall[] = [];
    const open = async (from: number, to: number): Promise<void> => {
      for (let i = from; i < to; i += BATCH) {
        const replies: Promise<void>[] = [];
        for (let k = i; k < Math.min(to, i + BATCH); k += 1) {
          const call = clients[k % clients.length]?.Process();
          if (call === undefined) throw new Error('there is no connection');
          calls.push(call);
          call.on('error', () => {});
          call.write(CHAT_HEADERS);
          call.write(bodyOf(k));
          // Two messages: go on with the headers, and wait or go on with the body.
          replies.push(
            new Promise((resolve) => {
              let left = 2;
              call.on('data', () => {
                left -= 1;
                if (left === 0) resolve();
              });
            }),
          );
        }
        await Promise.all(replies);
      }
    };
    const pid = serve.child.pid ?? 0;
    // The first requests load code, and grow the heap once.
    await open(0, 200);
    await sleep(500);
    const beforeMb = residentMb(pid);
    await open(200, 200 + count);
    await sleep(1_000);
    const text = await (await fetch(`http://127.0.0.1:${metrics}/metrics`)).text();
    const [, queued = '0'] = /^fairlane_pool_queued\{pool="main"\} (\d+)/m.exec(text) ?? [];
    if (Number(queued) < count) throw new Error(`${queued} requests are queued, not ${count}`);
    return { mb: residentMb(pid) - beforeMb, beforeMb };
  } finally {
    for (const client of clients) client.close();
    serve.child.kill('SIGKILL');
    await serve.exited;
    engine.close();
    rmSync(directory, { recursive: true, force: true });
  }
}
