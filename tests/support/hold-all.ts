/** One tenant holds all that its limits let it, on a real Envoy and `fairlane serve`; another one is served meanwhile. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { loadConfig } from '../../src/config/fs-config.ts';
import { type MemoryBound, maxOpenOf, maxWaitingOf, memoryBoundOf } from '../../src/config/memory-bound.ts';
import { bootstrapOf } from '../../src/envoy/bootstrap.ts';
import { CLUSTERS_FILE } from '../../src/envoy/dynamic-files.ts';
import { startEnvoy } from '../../src/envoy/process-envoy.ts';
import { send } from './client.ts';
import { envoyForTests } from './envoy.ts';
import { eventually } from './eventually.ts';
import { CHAT, EMBEDDINGS, GreedyClient, longPrompt, peakResidentOf, startGreedyEngine } from './greedy.ts';
import { freePorts } from './ports.ts';
import { runCli } from './serve.ts';
import type { Draft } from './stack.ts';

const GREEDY = 'key-of-the-greedy-one';
const OTHER = 'key-of-the-other-one';
/** Into the buffers, and as much of Envoy’s as possible. */
const ENDED_BYTES = 330_000;
/** Longer than all buffers on its way. */
const ANSWER_BYTES = 3_000_000;
const WORKERS = 2;
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

export interface Held {
  readonly bound: MemoryBound;
  /** Peaks of resident memory, in bytes: before anything was held, and in all. */
  readonly idle: { readonly envoy: number; readonly fairlane: number };
  readonly peak: { readonly envoy: number; readonly fairlane: number };
  /** Answers to what was more than the tenant may hold: open exchanges, bytes. */
  readonly refused: { readonly open: readonly number[]; readonly bytes: readonly number[] };
  /** Answers to the other tenant, one after the other. */
  readonly others: readonly number[];
  /** The same with ended answers besides. */
  readonly overloaded: readonly number[];
}

export interface HoldOptions {
  readonly change?: (config: Draft) => void;
  /** Arguments of Node.js that run the program. */
  readonly program?: readonly string[];
  /** Connections on which it leaves an ended answer each, on top of the rest. */
  readonly ended?: number;
  readonly onStage?: (stage: string, envoy: number, fairlane: number) => void;
}

export async function holdAll(options: HoldOptions = {}): Promise<Held> {
  const engine = await startGreedyEngine({ large: ANSWER_BYTES, medium: ENDED_BYTES });
  const directory = mkdtempSync(join(tmpdir(), 'fairlane-hold-'));
  const [api = 0, admin = 0, metrics = 0] = await freePorts(3);
  const draft: Draft = {
    listen: `127.0.0.1:${api}`,
    envoy: { admin: `127.0.0.1:${admin}`, directory },
    service: { metrics: `127.0.0.1:${metrics}` },
    // An engine with so many sequences: it takes hours to find that out.
    pools: { main: { endpoints: [engine.url], concurrencyLimit: 256 } },
    models: { large: { pool: 'main' }, medium: { pool: 'main' }, small: { pool: 'main' } },
    tenants: { greedy: { keys: [GREEDY] }, other: { keys: [OTHER] } },
  };
  options.change?.(draft);
  const configPath = join(directory, 'fairlane.yaml');
  writeFileSync(configPath, stringify(draft));
  const loaded = loadConfig(configPath, process.env);
  if (loaded.kind === 'bad') throw new Error(loaded.problems.join('\n'));
  const { config } = loaded;
  const limits = config.tenants.get('greedy')?.limits;
  if (limits?.maxHeldBytes === undefined) throw new Error('the tenant has no limits');

  const service = runCli(['serve', '--config', configPath], process.env, options.program);
  const pid = service.child.pid ?? 0;
  const url = `http://127.0.0.1:${api}`;
  const client = new GreedyClient(url, GREEDY);
  let envoy: Awaited<ReturnType<typeof startEnvoy>> | undefined;
  let isOver = false;
  try {
    // The last of the files that Envoy watches.
    await eventually(
      () => existsSync(join(directory, CLUSTERS_FILE)),
      (there) => there,
      20_000,
    );
    envoy = await startEnvoy({
      envoy: await envoyForTests(),
      bootstrap: bootstrapOf(config),
      directory,
      admin: config.envoy.admin,
      concurrency: WORKERS,
      onLog: () => undefined,
    });
    const running = envoy;
    const ask = (): Promise<number> =>
      send(url, { key: OTHER, path: EMBEDDINGS, body: JSON.stringify({ model: 'small', input: 'x' }) }).then(
        ({ status }) => status,
        () => 0,
      );
    await eventually(ask, (status) => status === 200);
    const peaks = (): Held['peak'] => ({ envoy: peakResidentOf(running.pid), fairlane: peakResidentOf(pid) });
    const stage = (name: string): void => options.onStage?.(name, peaks().envoy, peaks().fairlane);
    const idle = peaks();
    stage('idle');

    const others: number[] = [];
    const asking = (async () => {
      while (!isOver) {
        others.push(await ask());
        await sleep(200);
      }
    })();

    const bodies = Math.floor(limits.maxHeldBytes / config.envoy.maxBodyBytes);
    const waiting = Math.floor(maxWaitingOf(limits.maxHeldBytes, config) / config.envoy.maxBodyBytes);
    const unread = maxOpenOf(limits, config) - bodies - waiting;
    const cameBefore = engine.came();
    for (let i = 0; i < unread; i += 1) {
      await client.askAndDoNotRead(i % 2 === 0 ? 'http1' : 'http2');
      if (i % 10 === 0) await sleep(20);
    }
    // What waits gets its slot when the first ones have stalled.
    await eventually(
      () => engine.came() - cameBefore,
      (came) => came >= unread,
      60_000,
    ).catch(() => undefined);
    await sleep(3_000);
    stage('answers that are not read');

    const finish: (() => void)[] = [];
    const body = longPrompt(config.envoy.maxBodyBytes);
    for (let i = 0; i < bodies; i += 1) {
      finish.push(await client.upload(i % 2 === 0 ? 'http1' : 'http2', CHAT, body));
    }
    // Room for these there is none: Envoy has them before they are refused.
    for (let i = 0; i < waiting; i += 1) await client.upload(i % 2 === 0 ? 'http1' : 'http2', CHAT, body);
    stage('and uploads');
    const more = new GreedyClient(url, GREEDY);
    // What was sent last is open once the service has seen its headers: until then one more overtakes it.
    const refusedOpen = await eventually(
      () => send(url, { key: GREEDY, path: EMBEDDINGS, body: '{"model":"small","input":"x"}' }),
      ({ status }) => status === 429,
    );
    more.hangUp();
    for (const complete of finish) complete();
    await sleep(4_000);
    stage('and bodies that wait');
    client.hangUp();
    await sleep(2_000);

    // Alone: bytes are used up before exchanges are.
    const large = new GreedyClient(url, GREEDY);
    for (let i = 0; i < bodies; i += 1) await large.upload('http1', CHAT, body);
    // They are held once the service has seen their headers: until then one more overtakes them.
    const oneMore = await eventually(
      () =>
        send(url, { key: GREEDY, path: CHAT, body: body.toString() }).then(
          ({ status }) => status,
          () => 0,
        ),
      (status) => status === 429,
      20_000,
    );
    stage('uploads alone');
    large.hangUp();
    const allServed = [...others];

    // On top of all: answers that have ended, on connections that stay open.
    if (options.ended !== undefined) {
      await sleep(2_000);
      const last = new GreedyClient(url, GREEDY);
      const endedBefore = engine.came();
      for (let i = 0; i < options.ended; i += 1) {
        await last.askAndDoNotRead('http1', 'medium');
        if (i % 10 === 0) await sleep(80);
      }
      stage(`${engine.came() - endedBefore} ended answers that are not read`);
      for (let i = 0; i < unread; i += 1) {
        await last.askAndDoNotRead(i % 2 === 0 ? 'http1' : 'http2');
        if (i % 10 === 0) await sleep(20);
      }
      for (let i = 0; i < bodies; i += 1) {
        void last.upload('http1', CHAT, body).then((complete) => complete());
      }
      await sleep(5_000);
      stage('with all of the above');
      last.hangUp();
    }
    isOver = true;
    await asking;
    return {
      bound: memoryBoundOf(config),
      idle,
      peak: peaks(),
      refused: { open: [refusedOpen.status], bytes: [oneMore] },
      others: allServed,
      overloaded: others.slice(allServed.length),
    };
  } finally {
    isOver = true;
    client.hangUp();
    await envoy?.stop(500);
    service.child.kill('SIGKILL');
    await service.exited;
    engine.close();
    rmSync(directory, { recursive: true, force: true });
  }
}
