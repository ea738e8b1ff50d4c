/** Every recipe of docs/engines.md, run out of the page: through a real Envoy, before an engine that is as it says. */
import { writeFileSync } from 'node:fs';
import { createServer as createTlsServer } from 'node:https';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { EngineKind } from '../../src/domain/engine-kinds.ts';
import { type SimulatorOptions, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { createAuthority } from '../support/certificates.ts';
import { chatBody, eventsOf, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { findLlamaCpp, startLlamaCpp } from '../support/live-engines.ts';
import { type FORMS, type RecipeEngineOptions, startRecipeEngine } from '../support/recipe-engine.ts';
import { configOf, flagsOf, originsOf, type Recipe, readRecipes } from '../support/recipes.ts';
import { runCli } from '../support/serve.ts';
import { KEYS, type Stack, startStack } from '../support/stack.ts';

/** What a test needs of an engine. */
interface Standin {
  readonly port: number;
  /** Of clients and of Fairlane. Undefined: it is not known what came. */
  readonly requests: (() => readonly { readonly path: string; readonly headers: object }[]) | undefined;
  close(): Promise<void>;
}

interface Expected {
  /** One for each address of the recipe. */
  readonly engines: readonly (() => Promise<Standin>)[];
  /** What `/health` says that they are; undefined: none that is known. */
  readonly kinds: readonly (EngineKind | undefined)[];
  /** Names that clients may ask for. */
  readonly models: readonly string[];
  /** What doctor says of the gauges. */
  readonly gauges: RegExp;
  /** Public authorities do not certify what runs here. */
  readonly ownAuthority?: boolean;
}

const ENGINE_KEY = 'key-of-the-engines';
const authority = createAuthority('engines');
const clients = createAuthority('clients');
const fairlane = clients.issue(['fairlane']);
const files = {
  'engines-ca.pem': authority.ca,
  'fairlane.pem': fairlane.cert,
  'fairlane-key.pem': fairlane.key,
};
const MODEL = 'qwen3';

const simulated =
  (options: Partial<SimulatorOptions> = {}) =>
  async (): Promise<Standin> => {
    const engine = await startSimulator({
      profile: parseProfile('test', {}),
      models: [MODEL],
      faults: true,
      ...options,
    });
    const { port } = engine;
    return { port, requests: () => engine.requests(), close: () => engine.close() };
  };
const inForm =
  (form: keyof typeof FORMS, options: Partial<RecipeEngineOptions> = {}) =>
  (): Promise<Standin> =>
    startRecipeEngine({ form, model: MODEL, ...options });
const hosted = (prefix: string, model: string) =>
  inForm('hosted', {
    model,
    prefix,
    key: ENGINE_KEY,
    listen: (onRequest) => createTlsServer(authority.issue(['127.0.0.1']), onRequest),
  });

const VLLM = /vllm, \d+ running, \d+ waiting, KV cache of \d+ tokens/;
const NONE = /gauges are not read, with engine: openai/;
/** Some answers were recorded while requests waited, and no recorded gauge moves with what is sent. */
const BUSY = /requests wait in the engine|they do not move with the requests/;
const BIG = 'Qwen/Qwen3-8B';
const key = ENGINE_KEY;
const tls = { ...authority.issue(['127.0.0.1']), ca: clients.ca };

const EXPECTED: Readonly<Record<string, Expected>> = {
  vLLM: { engines: [simulated()], kinds: ['vllm'], models: [MODEL], gauges: VLLM },
  'vLLM with a key': {
    engines: [simulated({ apiKey: key })],
    kinds: ['vllm'],
    models: [MODEL],
    gauges: VLLM,
  },
  'vLLM with TLS': {
    engines: [simulated({ apiKey: key, tls })],
    kinds: ['vllm'],
    models: [MODEL],
    gauges: VLLM,
  },
  'vLLM under a path': {
    engines: [simulated({ prefix: '/llm' })],
    kinds: ['vllm'],
    models: [MODEL],
    gauges: VLLM,
  },
  'vLLM with LoRA adapters': {
    engines: [simulated({ adapters: { max: 2, loadMs: 10 } })],
    kinds: ['vllm'],
    models: [MODEL, 'support-bot', 'sql'],
    gauges: VLLM,
  },
  'Several vLLM': {
    engines: [simulated(), simulated(), simulated()],
    kinds: ['vllm', 'vllm', 'vllm'],
    models: [MODEL],
    gauges: VLLM,
  },
  'vLLM with data parallelism': {
    engines: [inForm('vllm of two engines')],
    kinds: ['vllm'],
    models: [MODEL],
    gauges: /vllm, 0 running, 0 waiting/,
  },
  SGLang: {
    engines: [inForm('sglang', { key })],
    kinds: ['sglang'],
    models: [MODEL],
    gauges: /sglang, \d+ running, \d+ waiting, KV cache of 4096 tokens/,
  },
  'llama.cpp': {
    engines: [inForm('llamacpp', { key })],
    kinds: ['llamacpp'],
    models: [MODEL],
    gauges: /llamacpp, \d+ running, \d+ waiting, KV cache of 4096 tokens/,
  },
  TGI: {
    engines: [inForm('tgi', { key, model: BIG })],
    kinds: ['tgi'],
    models: [BIG],
    gauges: /tgi, \d+ running, \d+ waiting/,
  },
  'TensorRT-LLM': {
    engines: [inForm('trtllm', { model: BIG })],
    kinds: ['trtllm'],
    models: [BIG],
    gauges: /trtllm, 1 running, 0 waiting/,
  },
  LMDeploy: {
    engines: [inForm('lmdeploy', { key })],
    kinds: ['lmdeploy'],
    models: [MODEL],
    gauges: /lmdeploy, 1 running, 0 waiting/,
  },
  Ollama: { engines: [inForm('ollama')], kinds: [undefined], models: [MODEL], gauges: NONE },
  Triton: { engines: [inForm('triton')], kinds: [undefined], models: [MODEL], gauges: NONE },
  'Hosted APIs': {
    engines: [hosted('', 'gpt-5-mini'), hosted('/api', 'qwen/qwen3-8b')],
    kinds: [undefined, undefined],
    models: ['gpt-5-mini', 'qwen/qwen3-8b'],
    gauges: NONE,
    ownAuthority: true,
  },
  'A mixed pool': {
    engines: [inForm('vllm'), inForm('llamacpp', { key }), inForm('sglang')],
    kinds: ['vllm', 'llamacpp', 'sglang'],
    models: [MODEL],
    gauges: /llamacpp, \d+ running/,
  },
};

const recipes = readRecipes();
const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

const env = {
  ENGINE_KEY,
  LLAMACPP_KEY: ENGINE_KEY,
  OPENAI_API_KEY: ENGINE_KEY,
  OPENROUTER_API_KEY: ENGINE_KEY,
};
Object.assign(process.env, env);

/** A stack with the recipe's configuration, and nothing of ours but ports, tenants and short times. */
async function startRecipe(recipe: Recipe, ports: readonly number[], ownAuthority: boolean): Promise<Stack> {
  const to = originsOf(recipe).map((origin, i) => {
    const { protocol, hostname } = new URL(origin);
    return `${protocol}//${hostname === 'localhost' ? hostname : '127.0.0.1'}:${ports[i]}`;
  });
  const stack = await startStack({
    engines: [],
    change(config) {
      const { pools, models, adapters } = configOf(recipe, to);
      Object.assign(config, { pools, models: models ?? {}, ...(adapters !== undefined && { adapters }) });
      for (const pool of Object.values(pools as Record<string, { tls?: object }>)) {
        if (ownAuthority) pool.tls = { ca: 'engines-ca.pem' };
      }
      const { directory } = config['envoy'] as { directory: string };
      for (const [name, text] of Object.entries(files)) {
        writeFileSync(join(directory, name), text, { mode: 0o600 });
      }
    },
  });
  closing.push(() => stack.close());
  return stack;
}

const listed = async ({ url }: Stack): Promise<readonly string[]> => {
  const { json } = await send(url, { method: 'GET', path: '/v1/models', key: KEYS.quiet });
  return ((json?.data ?? []) as readonly { id: string }[]).map(({ id }) => id);
};

/** Of each endpoint, as `/health` has it. */
async function healthOf({ metricsUrl }: Stack): Promise<readonly { engine?: string; gauges?: string }[]> {
  const answer = (await (await fetch(`${metricsUrl}/health`)).json()) as {
    readonly pools: Readonly<Record<string, { readonly windows: Readonly<Record<string, object>> }>>;
  };
  return Object.values(answer.pools).flatMap(({ windows }) => Object.values(windows));
}

/** A command that finds nothing to say against it. @returns what it says. */
async function finds(command: 'check-config' | 'doctor', { configPath }: Stack): Promise<string> {
  const run = runCli([command, '--config', configPath]);
  const code = await run.exited;
  const text = run.stdout() + run.stderr();
  const against = text.split('\n').filter((line) => /^(warning|problem)/.test(line) && !BUSY.test(line));
  expect([code, against]).toEqual([0, []]);
  expect(text).not.toContain(ENGINE_KEY);
  return text;
}

/** @returns what doctor says. */
async function serves(
  recipe: Recipe,
  { models, kinds, ownAuthority = false }: Expected,
  engines: readonly Standin[],
): Promise<string> {
  const stack = await startRecipe(
    recipe,
    engines.map(({ port }) => port),
    ownAuthority,
  );
  await eventually(
    () => stack.metric('fairlane_endpoint_healthy'),
    (count) => count === engines.length,
    20_000,
  );
  expect(await listed(stack)).toEqual(expect.arrayContaining([...models]));
  // A client's own names and credentials are nothing to an engine.
  const headers = { host: 'api.example.com', 'x-api-key': 'foreign' };
  for (const model of models) {
    const ask = (fields: object) =>
      send(stack.url, { key: KEYS.quiet, headers, body: chatBody({ model, ...fields }) });
    const answer = await ask({});
    expect([model, answer.status, answer.text.slice(0, 200)]).toEqual([model, 200, expect.anything()]);
    expect(answer.json.choices[0].message.content).toEqual(expect.any(String));
    const stream = await ask({ stream: true });
    expect(stream.status).toBe(200);
    expect(eventsOf(stream.text).at(-1)).toBe('[DONE]');
  }
  const record = await stack.record(({ outcome }) => outcome === 'completed');
  expect(record).toMatchObject({ tenant: 'quiet', status: 200 });
  for (const { requests } of engines) {
    for (const seen of requests?.() ?? []) expect(JSON.stringify(seen.headers)).not.toContain('foreign');
  }
  // In any order: each endpoint is asked when it is healthy.
  const said = await eventually(
    () => healthOf(stack),
    (all) => all.filter(({ engine }) => engine !== undefined).length === kinds.filter(Boolean).length,
  );
  expect(said.map(({ engine }) => engine)).toEqual(kinds);
  if (kinds.some(Boolean)) {
    await eventually(
      () => healthOf(stack),
      (all) => all.every((one) => one.gauges === undefined),
    );
  }
  const [, told] = await Promise.all([finds('check-config', stack), finds('doctor', stack)]);
  return told;
}

describe('docs/engines.md', () => {
  it('has no recipe that is not run here', () => {
    expect(recipes.map(({ title }) => title)).toEqual(Object.keys(EXPECTED));
  });

  it.each(recipes.map((recipe) => [recipe.title, recipe] as const))('%s', async (title, recipe) => {
    const expected = EXPECTED[title];
    if (expected === undefined) throw new Error(`no engine for the recipe ${title}`);
    const engines = await Promise.all(expected.engines.map((start) => start()));
    for (const engine of engines) closing.push(() => engine.close());
    expect(await serves(recipe, expected, engines)).toMatch(expected.gauges);
    // Nothing is asked of an API alone but what it has.
    if (!expected.kinds.some(Boolean)) {
      const paths = engines.flatMap(({ requests }) => requests?.().map(({ path }) => path) ?? []);
      expect(paths.filter((path) => /metrics|info|props/.test(path))).toEqual([]);
    }
  });
});

const server = findLlamaCpp(process.env);
describe.skipIf(server === undefined)('a real llama.cpp (skipped unless FAIRLANE_TEST_LLAMACPP)', () => {
  it('is as its recipe says, started with its flags', async () => {
    const recipe = recipes.find(({ title }) => title === 'llama.cpp');
    const expected = EXPECTED['llama.cpp'];
    if (recipe === undefined || expected === undefined) throw new Error('no recipe for llama.cpp');
    const flags = flagsOf(recipe, ['--model', '--host', '--port', '--api-key']);
    const engine = await startLlamaCpp(server ?? '', [...flags, '--api-key', ENGINE_KEY, '--threads', '1']);
    closing.push(() => engine.stop());
    const standin = { port: engine.port, requests: undefined, close: () => engine.stop() };
    expect(await serves(recipe, expected, [standin])).toMatch(expected.gauges);
  });
});
