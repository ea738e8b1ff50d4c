/** `fairlane serve` as it runs in production, and ext_proc streams to it as Envoy opens them: without an Envoy. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePorts } from '../tests/support/ports.ts';
import { runCli } from '../tests/support/serve.ts';
import { connect } from './ext-proc-client.ts';

/** Envoy has a connection to the service for each of its threads. */
const CONNECTIONS = 4;
const MB = 1024 * 1024;
/** Of /proc/PID/stat. */
const TICKS_PER_SECOND = 100;

export interface ExtProcServiceOptions {
  /** The compiled program. */
  readonly program: string;
  /** Sequences that its one endpoint may run. */
  readonly slots: number;
  readonly maxQueued: number;
}

export interface ExtProcService {
  /** `ip:port` of its one endpoint. */
  readonly engine: string;
  /** Sends messages on a new stream, and gives it when so many replies have come. @param end half-closes it then. */
  exchange(messages: readonly object[], replies: number, end: boolean): Promise<void>;
  residentMb(): number;
  /** CPU time since its start, in ms. */
  cpuMs(): number;
  /** Requests that are queued. */
  queued(): Promise<number>;
  close(): Promise<void>;
}

export async function startExtProcService({
  program,
  slots,
  maxQueued,
}: ExtProcServiceOptions): Promise<ExtProcService> {
  const upstream = createServer((_, response) => response.end('{}'));
  await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve));
  const engine = `127.0.0.1:${(upstream.address() as AddressInfo).port}`;
  const directory = mkdtempSync(join(tmpdir(), 'fairlane-bench-'));
  const [service = 0, metrics = 0] = await freePorts(2);
  const path = join(directory, 'fairlane.yaml');
  // Keys that every version knows: this is also run on older ones.
  const config = {
    envoy: { directory },
    service: { address: `127.0.0.1:${service}`, metrics: `127.0.0.1:${metrics}` },
    queue: { maxWait: '10m', maxQueued },
    pools: { main: { endpoints: [`http://${engine}`], windowPerEndpoint: slots, prefillTokens: 1_000_000 } },
    models: { m: { pool: 'main' }, small: { pool: 'main' } },
    tenants: { a: { keys: ['k'.repeat(32)], limits: { maxQueued: 100_000 } } },
    log: { level: 'error' },
  };
  writeFileSync(path, JSON.stringify(config));
  const serve = runCli(['serve', '--config', path], process.env, [program]);
  await serve.until('serving ext_proc');
  const pid = serve.child.pid ?? 0;
  const clients = Array.from({ length: CONNECTIONS }, () => connect(service));
  let opened = 0;

  return {
    engine,
    exchange(messages, replies, end) {
      const call = clients[opened % CONNECTIONS]?.Process();
      opened += 1;
      if (call === undefined) throw new Error('there is no connection');
      return new Promise((resolve) => {
        let left = replies;
        call.on('error', () => undefined);
        call.on('data', () => {
          left -= 1;
          if (left > 0) return;
          if (end) call.end();
          else resolve();
        });
        call.on('end', () => resolve());
        for (const message of messages) call.write(message);
      });
    },
    residentMb() {
      const [, kilobytes = '0'] = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
      return (Number(kilobytes) * 1_024) / MB;
    },
    cpuMs() {
      const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
        .replace(/^.*\) /, '')
        .split(' ');
      return ((Number(fields[11]) + Number(fields[12])) * 1_000) / TICKS_PER_SECOND;
    },
    async queued() {
      const text = await (await fetch(`http://127.0.0.1:${metrics}/metrics`)).text();
      return Number(/^fairlane_pool_queued\{pool="main"\} (\d+)/m.exec(text)?.[1] ?? 0);
    },
    async close() {
      for (const client of clients) client.close();
      serve.child.kill('SIGKILL');
      await serve.exited;
      upstream.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
