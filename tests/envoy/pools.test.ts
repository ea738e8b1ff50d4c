/** Several pools, names instead of addresses, and pools that come and go while requests run. */

import { readFileSync } from 'node:fs';
import { rename, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { loadConfig } from '../../src/config/fs-config.ts';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { chatBody, eventsOf, openStream, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { type Draft, KEYS, type Stack, startStack } from '../support/stack.ts';

const MODELS = ['large', 'small', 'new'];
let engines: Simulator[];
let stack: Stack;
const ask = (model: string) => send(stack.url, { key: KEYS.quiet, body: chatBody({ model, max_tokens: 2 }) });
const started = () => engines.map((engine) => engine.stats().started);
/** The same place by a name. */
const named = (engine: Simulator | undefined): string => `http://localhost:${engine?.port}`;

async function change(edit: (config: Draft) => void): Promise<void> {
  const draft = parse(readFileSync(stack.configPath, 'utf8')) as Draft;
  edit(draft);
  await writeFile(`${stack.configPath}.new`, stringify(draft));
  await rename(`${stack.configPath}.new`, stack.configPath);
  const loaded = loadConfig(stack.configPath, process.env);
  if (loaded.kind === 'bad') throw new Error(loaded.problems.join('\n'));
  await stack.service().reload(loaded.config, loaded.warnings);
}

beforeAll(async () => {
  engines = await Promise.all(
    MODELS.map(() => startSimulator({ profile: parseProfile('test', { stepBaseMs: 10 }), models: MODELS })),
  );
  const health = { interval: '200ms', timeout: '5s' };
  stack = await startStack({
    engines: [],
    change(config) {
      config['pools'] = {
        one: { endpoints: [engines[0]?.url], health },
        two: { endpoints: [named(engines[1])], health },
      };
      config['models'] = { large: { pool: 'one' }, small: { pool: 'two' } };
    },
  });
});
afterAll(async () => {
  await stack.close();
  await Promise.all(engines.map((engine) => engine.close()));
});

describe('several pools', () => {
  it('serve each the models that are theirs, also by a host name', async () => {
    expect((await ask('large')).status).toBe(200);
    expect(started()).toEqual([1, 0, 0]);
    expect((await ask('small')).status).toBe(200);
    expect(started()).toEqual([1, 1, 0]);
    expect((await ask('new')).status).toBe(404);
  });

  it('can be added and taken away while a stream runs on another', async () => {
    const stream = await openStream(stack.url, {
      key: KEYS.quiet,
      body: chatBody({ model: 'large', stream: true, max_tokens: 150, ignore_eos: true }),
    });
    await change((config) => {
      config['pools']['three'] = {
        endpoints: [engines[2]?.url],
        health: { interval: '200ms', timeout: '5s' },
      };
      config['models']['new'] = { pool: 'three' };
    });
    await eventually(
      () => ask('new'),
      ({ status }) => status === 200,
    );
    expect(started()[2]).toBeGreaterThan(0);
    await change((config) => {
      delete config['pools']['two'];
      delete config['models']['small'];
    });
    expect((await ask('small')).status).toBe(404);
    expect((await ask('new')).status).toBe(200);
    expect(eventsOf(await stream.done).at(-1)).toBe('[DONE]');
  });

  it('move to another endpoint without losing a request', async () => {
    const before = started();
    const stream = await openStream(stack.url, {
      key: KEYS.quiet,
      body: chatBody({ model: 'large', stream: true, max_tokens: 100, ignore_eos: true }),
    });
    await change((config) => {
      config['pools']['one']['endpoints'] = [named(engines[1])];
    });
    // Until Envoy has read of it, the old one serves.
    const atNew = await eventually(
      async () => {
        const { status } = await ask('large');
        return { status, served: (started()[1] ?? 0) - (before[1] ?? 0) };
      },
      ({ status, served }) => status === 200 && served > 0,
    );
    expect(atNew.served).toBe(1);
    expect(eventsOf(await stream.done).at(-1)).toBe('[DONE]');
    await eventually(
      () => stack.metric('fairlane_pool_in_flight'),
      (count) => count === 0,
    );
  });
});

describe('a pool that is routed by prefix', () => {
  it('sends a conversation to the engine that has its beginning, and others elsewhere', async () => {
    const pair = await Promise.all(
      [0, 1].map(() => startSimulator({ profile: parseProfile('test', {}), models: ['demo'] })),
    );
    const routed = await startStack({
      engines: pair.map(({ url }) => url),
      change(config) {
        config['pools']['main']['routing'] = 'prefix-cache';
      },
    });
    const counts = (): readonly number[] => pair.map((engine) => engine.stats().started);
    const turn = (content: string): Promise<unknown> =>
      send(routed.url, {
        key: KEYS.quiet,
        body: chatBody({ messages: [{ role: 'user', content }], max_tokens: 1 }),
      });
    const story = 'a long story that goes on and on '.repeat(100);
    const before = counts();
    for (let i = 0; i < 6; i += 1) await turn(`${story}, turn ${i}`);
    const more = counts().map((count, i) => count - (before[i] ?? 0));
    expect([...more].sort((a, b) => a - b)).toEqual([0, 6]);
    for (let i = 0; i < 6; i += 1) await turn(`${i} another story `.repeat(200));
    expect(Math.min(...counts())).toBeGreaterThan(0);
    await routed.close();
    await Promise.all(pair.map((engine) => engine.close()));
  });
});
