/** Real engines on this machine, for the tests that are asked to use them. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startVllm } from '../../bench/vllm/engine.ts';
import { cacheFolder } from './cache.ts';
import {
  type Answers,
  ask,
  askAll,
  type EngineAnswer,
  LIVE_CONTEXT,
  MODEL,
  QUESTIONS,
} from './engine-answers.ts';
import { freePorts } from './ports.ts';
import { tinyGguf } from './tiny-gguf.ts';
import { writeTinyLora } from './tiny-lora.ts';

export interface LiveAnswers {
  readonly version: string;
  /** As a person would write it. */
  readonly command: string;
  readonly answers: Answers;
}

const READY_MS = 30_000;
const SLOTS = 2;
const VLLM_SEQUENCES = 8;

/** llama.cpp's server: FAIRLANE_TEST_LLAMACPP, or what lies in the cache's folder `fairlane/llamacpp-…`. */
export function findLlamaCpp(env: NodeJS.ProcessEnv): string | undefined {
  const given = env['FAIRLANE_TEST_LLAMACPP'];
  if (given !== undefined && given !== '') return given;
  const cache = cacheFolder(env);
  if (!existsSync(cache)) return undefined;
  return readdirSync(cache)
    .filter((name) => name.startsWith('llamacpp-'))
    .map((name) => join(cache, name, 'llama-server'))
    .find((path) => existsSync(path));
}

const stopProcess = (process: ChildProcess): Promise<void> =>
  new Promise((resolve) => {
    if (process.exitCode !== null || process.signalCode !== null) resolve();
    else process.once('exit', () => resolve()).kill('SIGKILL');
  });

const tryHealth = (url: string): Promise<EngineAnswer | undefined> =>
  ask(url, { method: 'GET', path: '/health' }).catch(() => undefined);

export interface RunningLlamaCpp {
  readonly port: number;
  readonly url: string;
  /** Its code, or undefined while it runs. */
  readonly ended: () => number | undefined;
  stop(): Promise<void>;
}

/** Starts it with a tiny model at a free port; resolves at once with `untilReady: false`, else when it is healthy. */
export async function startLlamaCpp(
  server: string,
  flags: readonly string[],
  { folder, untilReady = true }: { readonly folder?: string; readonly untilReady?: boolean } = {},
): Promise<RunningLlamaCpp> {
  const where = folder ?? mkdtempSync(join(tmpdir(), 'fairlane-llamacpp-'));
  const [port = 0] = await freePorts(1);
  const gguf = join(where, 'tiny.gguf');
  writeFileSync(gguf, tinyGguf());
  const engine = spawn(server, ['--model', gguf, '--host', '127.0.0.1', '--port', String(port), ...flags], {
    stdio: 'ignore',
  });
  const running: RunningLlamaCpp = {
    port,
    url: `http://127.0.0.1:${port}`,
    ended: () => engine.exitCode ?? undefined,
    async stop() {
      await stopProcess(engine);
      rmSync(where, { recursive: true, force: true });
    },
  };
  if (!untilReady) return running;
  const until = Date.now() + READY_MS;
  while ((await tryHealth(running.url))?.status !== 200) {
    if (running.ended() !== undefined || Date.now() > until) {
      await running.stop();
      throw new Error('llama-server did not become ready');
    }
  }
  return running;
}

/** Starts it, asks everything, and ends it. `loading` is what it said before it was ready, if it was asked in time. */
export async function askLlamaCpp(server: string): Promise<LiveAnswers> {
  const folder = mkdtempSync(join(tmpdir(), 'fairlane-llamacpp-'));
  const flags = `--alias ${MODEL} --metrics --slots --parallel ${SLOTS} --ctx-size ${SLOTS * LIVE_CONTEXT} --threads 1`;
  const engine = await startLlamaCpp(server, flags.split(' '), { folder, untilReady: false });
  const { url } = engine;
  try {
    const answers = new Map<string, EngineAnswer>();
    const until = Date.now() + READY_MS;
    for (;;) {
      const health = await tryHealth(url);
      if (health?.status === 200) break;
      if (health !== undefined) answers.set('loading', health);
      if (engine.ended() !== undefined || Date.now() > until)
        throw new Error('llama-server did not become ready');
    }
    for (const [name, answer] of await askAll(url, {
      ...QUESTIONS,
      props: { method: 'GET', path: '/props' },
      slots: { method: 'GET', path: '/slots' },
      'lora-adapters': { method: 'GET', path: '/lora-adapters' },
    })) {
      answers.set(name, answer);
    }
    // Three requests for two slots: one is deferred.
    const long = { model: MODEL, prompt: 'hello', max_tokens: 1_500, ignore_eos: true };
    const busy = Array.from({ length: SLOTS + 1 }, () =>
      ask(url, { method: 'POST', path: '/v1/completions', body: JSON.stringify(long) }),
    );
    await new Promise((resolve) => setTimeout(resolve, 100));
    answers.set('metrics-busy', await ask(url, { method: 'GET', path: '/metrics' }));
    await Promise.all(busy);
    for (const [name, answer] of answers) {
      answers.set(name, { ...answer, body: answer.body.replaceAll(folder, '/models') });
    }
    const props = JSON.parse(answers.get('props')?.body ?? '{}') as { readonly build_info?: string };
    return {
      version: String(props.build_info),
      command: `llama-server --model tiny.gguf ${flags}`,
      answers,
    };
  } finally {
    await engine.stop();
  }
}

/** Likewise for vLLM, with an adapter, asleep and awake, and with a full queue of its own. */
export async function askVllm(onProgress: (line: string) => void): Promise<LiveAnswers> {
  const folder = mkdtempSync(join(tmpdir(), 'fairlane-lora-'));
  const adapter = join(folder, 'adapter');
  writeTinyLora(adapter);
  const flags = '--enable-lora --max-loras 2 --max-lora-rank 8 --max-num-queued-reqs 2';
  const engine = await startVllm({
    maxSequences: VLLM_SEQUENCES,
    flags: flags.split(' '),
    env: { VLLM_SERVER_DEV_MODE: '1', VLLM_ALLOW_RUNTIME_LORA_UPDATING: 'True' },
    onProgress,
  });
  const { url, version } = engine;
  const get = (path: string) => ask(url, { method: 'GET', path });
  const post = (path: string, body: object) => ask(url, { method: 'POST', path, body: JSON.stringify(body) });
  try {
    const answers = await askAll(url, QUESTIONS);
    answers.set('version', await get('/version'));
    answers.set('is-sleeping', await get('/is_sleeping'));
    answers.set(
      'messages-unknown-model',
      await post('/v1/messages', {
        model: 'nobody',
        max_tokens: 3,
        messages: [{ role: 'user', content: 'hello' }],
      }),
    );
    answers.set(
      'load-lora',
      await post('/v1/load_lora_adapter', { lora_name: 'tiny-lora', lora_path: adapter }),
    );
    answers.set('models-with-lora', await get('/v1/models'));
    const long = { prompt: 'hello', max_tokens: 600, ignore_eos: true };
    const busy = Array.from({ length: 3 * VLLM_SEQUENCES }, (_, index) =>
      post('/v1/completions', { model: index % 2 === 0 ? 'tiny-lora' : MODEL, ...long }),
    );
    await new Promise((resolve) => setTimeout(resolve, 600));
    answers.set('metrics-busy', await get('/metrics'));
    answers.set('overloaded-stream', await post('/v1/completions', { model: MODEL, stream: true, ...long }));
    const overloaded = (await Promise.all(busy)).find(({ status }) => status !== 200);
    if (overloaded !== undefined) answers.set('overloaded', overloaded);
    answers.set('unload-lora', await post('/v1/unload_lora_adapter', { lora_name: 'tiny-lora' }));
    answers.set('sleep', await ask(url, { method: 'POST', path: '/sleep?level=1' }));
    answers.set('is-sleeping-asleep', await get('/is_sleeping'));
    answers.set('health-asleep', await get('/health'));
    answers.set('metrics-asleep', await get('/metrics'));
    answers.set('wake', await ask(url, { method: 'POST', path: '/wake_up' }));
    const { root } =
      (JSON.parse(answers.get('models')?.body ?? '') as { data: { root: string }[] }).data[0] ?? {};
    for (const [name, answer] of answers) {
      // Where this machine has its models is nobody's business.
      const body = answer.body
        .replaceAll(root ?? '-', '/models/tiny')
        .replaceAll(adapter, '/models/tiny-lora');
      const sent = answer.question.body?.replaceAll(adapter, '/models/tiny-lora');
      answers.set(name, {
        ...answer,
        body,
        question: { ...answer.question, ...(sent !== undefined && { body: sent }) },
      });
    }
    return { version, command: `vllm serve DIR ${flags} … (bench/vllm/engine.ts)`, answers };
  } finally {
    await engine.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}
