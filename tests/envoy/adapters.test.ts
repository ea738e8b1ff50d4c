/** LoRA adapters through the real Envoy: who may use which, loading on demand, and who waits for it. */
import { afterEach, describe, expect, it } from 'vitest';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import type { AdapterSettings } from '../../src/simulator/lora-adapters.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { chatBody, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { freePorts } from '../support/ports.ts';
import { type Draft, KEYS, type Stack, startStack } from '../support/stack.ts';

const MODELS = ['demo', 'embedder'];
let engines: Simulator[] = [];
let stack: Stack;

const startEngine = (adapters: AdapterSettings | undefined, port: number): Promise<Simulator> =>
  startSimulator({
    profile: parseProfile('test', {}),
    models: MODELS,
    faults: true,
    port,
    ...(adapters !== undefined && { adapters }),
  });

async function start(
  { count = 1, adapters, places = 2 }: { count?: number; adapters?: AdapterSettings; places?: number },
  change: (config: Draft) => void = () => undefined,
): Promise<void> {
  // Some come back on theirs.
  const ports = await freePorts(count);
  engines = await Promise.all(ports.map((port) => startEngine(adapters, port)));
  stack = await startStack({
    engines: engines.map(({ url }) => url),
    change(config) {
      config['pools']['main']['adaptersPerEndpoint'] = places;
      const adapter = (name: string, more: object = {}) => ({
        base: 'demo',
        path: `/adapters/${name}`,
        ...more,
      });
      config['adapters'] = {
        legal: adapter('legal', { tenants: ['quiet'] }),
        medical: adapter('medical', { tenants: ['noisy'] }),
        a: adapter('a'),
        b: adapter('b'),
        c: adapter('c'),
        lost: { base: 'demo', path: '/adapters/missing' },
        given: { base: 'demo' },
      };
      config['aliases'] = { lawyer: 'legal' };
      change(config);
    },
  });
}
afterEach(async () => {
  await stack.close();
  await Promise.all(engines.map((engine) => engine.close()));
});

const ask = (model: string, key: string = KEYS.quiet, fields: object = {}) =>
  send(stack.url, { key, body: chatBody({ model, ...fields }) });
const engine = (at = 0): Simulator => engines[at] as Simulator;
const modelsOf = async (key: string): Promise<readonly string[]> => {
  const { json } = await send(stack.url, { key, method: 'GET', path: '/v1/models' });
  return json.data.map(({ id }: { readonly id: string }) => id);
};
const health = async (): Promise<string> => (await fetch(`${stack.metricsUrl}/health`)).text();

describe('an adapter', () => {
  it('is a model to the tenants that it is given to, and does not exist to others', async () => {
    await start({ adapters: { max: 2, loadMs: 50 } });
    const answer = await ask('legal');
    expect(answer.status).toBe(200);
    expect(answer.json.model).toBe('legal');
    expect((await ask('lawyer')).status).toBe(200);
    const unknown = await ask('nonsense', KEYS.noisy);
    for (const model of ['legal', 'lawyer']) {
      const foreign = await ask(model, KEYS.noisy);
      expect(foreign.status).toBe(404);
      expect(foreign.json).toEqual({
        error: { ...unknown.json.error, message: unknown.json.error.message.replace('nonsense', model) },
      });
    }
    expect(await modelsOf(KEYS.quiet)).toEqual(
      expect.arrayContaining(['a', 'demo', 'given', 'lawyer', 'legal']),
    );
    expect(await modelsOf(KEYS.quiet)).not.toContain('medical');
    expect(await modelsOf(KEYS.noisy)).not.toContain('legal');
    expect(await modelsOf(KEYS.noisy)).not.toContain('lawyer');
    await stack.record(({ model, tenant }) => model === 'legal' && tenant === 'quiet');
    expect(await stack.metric('fairlane_tokens_total', { model: 'legal', tenant: 'quiet' })).toBeGreaterThan(
      0,
    );
  });

  it('that engines announce is opened to nobody else', async () => {
    await start({ adapters: { max: 2, loadMs: 0, loaded: ['legal', 'medical'] } }, (config) => {
      delete config['models'];
    });
    await eventually(
      () => modelsOf(KEYS.quiet),
      (names) => names.includes('demo') && names.includes('legal'),
    );
    expect(await modelsOf(KEYS.quiet)).not.toContain('medical');
    expect((await ask('medical')).status).toBe(404);
    expect((await ask('medical', KEYS.noisy)).status).toBe(200);
  });

  it('is loaded when it is asked for, and takes the place of the one that was used least lately', async () => {
    await start({ adapters: { max: 2, loadMs: 20 } });
    for (const model of ['a', 'b', 'a']) expect((await ask(model)).status).toBe(200);
    // Whichever was loaded less than a second ago stays.
    await new Promise((resolve) => setTimeout(resolve, 1_100));
    expect((await ask('c')).status).toBe(200);
    expect([...engine().adapters().loaded].sort()).toEqual(['a', 'c']);
    expect(engine().adapters()).toMatchObject({ loads: 3, unloads: 1, most: 2 });
    expect(await health()).toContain('"adapters":{"loaded":["a","c"]}');
    expect(await stack.metric('fairlane_endpoint_adapters', { pool: 'main' })).toBe(2);
    expect(await stack.metric('fairlane_adapter_loads_total', { result: 'loaded' })).toBe(3);
    expect(await stack.metric('fairlane_adapter_unloads_total', { result: 'unloaded' })).toBe(1);
    expect(stack.logText()).toContain('"message":"adapter-loaded"');
  });

  it('of many that want few places is served in its turn', async () => {
    await start({ count: 2, adapters: { max: 2, loadMs: 30 } });
    const names = ['a', 'b', 'c', 'legal'];
    const answers = await Promise.all(
      Array.from({ length: 24 }, (_, i) => ask(names[i % names.length] as string)),
    );
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200));
    for (const one of engines) expect(one.adapters().most).toBeLessThanOrEqual(2);
  });

  it('that takes long to load keeps nobody else waiting, of its tenant or another', async () => {
    await start({ adapters: { max: 2, loadMs: 4_000 } }, (config) => {
      config['pools']['main']['concurrencyLimit'] = 2;
      config['queue'] = { maxWait: '30s' };
    });
    const began = performance.now();
    const slow = [ask('a'), ask('a'), ask('a', KEYS.noisy)];
    await new Promise((resolve) => setTimeout(resolve, 100));
    for (const key of [KEYS.quiet, KEYS.noisy, KEYS.quiet, KEYS.noisy]) {
      expect((await ask('demo', key)).status).toBe(200);
    }
    const burst = await Promise.all(
      Array.from({ length: 12 }, (_, i) => ask('demo', i % 2 ? KEYS.quiet : KEYS.noisy)),
    );
    expect(burst.every(({ status }) => status === 200)).toBe(true);
    expect(engine().adapters().loaded).toEqual([]);
    expect((await Promise.all(slow)).map(({ status }) => status)).toEqual([200, 200, 200]);
    expect(performance.now() - began).toBeGreaterThan(3_900);
    expect(engine().adapters().loads).toBe(1);
  });

  it('that cannot be loaded is refused with the time to ask again, and others are served', async () => {
    await start({ adapters: { max: 2, loadMs: 20 } });
    const answer = await ask('lost');
    expect(answer.status).toBe(503);
    expect(answer.json.error.code).toBe('adapter_unavailable');
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
    expect((await ask('a')).status).toBe(200);
    expect(stack.logText()).toContain('No adapter found');
    expect(await stack.metric('fairlane_adapter_loads_total', { result: 'failed' })).toBe(1);
  });

  it('without a path is used where an engine has it, and nowhere else', async () => {
    await start({ count: 2, adapters: { max: 2, loadMs: 20 } });
    expect((await ask('given')).status).toBe(503);
    await Promise.all(engines.map((one) => one.close()));
    engines = await Promise.all(
      engines.map(({ port }, i) =>
        startEngine({ max: 2, loadMs: 20, loaded: i === 0 ? ['given'] : [] }, port),
      ),
    );
    await eventually(health, (text) => text.includes('"loaded":["given"]'), 10_000);
    const answers = await Promise.all(Array.from({ length: 10 }, () => ask('given')));
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200));
    expect(engine(1).adapters().loads).toBe(0);
    for (const name of ['a', 'b', 'c']) expect((await ask(name)).status).toBe(200);
    expect(engine(0).adapters().loaded).toContain('given');
  });
});

describe('an engine that dies', () => {
  it('leaves requests to the others that have the adapter', async () => {
    await start({ count: 2, adapters: { max: 2, loadMs: 20, loaded: ['given'] } });
    await eventually(health, (text) => text.split('"loaded":["given"]').length === 3);
    await engine(0).close();
    const answers = await Promise.all(Array.from({ length: 6 }, () => ask('given')));
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200));
  });
  it('alone with an adapter: it is loaded on another', async () => {
    await start({ count: 2, adapters: { max: 2, loadMs: 20 } });
    expect((await ask('a')).status).toBe(200);
    const dead = engines.find((one) => one.adapters().loads === 1);
    await dead?.close();
    const statuses: number[] = [];
    await eventually(
      async () => {
        const { status } = await ask('a');
        statuses.push(status);
        return status;
      },
      (status) => status === 200,
    );
    // What found no other, or one without it, may be asked again.
    expect(statuses.filter((status) => status !== 503 && status !== 200)).toEqual([]);
  });
});

describe('an engine', () => {
  it('that was not started for adapters is told what it needs, once', async () => {
    await start({});
    expect((await ask('a')).status).toBe(503);
    expect((await ask('b')).status).toBe(503);
    const lines = stack
      .logText()
      .split('\n')
      .filter((line) => line.includes('VLLM_ALLOW_RUNTIME_LORA_UPDATING'));
    expect(lines).toHaveLength(1);
    expect((await ask('demo')).status).toBe(200);
  });

  it('that restarts has lost its adapters: they are loaded again', async () => {
    await start({ adapters: { max: 2, loadMs: 20 } });
    expect((await ask('a')).status).toBe(200);
    const { port } = engine();
    await engine().close();
    engines = [await startEngine({ max: 2, loadMs: 20 }, port)];
    const first = await ask('a');
    // Whether a probe has seen it or not: at worst the engine does not know the model.
    if (first.status !== 200) {
      expect([first.status, first.json.error.code]).toEqual([503, 'adapter_unavailable']);
      expect(first.headers['retry-after']).toBe('1');
    }
    await eventually(
      async () => (await ask('a')).status,
      (status) => status === 200,
      10_000,
    );
    expect(engine().adapters().loads).toBe(1);
  });

  it('that loses an adapter is asked what it has, and the client may ask again', async () => {
    await start({ adapters: { max: 2, loadMs: 20 } });
    expect((await ask('a')).status).toBe(200);
    const body = JSON.stringify({ lora_name: 'a' });
    // Every few seconds it is asked anyway: then the adapter is loaded again, and nobody sees that it was lost.
    const lost = await eventually(
      async () => {
        await send(engine().url, { path: '/v1/unload_lora_adapter', body });
        return ask('a');
      },
      ({ status }) => status !== 200,
    );
    const { loads } = engine().adapters();
    expect([lost.status, lost.json.error.code, lost.headers['retry-after']]).toEqual([
      503,
      'adapter_unavailable',
      '1',
    ]);
    expect(await stack.record(({ status }) => status === 503)).toMatchObject({
      model: 'a',
      outcome: 'failed',
      reason: 'engine',
    });
    await eventually(
      async () => (await ask('a', KEYS.quiet, { stream: true })).status,
      (status) => status === 200,
      2_000,
    );
    expect(engine().adapters().loads).toBe(loads + 1);
  });

  it('with more than it may have is told to unload what is idle when the configuration says so', async () => {
    await start({ adapters: { max: 3, loadMs: 20 }, places: 3 });
    for (const name of ['a', 'b', 'c']) expect((await ask(name)).status).toBe(200);
    const pool = stack.config.pools.get('main');
    if (pool === undefined) throw new Error('no pool');
    const pools = new Map([['main', { ...pool, adaptersPerEndpoint: 1 }]]);
    await stack.service().reload({ ...stack.config, pools }, []);
    await eventually(
      () => engine().adapters().loaded.length,
      (count) => count === 1,
      10_000,
    );
    expect((await ask('c')).status).toBe(200);
  });
});

describe('a new configuration', () => {
  it('adds adapters, takes them away and gives them to others, without a restart', async () => {
    await start({ adapters: { max: 3, loadMs: 20 }, places: 3 });
    const { adapters } = stack.config;
    const fresh = { name: 'fresh', base: 'demo', path: '/adapters/fresh', tenants: new Set(['noisy']) };
    const next = new Map([...adapters].filter(([name]) => name !== 'a'));
    const legal = { name: 'legal', base: 'demo', path: '/adapters/legal', tenants: new Set(['noisy']) };
    expect((await ask('a')).status).toBe(200);
    expect((await ask('legal')).status).toBe(200);
    next.set('fresh', fresh).set('legal', legal);
    await stack.service().reload({ ...stack.config, adapters: next }, []);
    expect((await ask('a')).status).toBe(404);
    expect((await ask('legal')).status).toBe(404);
    expect((await ask('legal', KEYS.noisy)).status).toBe(200);
    expect((await ask('fresh')).status).toBe(404);
    expect((await ask('fresh', KEYS.noisy)).status).toBe(200);
    // What nobody names any more stays where it is, and is nobody's to unload.
    expect(engine().adapters().loaded).toContain('a');
    await stack.service().reload({ ...stack.config, adapters: new Map() }, []);
    expect((await ask('fresh', KEYS.noisy)).status).toBe(404);
    expect((await ask('demo')).status).toBe(200);
    expect(await health()).not.toContain('"adapters"');
  });
});

describe('other ways of naming an adapter', () => {
  const FIELDS: readonly (readonly [string, unknown])[] = [
    ['lora', [{ id: 0, scale: 1 }]],
    ['lora_path', 'medical'],
    ['lora_request', { lora_name: 'medical' }],
    ['adapter_id', 'medical'],
    ['extra_body', { lora_path: 'medical' }],
  ];
  const HEADERS = ['x-amzn-sagemaker-adapter-identifier'];
  const last = () => engine().requests().at(-1);

  it('are removed on the way', async () => {
    await start({ adapters: { max: 2, loadMs: 0, loaded: ['medical'] } });
    for (const [field, value] of FIELDS) {
      expect((await ask('demo', KEYS.quiet, { [field]: value })).status).toBe(200);
      expect(JSON.stringify(last()?.body)).not.toContain('medical');
      expect(last()?.body).not.toHaveProperty(field);
    }
    for (const header of HEADERS) {
      const headers = { [header]: 'medical' };
      const { status } = await send(stack.url, { key: KEYS.quiet, headers, body: chatBody() });
      expect(status).toBe(200);
      expect(last()?.headers).not.toHaveProperty(header);
    }
  });
  it('are refused where the configuration says so', async () => {
    await start({ adapters: { max: 2, loadMs: 0 } }, (config) => {
      config['fields'] = { onForbidden: 'refuse' };
    });
    for (const [field, value] of FIELDS) {
      const { status, json } = await ask('demo', KEYS.quiet, { [field]: value });
      expect([status, json.error.code]).toEqual([400, 'forbidden_field']);
    }
    expect(engine().stats().started).toBe(0);
  });
  it.each(['demo:medical', 'demo:legal', 'medical ', ' legal', 'LEGAL', '/adapters/legal'])(
    'by the model %j is an unknown model',
    async (model) => {
      await start({ adapters: { max: 2, loadMs: 0, loaded: ['medical', 'legal'] } });
      const { status, json } = await ask(model);
      expect([status, json.error.code]).toEqual([404, 'model_not_found']);
      expect(engine().stats().started).toBe(0);
    },
  );
  it('by keys that are written otherwise, or twice, get no further', async () => {
    await start({ adapters: { max: 2, loadMs: 0, loaded: ['medical'] } });
    const messages = '"messages":[{"role":"user","content":"hello"}],"max_tokens":2';
    const raw = (body: string) => send(stack.url, { key: KEYS.quiet, body });
    const escaped = await raw(`{"model":"demo","lora\\u005fpath":"medical",${messages}}`);
    expect(escaped.status).toBe(200);
    expect(last()?.body).not.toHaveProperty('lora_path');
    const before = engine().stats().started;
    for (const model of ['"model":"demo","model":"medical"', '"model":"demo","mod\\u0065l":"medical"']) {
      expect((await raw(`{${model},${messages}}`)).status).toBe(400);
    }
    expect((await raw(`{"model":["medical"],${messages}}`)).status).toBe(400);
    expect((await raw(`{"model":"medic\\u0061l",${messages}}`)).status).toBe(404);
    expect(engine().stats().started).toBe(before);
    // A query changes nothing.
    const { status } = await send(stack.url, {
      key: KEYS.quiet,
      path: '/v1/chat/completions?model=medical&lora_path=medical',
      body: chatBody(),
    });
    expect(status).toBe(200);
    expect(last()?.body).toMatchObject({ model: 'demo' });
  });
  it('by the engine’s own pages are not served', async () => {
    await start({ adapters: { max: 2, loadMs: 0 } });
    for (const path of [
      '/v1/load_lora_adapter',
      '/v1/unload_lora_adapter',
      '/lora-adapters',
      '/load_lora_adapter',
      '/v1/load%5Flora_adapter',
      '/v1/models/../load_lora_adapter',
      '//v1/load_lora_adapter',
    ]) {
      const body = JSON.stringify({ lora_name: 'legal', lora_path: '/x' });
      expect((await send(stack.url, { key: KEYS.quiet, path, body })).status).toBe(404);
    }
    expect(engine().adapters().loads).toBe(0);
  });
});
