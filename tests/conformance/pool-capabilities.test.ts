/** What the engines of a pool can do: asked over real HTTP, of engines that come and go meanwhile. */
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { EndpointConfig } from '../../src/config/config.ts';
import { createCatalog } from '../../src/routing/model-catalog.ts';
import { PoolCapabilities } from '../../src/service/pool-capabilities.ts';
import type { ServiceEvent } from '../../src/telemetry/telemetry.ts';
import { eventually } from '../support/eventually.ts';
import { configOf, minimal } from '../unit/config/parse.ts';

const closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.splice(0)) close();
});

/** An engine whose answers the test gives. */
async function world() {
  const asked: ServerResponse[] = [];
  const server = createServer((_request, response) => void asked.push(response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closing.push(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const url = `http://127.0.0.1:${port}`;
  const config = configOf({
    ...minimal(),
    pools: { main: { endpoints: [url], engineHelp: { priority: 'off', cacheSalt: 'auto' } } },
    models: { demo: { pool: 'main' } },
  });
  const pool = config.pools.get('main');
  const [endpoint] = pool?.endpoints ?? [];
  if (pool === undefined || endpoint === undefined) throw new Error('no pool');
  const events: ServiceEvent[] = [];
  const capabilities = new PoolCapabilities({
    catalog: createCatalog(config),
    tell: (event) => events.push(event),
  });
  const stopping = new AbortController();
  return {
    capabilities,
    endpoint: endpoint satisfies EndpointConfig,
    events,
    stop: () => stopping.abort(),
    ask: () => capabilities.ask(pool, endpoint, 'vllm', stopping.signal),
    /** The next question that has not been answered. */
    question: () =>
      eventually(
        () => asked.shift(),
        (one) => one !== undefined,
      ),
    waiting: () => asked.length,
  };
}

describe('what an engine can do', () => {
  it('is asked once', async () => {
    const { capabilities, ask, question, waiting, events } = await world();
    const asking = ask();
    await ask();
    (await question())?.writeHead(200).end('{}');
    await asking;
    await ask();
    expect(capabilities.common.cacheSalt).toBe(true);
    expect(events).toEqual([{ kind: 'engine-help', pool: 'main', priority: false, cacheSalt: true }]);
    expect(waiting()).toBe(0);
  });

  it('is not believed of one that went away meanwhile', async () => {
    const { capabilities, endpoint, ask, question } = await world();
    const before = ask();
    const old = await question();
    capabilities.gone(endpoint.url);
    const after = ask();
    (await question())?.writeHead(400).end('{}');
    await after;
    old?.writeHead(200).end('{}');
    await before;
    expect(capabilities.common.cacheSalt).toBe(false);
  });

  it('is not waited for by a pool that is stopped', async () => {
    const { capabilities, ask, question, stop, events } = await world();
    const asking = ask();
    await question();
    stop();
    await asking;
    expect(capabilities.common.cacheSalt).toBe(false);
    expect(events).toEqual([]);
  });
});
