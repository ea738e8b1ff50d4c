/** What a request tells the choice of an endpoint: its session, its zone, and how its client reads. */
import { describe, expect, it } from 'vitest';
import { createSlowReaders } from '../../../src/admission/slow-readers.ts';
import type { Config, PoolConfig } from '../../../src/config/config.ts';
import { createWorld, type World } from '../../support/lifecycle.ts';

const urlOf = (n: number): string => `http://10.0.0.${n}:8000`;
const addressOf = (n: number): string => `10.0.0.${n}:8000`;

/** A pool of so many endpoints. */
const pooled =
  (count: number, more: Partial<PoolConfig>) =>
  (config: Config): Config => {
    const main = config.pools.get('main');
    if (main === undefined) throw new Error('no pool');
    const endpoints = Array.from({ length: count }, (_, i) => ({
      url: urlOf(i + 1),
      host: `10.0.0.${i + 1}`,
      port: 8_000,
    }));
    return { ...config, pools: new Map([['main', { ...main, endpoints, ...more }]]) };
  };

function open(
  world: World,
  {
    headers = {},
    body = {},
    tenant = 'a',
    nowMs = 0,
  }: {
    readonly headers?: Readonly<Record<string, string>>;
    readonly body?: object;
    readonly tenant?: string;
    readonly nowMs?: number;
  } = {},
) {
  const { request, said } = world.open();
  request.headers(
    {
      method: 'POST',
      path: '/v1/chat/completions',
      tenant,
      requestId: 'r',
      contentLength: undefined,
      endOfStream: false,
      header: (name) => headers[name] ?? '',
    },
    nowMs,
  );
  const whole = { model: 'small', messages: [{ role: 'user', content: 'hi' }], ...body };
  request.body(Buffer.from(JSON.stringify(whole)), nowMs);
  const sent = said.find((entry) => entry.kind === 'send-on');
  return { request, endpoint: sent?.kind === 'send-on' ? sent.request.addresses[0] : undefined };
}
/** Sends it, and has it answered. */
function serve(world: World, options: Parameters<typeof open>[1] = {}): string | undefined {
  const { request, endpoint } = open(world, options);
  request.streamEnded(1);
  return endpoint;
}

describe('a session', () => {
  const choosing = { sessionHeader: 'x-agent', zone: undefined, readers: undefined };
  const session = () => createWorld({ change: pooled(4, { routing: 'prefix-cache' }), choosing });
  const prompt = (n: number) => ({ messages: [{ role: 'user', content: `question ${n}` }] });

  it('stays where its header was served last, whatever it asks', () => {
    const world = session();
    const first = serve(world, { headers: { 'x-agent': 'one' }, body: prompt(0) });
    for (let i = 1; i < 8; i += 1) {
      serve(world, { headers: { 'x-agent': `other ${i}` }, body: prompt(100 + i) });
      expect(serve(world, { headers: { 'x-agent': 'one' }, body: prompt(i) })).toBe(first);
    }
  });

  it('is named by the body where no header does, and by the header where both do', () => {
    const world = session();
    const byBody = serve(world, { body: { ...prompt(0), prompt_cache_key: 'k' } });
    expect(serve(world, { body: { ...prompt(1), prompt_cache_key: 'k' } })).toBe(byBody);
    const both = { headers: { 'x-agent': 'one' }, body: { ...prompt(2), prompt_cache_key: 'k' } };
    expect(serve(world, both)).not.toBe(byBody);
  });

  it('of another tenant with the same name is another one', () => {
    const world = session();
    const headers = { 'x-agent': 'one' };
    expect(serve(world, { headers, tenant: 'b' })).not.toBe(serve(world, { headers }));
  });

  it.each([
    ['a header of 100 KB', { headers: { 'x-agent': 'x'.repeat(100_000) } }],
    ['a key that is a number', { body: { prompt_cache_key: 7 } }],
    ['a key that is null', { body: { prompt_cache_key: null } }],
    ['a huge key', { body: { prompt_cache_key: 'x'.repeat(100_000) } }],
    ['an empty header', { headers: { 'x-agent': '' } }],
  ])('is not named by %s', (_, options) => {
    const world = session();
    const seen = new Set<string | undefined>();
    for (let i = 0; i < 4; i += 1) seen.add(serve(world, { ...options, body: { ...options, ...prompt(i) } }));
    expect(seen.size).toBe(4);
  });
});

describe('embeddings', () => {
  it('are kept off the endpoints of slow clients as all else is', () => {
    const readers = createSlowReaders();
    const world = createWorld({
      window: 8,
      change: pooled(2, {
        routing: 'slow-client-isolation',
        choice: {
          weights: {},
          slowClients: [urlOf(1)],
          sessionHeader: 'x-session-id',
          zones: new Map(),
        },
      }),
      choosing: { sessionHeader: 'x-session-id', zone: undefined, readers },
    });
    for (let i = 0; i < 4; i += 1) {
      const { request, said } = world.open();
      request.headers(
        {
          method: 'POST',
          path: '/v1/embeddings',
          tenant: 'a',
          requestId: 'r',
          contentLength: undefined,
          endOfStream: false,
          header: () => '',
        },
        0,
      );
      request.body(Buffer.from(JSON.stringify({ model: 'small', input: `text ${i}` })), 0);
      expect(said).toContainEqual(
        expect.objectContaining({
          request: expect.objectContaining({ addresses: [addressOf(2)] }) as unknown,
        }),
      );
    }
  });
});

describe('a client that reads slowly', () => {
  const token = Buffer.from(
    `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content: 'x' }, finish_reason: null }] })}\n\n`,
  );
  const streamed = { stream: true, max_tokens: 4_000 };
  const isolated = () =>
    createWorld({
      window: 16,
      change: pooled(2, {
        routing: 'slow-client-isolation',
        choice: {
          weights: {},
          slowClients: [urlOf(2)],
          sessionHeader: 'x-session-id',
          zones: new Map(),
        },
      }),
      choosing: { sessionHeader: 'x-session-id', zone: undefined, readers: createSlowReaders() },
    });
  const from = (address: string) => ({ 'x-forwarded-for': `203.0.113.9, ${address}` });
  const answering = (world: World, address: string, tenant = 'a') => {
    const { request, endpoint } = open(world, { headers: from(address), body: streamed, tenant });
    request.responseHeaders(
      {
        status: 200,
        contentType: 'text/event-stream',
        contentEncoding: '',
        upstream: endpoint ?? '',
        endOfStream: false,
      },
      0,
    );
    return {
      flow(count: number, fromMs: number, stepMs: number) {
        for (let i = 0; i < count; i += 1) request.responseChunk(token, false, fromMs + i * stepMs);
      },
      end: (nowMs: number) => request.responseChunk(Buffer.from('data: [DONE]\n\n'), true, nowMs),
    };
  };

  it('is sent to its endpoints from then on, and nobody else is', () => {
    const world = isolated();
    const slow = answering(world, '192.0.2.1');
    slow.flow(40, 0, 20);
    for (const address of ['192.0.2.2', '192.0.2.3']) {
      const other = answering(world, address);
      other.flow(300, 0, 20);
      other.end(6_000);
    }
    slow.flow(40, 6_000, 0);
    slow.end(6_000);
    const next = (address: string, tenant = 'a') =>
      serve(world, { headers: from(address), nowMs: 7_000, tenant });
    expect(next('192.0.2.1')).toBe(addressOf(2));
    expect(next('192.0.2.2')).toBe(addressOf(1));
    expect(next('192.0.2.1', 'b')).toBe(addressOf(1));
  });

  it('is told by tick() when nothing comes any more', () => {
    const world = isolated();
    const { request, endpoint } = open(world, {
      headers: from('192.0.2.1'),
      body: { ...streamed, max_tokens: 60 },
    });
    request.responseHeaders(
      {
        status: 200,
        contentType: 'text/event-stream',
        contentEncoding: '',
        upstream: endpoint ?? '',
        endOfStream: false,
      },
      0,
    );
    for (let i = 0; i < 40; i += 1) request.responseChunk(token, false, i * 20);
    for (const address of ['192.0.2.2', '192.0.2.3']) answering(world, address).flow(600, 0, 20);
    request.tick(20_000);
    expect(serve(world, { headers: from('192.0.2.1'), nowMs: 20_000 })).toBe(addressOf(2));
  });
});
