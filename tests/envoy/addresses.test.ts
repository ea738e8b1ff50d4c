/** Names that stand for several addresses, which come and go: through a DNS server of the test's and a real Envoy. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { chatBody, eventsOf, openStream, send } from '../support/client.ts';
import { type DnsServer, startDnsServer } from '../support/dns-server.ts';
import { eventually } from '../support/eventually.ts';
import { freePorts } from '../support/ports.ts';
import { KEYS, type Stack, startStack } from '../support/stack.ts';

const NAME = 'engines.test';
const addressOf = (n: number): string => `127.0.0.${n}`;
let port: number;
let dns: DnsServer;
let stack: Stack;
const engines = new Map<number, Simulator>();

async function start(n: number): Promise<void> {
  const simulator = await startSimulator({
    profile: parseProfile('test', { stepBaseMs: 10 }),
    models: ['demo'],
    host: addressOf(n),
    port,
  });
  engines.set(n, simulator);
}
async function kill(n: number): Promise<void> {
  await engines.get(n)?.close();
  engines.delete(n);
}
const listed = (...numbers: number[]): void => dns.set(NAME, numbers.map(addressOf));

const ask = () => send(stack.url, { key: KEYS.quiet, body: chatBody({ model: 'demo', max_tokens: 2 }) });
/** As the health page has them. */
async function shown(): Promise<
  Readonly<Record<string, { readonly state: string; readonly address?: string }>>
> {
  const report = (await (await fetch(`${stack.metricsUrl}/health`)).json()) as {
    readonly pools: {
      readonly main: { readonly windows: Record<string, { state: string; address?: string }> };
    };
  };
  return report.pools.main.windows;
}
const healthy = async (): Promise<string> =>
  Object.values(await shown())
    .filter(({ state }) => state.startsWith('healthy'))
    .map(({ address = '' }) => address)
    .sort()
    .join();
const at = (...numbers: number[]): string => numbers.map((n) => `${addressOf(n)}:${port}`).join();
const until = (...numbers: number[]) => eventually(healthy, (value) => value === at(...numbers), 10_000);

/** Requests, eight at a time, until it is ended. @returns the statuses that were not 200. */
function load(): { end(): Promise<readonly number[]>; readonly count: () => number } {
  const bad: number[] = [];
  let count = 0;
  let isOver = false;
  const one = async (): Promise<void> => {
    while (!isOver) {
      const { status } = await ask();
      count += 1;
      if (status !== 200) bad.push(status);
    }
  };
  const all = Promise.all(Array.from({ length: 8 }, one));
  return {
    count: () => count,
    async end() {
      isOver = true;
      await all;
      return bad;
    },
  };
}

beforeAll(async () => {
  [port = 0] = await freePorts(1);
  dns = await startDnsServer();
  listed(2, 3);
  await Promise.all([start(2), start(3)]);
  stack = await startStack({
    engines: [`http://${NAME}:${port}`],
    change(config) {
      config['service'].dns = { servers: [dns.address], refresh: '500ms' };
    },
  });
  await until(2, 3);
});
afterAll(async () => {
  await stack.close();
  await Promise.all([...engines.keys()].map(kill));
  await dns.close();
});

describe('a name with two addresses', () => {
  it('has both of them as endpoints, with limits, probes and metrics of their own', async () => {
    expect(Object.keys(await shown())).toEqual([2, 3].map((n) => `http://${NAME}:${port}#${addressOf(n)}`));
    for (let i = 0; i < 6; i += 1) expect((await ask()).status).toBe(200);
    for (const n of [2, 3]) {
      expect(engines.get(n)?.stats().started).toBeGreaterThan(0);
      const address = `${addressOf(n)}:${port}`;
      const labels = { pool: 'main', endpoint: `http://${NAME}:${port}#${addressOf(n)}`, address };
      expect(await stack.metric('fairlane_endpoint_window', labels)).toBe(8);
      expect(await stack.metric('fairlane_endpoint_healthy', labels)).toBe(1);
    }
  });

  it('loses no request when one dies beside the other, and knows which', async () => {
    const running = load();
    await eventually(running.count, (count) => count > 20);
    await kill(2);
    await until(3);
    const { length } = stack.records();
    for (let i = 0; i < 10; i += 1) expect((await ask()).status).toBe(200);
    // What it was doing when it was killed broke, and went to the other one.
    expect(await running.end()).toEqual([]);
    expect(stack.records().length).toBeGreaterThan(length);
    expect(await stack.metric('fairlane_endpoint_healthy', { address: `${addressOf(2)}:${port}` })).toBe(0);
    await start(2);
    await until(2, 3);
  });
});

describe('addresses that come and go', () => {
  it('cost no request under load, also when the last one is replaced', async () => {
    await start(4);
    await start(5);
    const running = load();
    for (const numbers of [[3, 4], [5], [5, 4, 3, 2], [2]] as const) {
      listed(...numbers);
      await until(...[...numbers].sort((a, b) => a - b));
      const { count } = running;
      const before = count();
      await eventually(count, (now) => now > before + 30, 20_000);
    }
    expect(running.count()).toBeGreaterThan(100);
    expect(await running.end()).toEqual([]);
  }, 60_000);

  it('end what they have when they go', async () => {
    listed(2);
    await until(2);
    const stream = await openStream(stack.url, {
      key: KEYS.quiet,
      body: chatBody({ model: 'demo', stream: true, max_tokens: 300, ignore_eos: true }),
    });
    listed(4);
    const name = `http://${NAME}:${port}`;
    await eventually(shown, (endpoints) => endpoints[`${name}#${addressOf(2)}`] !== undefined, 10_000);
    const before = engines.get(2)?.stats().started ?? 0;
    await eventually(
      async () => (await ask()).status === 200 && engines.get(4)?.stats().started,
      (started) => Number(started) > 0,
    );
    await until(2, 4).catch(() => undefined);
    for (let i = 0; i < 5; i += 1) await ask();
    expect((engines.get(2)?.stats().started ?? 0) - before).toBeLessThanOrEqual(1);
    const events = eventsOf(await stream.done);
    expect(events.at(-1)).toBe('[DONE]');
    expect(events.length).toBeGreaterThan(300);
    await until(4);
    expect(Object.keys(await shown())).toEqual([name]);
  }, 60_000);

  it('stay when the name has none any more, and when nobody answers', async () => {
    dns.set(NAME, []);
    const asked = dns.asked();
    await eventually(dns.asked, (count) => count > asked + 4, 10_000);
    expect((await ask()).status).toBe(200);
    dns.set(NAME, 'broken');
    await eventually(dns.asked, (count) => count > asked + 12, 20_000);
    expect((await ask()).status).toBe(200);
    expect(stack.logText()).toContain(`endpoint host ${NAME}: `);
    expect(await healthy()).toBe(at(4));
  }, 60_000);
});
