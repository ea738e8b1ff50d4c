/** Adapters while the configuration changes: requests that wait for one, and the first ones after it. */
import { afterEach, describe, expect, it } from 'vitest';
import type { Config, PoolConfig } from '../../src/config/config.ts';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { chatBody, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { KEYS, type Stack, startStack } from '../support/stack.ts';

let engine: Simulator;
let stack: Stack;

async function start(loadMs: number): Promise<void> {
  engine = await startSimulator({
    profile: parseProfile('test', {}),
    models: ['demo', 'embedder'],
    faults: true,
    port: 0,
    adapters: { max: 2, loadMs },
  });
  stack = await startStack({
    engines: [engine.url],
    change(config) {
      config['pools']['main']['adaptersPerEndpoint'] = 2;
      config['adapters'] = {
        a: { base: 'demo', path: '/adapters/a' },
        b: { base: 'demo', path: '/adapters/b' },
      };
    },
  });
}
afterEach(async () => {
  await stack.close();
  await engine.close();
});

const ask = (model: string) => send(stack.url, { key: KEYS.quiet, body: chatBody({ model }) });
const isLoading = (adapter: string) =>
  eventually(
    async () => (await fetch(`${stack.metricsUrl}/health`)).text(),
    (health) => health.includes(`"loading":["${adapter}"]`),
    5_000,
  );
const changed = (change: (pool: PoolConfig) => PoolConfig): Config => ({
  ...stack.config,
  pools: new Map([...stack.config.pools].map(([name, pool]) => [name, change(pool)])),
});

describe('a new configuration that probes the endpoints anew', () => {
  const probedAnew = (pool: PoolConfig): PoolConfig => ({
    ...pool,
    health: { ...pool.health, unhealthyAfter: pool.health.unhealthyAfter + 1 },
  });

  it('refuses nobody who waits for an adapter that is being loaded', async () => {
    await start(1_500);
    const waiting = ask('a');
    await isLoading('a');
    await stack.service().reload(changed(probedAnew), []);
    expect((await waiting).status).toBe(200);
  });

  it('refuses nobody whose adapter is to be loaded at that moment', async () => {
    await start(50);
    const reloading = stack.service().reload(changed(probedAnew), []);
    const answers = await Promise.all([
      ask('a'),
      reloading.then(() => ask('b')),
      reloading.then(() => ask('a')),
    ]);
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200]);
  });
});

describe('a new configuration without an adapter', () => {
  it('refuses at once who waits for it', async () => {
    await start(60_000);
    const waiting = ask('a');
    await isLoading('a');
    const sinceMs = performance.now();
    await stack.service().reload({ ...stack.config, adapters: new Map() }, []);
    expect((await waiting).status).toBe(503);
    expect(performance.now() - sinceMs).toBeLessThan(3_000);
  });
});
