/** What engines say of their size on a page of their own, over real HTTP: it bounds windows, and garbage changes nothing. */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { parseConfig } from '../../src/config/load.ts';
import { type Service, startService } from '../../src/service/service.ts';
import { createLog } from '../../src/telemetry/pino-log.ts';
import { readFixture } from '../support/engine-answers.ts';
import { eventually } from '../support/eventually.ts';
import { freePorts } from '../support/ports.ts';
import { configYaml, type Draft } from '../support/stack.ts';

type Page = readonly [status: number, body: string] | 'hang';

const closing: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

/** The pages of a recorded engine, some of them replaced. */
async function engine(kind: string, replaced: Readonly<Record<string, Page>> = {}): Promise<string> {
  const table: Record<string, Page> = { '/health': [200, '{"status":"ok"}'] };
  for (const [, { question, status, body }] of readFixture(kind).answers) {
    if (question.method === 'GET') table[question.path] ??= [status, body];
  }
  Object.assign(table, replaced);
  const server: Server = createServer((request, response) => {
    const page = table[request.url ?? ''] ?? [404, '{}'];
    if (page !== 'hang') response.writeHead(page[0]).end(page[1]);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closing.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** What the service makes of it: the endpoint's window and the tokens of its KV cache. */
async function sizeOf(url: string, pool: Draft = {}) {
  const directory = mkdtempSync(join(tmpdir(), 'fairlane-capacity-'));
  closing.push(() => rmSync(directory, { recursive: true, force: true }));
  const [api = 0, admin = 0, metrics = 0] = await freePorts(3);
  const text = configYaml([url], { api, admin, metrics }, directory, (config) => {
    config['pools']['main'] = {
      ...config['pools']['main'],
      concurrencyLimit: 'auto',
      gauges: { interval: '100ms' },
      ...pool,
    };
  });
  const parsed = parseConfig({
    text,
    file: join(directory, 'f.yaml'),
    defaults: { directory },
    env: {},
    readFile: () => '',
  });
  if (parsed.kind === 'bad') throw new Error(parsed.problems.join('\n'));
  const service: Service = await startService(parsed.config, createLog('error', { write: () => undefined }));
  closing.push(() => service.drain());
  return async () => {
    const response = await fetch(`http://127.0.0.1:${metrics}/metrics`);
    const lines = (await response.text()).split('\n');
    const value = (name: string): number | undefined => {
      const line = lines.find((one) => one.startsWith(`${name}{`));
      return line === undefined ? undefined : Number(line.slice(line.lastIndexOf(' ') + 1));
    };
    return {
      window: value('fairlane_endpoint_window'),
      kvTokens: value('fairlane_endpoint_kv_capacity_tokens'),
    };
  };
}

/** Both are known sooner or later, and need not be at once. @returns what they are in the end. */
const becomes = (size: Awaited<ReturnType<typeof sizeOf>>, wanted: Awaited<ReturnType<typeof size>>) =>
  eventually(size, (seen) => seen.window === wanted.window && seen.kvTokens === wanted.kvTokens);

const KV_CACHE = { memory: '1GiB', layers: 16, kvHeads: 8, headDim: 128 };
const KV_TOKENS = 2 ** 30 / (2 * 16 * 8 * 128 * 2);

describe('the size of an engine', () => {
  it('is what its own page says, where its metrics do not', async () => {
    const size = await sizeOf(await engine('llamacpp'), { kvCache: KV_CACHE });
    // As recorded: two slots of 2,048 tokens.
    const wanted = { window: 2, kvTokens: 4_096 };
    expect(await becomes(size, wanted)).toEqual(wanted);
  });

  it('bounds the window that looks for its own size', async () => {
    const page = JSON.stringify({ total_slots: 3, default_generation_settings: { n_ctx: 100_000 } });
    const size = await sizeOf(await engine('llamacpp', { '/props': [200, page] }));
    const wanted = { window: 3, kvTokens: 300_000 };
    expect(await becomes(size, wanted)).toEqual(wanted);
  });

  it('is what the configuration says of its KV cache, where it says nothing itself', async () => {
    const size = await sizeOf(await engine('trtllm'), { kvCache: KV_CACHE });
    const wanted = { window: 8, kvTokens: KV_TOKENS };
    expect(await becomes(size, wanted)).toEqual(wanted);
  });

  it.each<[string, Page]>([
    ['garbage', [200, '<html>']],
    ['numbers that cannot be', [200, '{"total_slots":-4,"default_generation_settings":{"n_ctx":"many"}}']],
    ['huge numbers', [200, '{"total_slots":1e300,"default_generation_settings":{"n_ctx":1e300}}']],
    ['an error', [500, '{"total_slots":1,"default_generation_settings":{"n_ctx":1}}']],
    ['nothing', 'hang'],
    ['five megabytes', [200, `{"total_slots":1,"x":"${'x'.repeat(5_000_000)}"}`]],
  ])('is not known by a page of %s', async (_, page) => {
    const url = await engine('llamacpp', { '/props': page });
    const size = await sizeOf(url, { kvCache: KV_CACHE, health: { timeout: '300ms' } });
    await becomes(size, { window: 8, kvTokens: KV_TOKENS });
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(await size()).toEqual({ window: 8, kvTokens: KV_TOKENS });
  });
});
