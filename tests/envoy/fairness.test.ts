/** Windows, reserve, engine help and slow clients with a real Envoy and the simulator as the engine. */
import { request as httpRequest } from 'node:http';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { chatBody, openStream, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { KEYS, type Stack, startStack } from '../support/stack.ts';

const SEQUENCES = 12;
const profile = parseProfile('test', {
  maxSequences: SEQUENCES,
  stepBaseMs: 10,
  scheduling: 'priority',
  kvBlocks: 8_192,
});

let engine: Simulator;
let stack: Stack;
let flooding = false;

/** Keeps 40 requests of `noisy` with the stack until it is told to stop. */
async function flood(): Promise<void> {
  flooding = true;
  const one = async (): Promise<void> => {
    while (flooding) {
      await send(stack.url, { key: KEYS.noisy, body: chatBody({ max_tokens: 20, ignore_eos: true }) });
    }
  };
  await Promise.all(Array.from({ length: 40 }, one));
}
const windowBy = async (): Promise<string | undefined> => {
  for (const by of ['gauges', 'ttft', 'fixed']) {
    if ((await stack.metric('fairlane_endpoint_window_by', { by })) === 1) return by;
  }
  return undefined;
};

beforeAll(async () => {
  engine = await startSimulator({ profile, models: ['demo', 'embedder'], faults: true });
  stack = await startStack({
    engines: [engine.url],
    change(config) {
      config['queue'] = { maxWait: '20s', maxQueued: 200 };
      Object.assign(config['pools']['main'], {
        concurrencyLimit: 'auto',
        gauges: { interval: '500ms' },
        engineCapabilities: { priority: 'auto', cacheSalt: 'auto' },
      });
      config['lanes'] = { all: { stalledAfter: '1s' } };
    },
  });
});
afterAll(async () => {
  await stack.close();
  await engine.close();
});
afterEach(() => {
  engine.setFault(undefined);
});

describe('beside a flood', () => {
  it('the window finds what the engine runs, and a quiet tenant passes the queue', async () => {
    const flooded = flood();
    await eventually(
      () => stack.metric('fairlane_pool_window'),
      (window) => window === SEQUENCES,
      20_000,
    );
    expect(await windowBy()).toBe('gauges');
    // A dozen end in one step of the engine, and those who had them come again a moment later.
    await eventually(
      () => stack.metric('fairlane_pool_queued'),
      (queued) => queued > 20,
    );
    for (let i = 0; i < 5; i += 1) {
      const answer = await send(stack.url, { key: KEYS.quiet, body: chatBody({ stream: true }) });
      expect(answer.status).toBe(200);
    }
    expect(engine.gauges().running).toBeLessThanOrEqual(SEQUENCES);
    flooding = false;
    await flooded;
    const quiet = stack.records().filter(({ tenant }) => tenant === 'quiet');
    const noisy = stack.records().filter(({ tenant, queueMs }) => tenant === 'noisy' && queueMs !== 0);
    const meanWait = (list: readonly { readonly queueMs?: number }[]): number =>
      list.reduce((sum, { queueMs = 0 }) => sum + queueMs, 0) / list.length;
    expect(quiet.filter(({ quiet: passed }) => passed).length).toBeGreaterThanOrEqual(4);
    // The first may come before anything is kept free for it.
    expect(meanWait(quiet.slice(1))).toBeLessThan(meanWait(noisy) / 3);
  });

  it('the engine is told who goes first, and keeps tenants’ caches apart', () => {
    const bodies = engine.requests().map(({ body }) => body as Record<string, unknown>);
    const chats = bodies.filter((body) => 'messages' in body);
    const priorities = new Set(chats.map((body) => body['priority']));
    expect(priorities).toEqual(new Set([0, 10]));
    expect(new Set(chats.map((body) => body['cache_salt'])).size).toBe(2);
  });
});

describe('gauges', () => {
  it.each(['absent', 'frozen', 'zero'] as const)(
    'that are %s are noticed, told, and done without',
    async (are) => {
      engine.setFault({ kind: 'gauges', are });
      const flooded = flood();
      await eventually(windowBy, (by) => by === 'ttft', 20_000);
      const address = engine.url;
      const health = (await (await fetch(`${stack.metricsUrl}/health`)).json()) as {
        pools: Record<string, { windows: Record<string, { by: string; gauges?: string }> }>;
      };
      expect(health.pools['main']?.windows[address]).toMatchObject({
        by: 'ttft',
        gauges: expect.any(String),
      });
      expect((await send(stack.url, { key: KEYS.quiet, body: chatBody() })).status).toBe(200);
      engine.setFault(undefined);
      await eventually(windowBy, (by) => by === 'gauges', 20_000);
      flooding = false;
      await flooded;
    },
  );
});

describe('a client that reads slowly', () => {
  /** Reads the head of its answer and nothing else. */
  const unread = (maxTokens: number): Promise<() => void> =>
    new Promise((resolve, reject) => {
      const outgoing = httpRequest(
        `${stack.url}/v1/chat/completions`,
        {
          method: 'POST',
          headers: { authorization: `Bearer ${KEYS.noisy}`, 'content-type': 'application/json' },
        },
        (incoming) => {
          incoming.pause();
          resolve(() => outgoing.destroy());
        },
      );
      outgoing.on('error', reject);
      outgoing.end(chatBody({ stream: true, max_tokens: maxTokens, ignore_eos: true }));
    });

  it('holds its slot no longer than its engine works: Envoy has room for the rest', async () => {
    const hangUps = await Promise.all(Array.from({ length: SEQUENCES }, () => unread(60)));
    // All slots are theirs; 60 steps later they are free although nobody has read.
    const started = Date.now();
    const { status } = await send(stack.url, { key: KEYS.quiet, body: chatBody() });
    expect(status).toBe(200);
    expect(Date.now() - started).toBeLessThan(5_000);
    await eventually(
      () => stack.metric('fairlane_pool_in_flight'),
      (n) => n === 0,
      5_000,
    );
    for (const hangUp of hangUps) hangUp();
  });

  it('and one that reads is not disturbed by it', async () => {
    const hangUps = await Promise.all(Array.from({ length: 4 }, () => unread(200)));
    const stream = await openStream(stack.url, {
      key: KEYS.quiet,
      body: chatBody({ stream: true, max_tokens: 20 }),
    });
    expect(await stream.done).toContain('[DONE]');
    for (const hangUp of hangUps) hangUp();
  });
});
