/** Profiles, zones, sessions and slow readers with a real Envoy: what is seen is which engine was asked. */
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { chatBody, eventsOf, type OpenStream, openStream, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { type Draft, KEYS, type Stack, startStack } from '../support/stack.ts';

const startEngines = (count: number, profile = {}): Promise<Simulator[]> =>
  Promise.all(
    Array.from({ length: count }, () =>
      startSimulator({
        profile: parseProfile('test', { maxSequences: 64, ...profile }),
        models: ['demo'],
        faults: true,
      }),
    ),
  );
const closeAll = async (stack: Stack, engines: readonly Simulator[]): Promise<void> => {
  await stack.close();
  await Promise.all(engines.map((engine) => engine.close()));
};
const setPool =
  (settings: Draft, more: (config: Draft) => void = () => undefined) =>
  (config: Draft): void => {
    Object.assign(config['pools']['main'] as Draft, settings);
    more(config);
  };
const started = (engines: readonly Simulator[]): readonly number[] =>
  engines.map((engine) => engine.stats().started);
/** How many requests each engine got meanwhile. */
async function seen(
  engines: readonly Simulator[],
  during: () => Promise<unknown>,
): Promise<readonly number[]> {
  const before = started(engines);
  await during();
  return started(engines).map((count, i) => count - (before[i] ?? 0));
}

describe('a service that knows its zone', () => {
  let engines: Simulator[];
  let stack: Stack;
  beforeAll(async () => {
    engines = await startEngines(2);
    const [a, b] = engines.map(({ url }) => url);
    stack = await startStack({
      engines: [a ?? '', b ?? ''],
      change: setPool(
        { routing: 'balanced', choice: { weights: { zone: 3 }, zones: { here: [b], there: [a] } } },
        (config) => {
          config['service'] = { ...(config['service'] as Draft), zone: 'here' };
        },
      ),
    });
  });
  afterAll(() => closeAll(stack, engines));

  it('has requests served there, and elsewhere while nobody there can', async () => {
    const ask = () => send(stack.url, { key: KEYS.quiet, body: chatBody({ max_tokens: 1 }) });
    const four = async (): Promise<void> => {
      for (let i = 0; i < 4; i += 1) expect((await ask()).status).toBe(200);
    };
    expect(await seen(engines, four)).toEqual([0, 4]);
    engines[1]?.setFault({ kind: 'unhealthy' });
    await eventually(
      () => stack.metric('fairlane_endpoint_healthy'),
      (healthy) => healthy === 1,
    );
    expect(await seen(engines, four)).toEqual([4, 0]);
    engines[1]?.setFault(undefined);
  });
});

describe('a session that a header names', () => {
  let engines: Simulator[];
  let stack: Stack;
  beforeAll(async () => {
    engines = await startEngines(3);
    stack = await startStack({
      engines: engines.map(({ url }) => url),
      change: setPool({ routing: 'balanced' }),
    });
  });
  afterAll(() => closeAll(stack, engines));

  const ask = (session: string, content: string) =>
    send(stack.url, {
      key: KEYS.quiet,
      headers: { 'x-session-id': session },
      body: chatBody({ max_tokens: 1, messages: [{ role: 'user', content }] }),
    });

  it('stays with one engine, which is not told its name', async () => {
    const one = async (): Promise<void> => {
      for (let i = 0; i < 6; i += 1) expect((await ask('agent-7', `step ${i}`)).status).toBe(200);
    };
    const counts = await seen(engines, one);
    expect(counts.toSorted((a, b) => a - b)).toEqual([0, 0, 6]);
    const others = async (): Promise<void> => {
      for (let i = 0; i < 6; i += 1) await ask(`agent ${i}`, `step ${i}`);
    };
    expect(Math.max(...(await seen(engines, others)))).toBeLessThan(6);
    const headers = engines.flatMap((engine) => engine.requests().map((request) => request.headers));
    expect(headers.length).toBeGreaterThan(11);
    for (const sent of headers) expect(sent).not.toHaveProperty('x-session-id');
  });
});

describe('a class-aware pool', () => {
  let engines: Simulator[];
  let stack: Stack;
  beforeAll(async () => {
    engines = await startEngines(2, { stepBaseMs: 20, kvBlocks: 1_250, maxModelLen: 20_000 });
    stack = await startStack({
      engines: engines.map(({ url }) => url),
      change: setPool({
        routing: 'class-aware',
        choice: { largeTokens: 2_000 },
        concurrencyLimit: 16,
        prefillTokens: 100_000,
        gauges: { interval: '100ms' },
      }),
    });
    // The KV cache's size is known from the gauges.
    await eventually(
      () => stack.metric('fairlane_endpoint_kv_capacity_tokens'),
      (tokens) => tokens === 40_000,
    );
  });
  afterAll(() => closeAll(stack, engines));

  const hold = (promptWords: number): Promise<OpenStream> =>
    openStream(stack.url, {
      key: KEYS.noisy,
      body: chatBody({
        stream: true,
        ignore_eos: true,
        max_tokens: 1_000,
        messages: [{ role: 'user', content: `${Math.random()} `.repeat(promptWords) }],
      }),
    });

  it('sends a large request where most room is left, and a small one where least runs', async () => {
    const held: OpenStream[] = [];
    /** The engine that a stream went to, when its first token is there. */
    const placeOf = async (words: number): Promise<number> => {
      const counts = await seen(engines, async () => {
        const stream = await hold(words);
        held.push(stream);
        await eventually(
          () => Promise.resolve(eventsOf(stream.text()).length),
          (count) => count > 2,
        );
      });
      return counts.indexOf(1);
    };
    const full = await placeOf(700);
    const busy = 1 - full;
    expect([await placeOf(1), await placeOf(1)]).toEqual([busy, busy]);
    expect(await placeOf(1)).toBe(full);
    expect(await placeOf(500)).toBe(busy);
    for (const { hangUp } of held) hangUp();
  });
});

describe('a client that stops reading', () => {
  let engines: Simulator[];
  let stack: Stack;
  beforeAll(async () => {
    engines = await startEngines(2, { stepBaseMs: 2, maxModelLen: 200_000, kvBlocks: 100_000 });
    const [, kept] = engines.map(({ url }) => url);
    stack = await startStack({
      engines: engines.map(({ url }) => url),
      change: setPool(
        {
          routing: 'slow-client-isolation',
          choice: { slowClients: [kept] },
          concurrencyLimit: 32,
        },
        (config) => {
          // It is also what Envoy buffers of an answer.
          config['envoy'] = { ...(config['envoy'] as Draft), maxBodySize: '64KiB' };
        },
      ),
    });
  });
  afterAll(() => closeAll(stack, engines));

  const TOKENS = 60_000;
  const PAUSED_TOKENS = 6_000;
  const post = (
    localAddress: string,
    key: string,
    body: string,
    onAnswer: (incoming: IncomingMessage) => void,
    onError: (error: Error) => void,
  ): void => {
    const outgoing = httpRequest(
      `${stack.url}/v1/chat/completions`,
      {
        method: 'POST',
        localAddress,
        agent: false,
        headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      },
      onAnswer,
    );
    outgoing.on('error', onError);
    outgoing.end(body);
  };
  /** Reads some, pauses, and reads the rest. */
  const pausing = (localAddress: string, pauseMs: number): Promise<void> =>
    new Promise((resolve, reject) => {
      const onAnswer = (incoming: IncomingMessage): void => {
        incoming.once('data', () => {
          incoming.pause();
          setTimeout(() => incoming.resume(), pauseMs);
        });
        let read = 0;
        incoming.on('data', (part: Buffer) => {
          read += part.length;
        });
        incoming.on('close', () => {
          if (read > 0) resolve();
          else reject(new Error('nothing came'));
        });
        incoming.on('error', () => resolve());
      };
      const body = chatBody({ stream: true, n: 16, max_tokens: PAUSED_TOKENS, ignore_eos: true });
      post(localAddress, KEYS.noisy, body, onAnswer, reject);
    });
  const askFrom = (localAddress: string, key: string): Promise<number> =>
    new Promise((resolve, reject) => {
      const onAnswer = (incoming: IncomingMessage): void => {
        incoming.resume();
        incoming.on('end', () => resolve(incoming.statusCode ?? 0));
      };
      post(localAddress, key, chatBody({ max_tokens: 1 }), onAnswer, reject);
    });

  it('is served by the endpoint for such from then on; its tenant’s other clients and other tenants are not', async () => {
    const flows = await Promise.all(
      [0, 1].map(() =>
        openStream(stack.url, {
          key: KEYS.quiet,
          body: chatBody({ stream: true, max_tokens: TOKENS, ignore_eos: true }),
        }),
      ),
    );
    const before = await seen(engines, () => askFrom('127.0.0.5', KEYS.noisy));
    expect(before).toEqual([1, 0]);
    await pausing('127.0.0.5', 10_000);
    expect(await seen(engines, () => askFrom('127.0.0.5', KEYS.noisy))).toEqual([0, 1]);
    expect(await seen(engines, () => askFrom('127.0.0.6', KEYS.noisy))).toEqual([1, 0]);
    expect(await seen(engines, () => askFrom('127.0.0.5', KEYS.quiet))).toEqual([1, 0]);
    for (const { hangUp } of flows) hangUp();
  }, 90_000);
});
