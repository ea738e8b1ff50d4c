/** The usage record of a request: who it was, what served it, how long its engine had it, and what that cost. */
import { describe, expect, it } from 'vitest';
import type { ResponseHead } from '../../../src/admission/edge.ts';
import { runTimes } from '../../../src/admission/run-times.ts';
import type { Config } from '../../../src/config/config.ts';
import { UNLISTED_MODEL } from '../../../src/domain/names.ts';
import { RECORD_ID_SEED_BYTES, RecordIds } from '../../../src/usage/record-ids.ts';
import type { UsageRecord } from '../../../src/usage/usage-record.ts';
import { chatHead, createWorld, type World, type WorldOptions } from '../../support/lifecycle.ts';

const FIRST = '10.0.0.1:8000';
const SECOND = '10.0.0.2:8000';
const bytes = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value));
const event = (value: unknown): Uint8Array => Buffer.from(`data: ${JSON.stringify(value)}\n\n`);
const ask = (fields: Record<string, unknown> = {}): Uint8Array =>
  bytes({ model: 'small', messages: [{ role: 'user', content: 'hello' }], ...fields });
const head = (fields: Partial<ResponseHead> = {}): ResponseHead => ({
  status: 200,
  contentType: 'application/json',
  contentEncoding: '',
  upstream: FIRST,
  endOfStream: false,
  ...fields,
});
const SSE = head({ contentType: 'text/event-stream' });
const USAGE = { prompt_tokens: 12, completion_tokens: 8 };
const content = (text: string): Uint8Array => event({ choices: [{ index: 0, delta: { content: text } }] });

const withTier = (config: Config): Config => ({
  ...config,
  tenants: new Map([...config.tenants].map(([name, tenant]) => [name, { ...tenant, tier: 'gold' }])),
});
const changed = (options: WorldOptions, change: (config: Config) => Config): World =>
  createWorld({ ...options, change });
const oneOf = ({ records }: World): UsageRecord => {
  const [record] = records;
  if (record === undefined || records.length > 1) throw new Error(`${records.length} records`);
  return record;
};

/** A whole answer after 300 ms, of which the head came after 250. */
function answered(world: World, body: Uint8Array, usage: unknown = USAGE, upstream = FIRST): UsageRecord {
  const { request } = world.open();
  request.headers(chatHead(), 0);
  request.body(body, 0);
  request.responseHeaders(head({ upstream }), 250);
  request.responseChunk(bytes({ choices: [{ message: { content: 'hi' } }], usage }), true, 300);
  request.streamEnded(310);
  return oneOf(world);
}

/** A stream: sent at 0, its first token at 100, its last at 500. */
function streamed(world: World, fields: Record<string, unknown> = {}): UsageRecord {
  const { request } = world.open();
  request.headers(chatHead(), 0);
  request.body(ask({ stream: true, stream_options: { include_usage: true }, ...fields }), 0);
  request.responseHeaders(SSE, 60);
  request.responseChunk(content('a'), false, 100);
  request.responseChunk(content('b'), false, 500);
  request.responseChunk(event({ choices: [], usage: USAGE }), false, 500);
  request.responseChunk(Buffer.from('data: [DONE]\n\n'), true, 500);
  request.streamEnded(600);
  return oneOf(world);
}

it('ids are bounded and of visible ASCII, whoever made them: there are gateways that keep those of clients', () => {
  const world = createWorld();
  const { request } = world.open();
  const long = 'x'.repeat(60_000);
  request.headers(chatHead({ requestId: `\u202e\u001b[2J${long}`, clientRequestId: `\ne\u0301${long}` }), 0);
  request.streamEnded(10);
  const { requestId, clientRequestId } = oneOf(world);
  expect(requestId).toBe(`??[2J${'x'.repeat(123)}`);
  expect(clientRequestId).toBe(`?e?${'x'.repeat(125)}`);
});

describe('who it was', () => {
  it('has an id of Fairlane’s own and the time of day, whatever a client calls it', () => {
    const world = createWorld();
    const ids = new RecordIds(new Uint8Array(RECORD_ID_SEED_BYTES));
    world.context.stamp = () => ({ id: ids.next(1_796_000_000_000), endedMs: 1_796_000_000_000 });
    const { request } = world.open();
    request.headers(chatHead({ clientRequestId: '01930000-0000-7000-8000-000000000001' }), 0);
    request.streamEnded(5);
    const record = oneOf(world);
    expect(record.id).toMatch(/^[0-9a-f-]{36}$/);
    expect(record.id).not.toBe(record.clientRequestId);
    expect(record.endedMs).toBe(1_796_000_000_000);
  });

  it('has neither where nobody asks', () => {
    expect(answered(createWorld(), ask())).not.toHaveProperty('id');
  });

  it('has its tenant’s tier, where that has one', () => {
    expect(answered(changed({}, withTier), ask()).tier).toBe('gold');
    expect(answered(createWorld(), ask())).not.toHaveProperty('tier');
  });
});

describe('what served it', () => {
  const withAlias = (config: Config): Config => ({ ...config, aliases: new Map([['best', 'small']]) });
  const withAdapter = (config: Config): Config => ({
    ...config,
    adapters: new Map([['legal', { name: 'legal', base: 'small' }]]),
  });

  it('is a model, and the name that was asked for where that is another one', () => {
    expect(answered(changed({}, withAlias), ask({ model: 'best' }))).toMatchObject({
      model: 'small',
      modelAsked: 'best',
    });
    expect(answered(createWorld(), ask())).not.toHaveProperty('modelAsked');
  });

  it('is an adapter too', () => {
    const record = answered(changed({}, withAdapter), ask({ model: 'legal' }));
    expect(record).toMatchObject({ model: 'legal', adapter: 'legal' });
    expect(answered(createWorld(), ask())).not.toHaveProperty('adapter');
  });

  it('repeats no client’s invention', () => {
    const world = createWorld();
    const { request } = world.open();
    request.headers(chatHead(), 0);
    request.body(ask({ model: 'x'.repeat(5_000) }), 0);
    const record = oneOf(world);
    expect(JSON.stringify(record)).not.toContain('xxx');
    expect(UNLISTED_MODEL).not.toBe(record.model);
  });

  it('is an engine, and another one than was chosen after a retry', () => {
    const two = (config: Config): Config => {
      const [[name, pool] = [undefined, undefined]] = config.pools;
      if (pool === undefined) throw new Error('no pool');
      const endpoints = ['10.0.0.1', '10.0.0.2'].map((host) => ({
        url: `http://${host}:8000`,
        host,
        port: 8_000,
      }));
      return { ...config, pools: new Map([[name, { ...pool, endpoints }]]) };
    };
    const world = changed({}, two);
    world.context.engineAt = (_pool, address) => (address === SECOND ? 'sglang' : 'vllm');
    const record = answered(world, ask(), USAGE, SECOND);
    expect(record).toMatchObject({
      endpoint: `http://${SECOND}`,
      address: SECOND,
      engine: 'sglang',
      retries: 1,
    });
    expect(answered(createWorld(), ask())).not.toHaveProperty('retries');
  });
});

describe('how long its engine had it', () => {
  it('is its prefill and its decode, and what it held of the KV cache meanwhile', () => {
    const { prefillMs, decodeMs, kvTokenSeconds } = streamed(createWorld());
    expect([prefillMs, decodeMs]).toEqual([100, 400]);
    expect(kvTokenSeconds).toBeCloseTo((12 * 500 + 4 * 400) / 1_000, 9);
  });

  it('is estimated of an answer in one piece: the time that such a prompt takes is prefill', () => {
    const { prefillMs = Number.NaN, decodeMs = Number.NaN } = answered(createWorld(), ask());
    expect(prefillMs).toBeGreaterThan(0);
    expect(prefillMs).toBeLessThan(250);
    expect(prefillMs + decodeMs).toBe(250);
  });

  it('is prefill alone while no token was seen of a stream', () => {
    const world = createWorld();
    const { request } = world.open();
    request.headers(chatHead(), 0);
    request.body(ask({ stream: true }), 0);
    request.streamEnded(400);
    expect(oneOf(world)).toMatchObject({ outcome: 'aborted', prefillMs: 400, decodeMs: 0 });
  });

  it('is not there for what no engine had', () => {
    const world = createWorld();
    const { request } = world.open();
    request.headers(chatHead(), 0);
    request.body(ask({ model: 'nothing' }), 0);
    for (const member of [
      'prefillMs',
      'decodeMs',
      'kvTokenSeconds',
      'gpuSeconds',
      'cost',
      'engine',
      'retries',
    ]) {
      expect(oneOf(world)).not.toHaveProperty(member);
    }
  });

  it('is never negative, nor longer than it was there', () => {
    const seen = { promptTokens: 10, completionTokens: 10 };
    const times = [
      runTimes({ ...seen, firstTokenMs: 50, computedMs: 20, expectedPrefillMs: undefined }),
      runTimes({ ...seen, firstTokenMs: undefined, computedMs: -5, expectedPrefillMs: 30 }),
      runTimes({ ...seen, firstTokenMs: -1, computedMs: 10, expectedPrefillMs: undefined }),
    ];
    expect(times.map(({ prefillMs, decodeMs }) => [prefillMs, decodeMs])).toEqual([
      [20, 0],
      [0, 0],
      [0, 10],
    ]);
  });
});

describe('what it thought', () => {
  it.each([
    [{ ...USAGE, completion_tokens_details: { reasoning_tokens: 5 } }, 5],
    [{ ...USAGE, completion_tokens_details: { reasoning_tokens: 5_000 } }, 8],
    [{ ...USAGE, completion_tokens_details: { reasoning_tokens: 0 } }, undefined],
    [{ ...USAGE, completion_tokens_details: { reasoning_tokens: -1 } }, undefined],
    [{ ...USAGE, completion_tokens_details: { reasoning_tokens: '5' } }, undefined],
    [USAGE, undefined],
  ])('is a part of its output: %j', (usage, expected) => {
    expect(answered(createWorld(), ask(), usage).reasoningTokens).toBe(expected);
  });
});

describe('what it cost', () => {
  const priced = (config: Config): Config => ({
    ...config,
    pools: new Map(
      [...config.pools].map(([name, pool]) => [
        name,
        { ...pool, gpuPrice: { perHour: { currency: 'EUR', pico: 3_600_000_000_000n }, per: 'endpoint' } },
      ]),
    ),
  });

  it('is its part of its endpoint’s busy time, and that by the hour’s price', () => {
    const record = streamed(changed({}, priced));
    expect(record.gpuSeconds).toBeCloseTo(0.5, 9);
    expect(record.cost).toEqual({ currency: 'EUR', pico: 500_000_000n });
    expect(streamed(createWorld())).not.toHaveProperty('cost');
  });

  it('is there also for what failed: its engine was busy with it', () => {
    const world = changed({}, priced);
    const { request } = world.open();
    request.headers(chatHead(), 0);
    request.body(ask(), 0);
    request.responseHeaders(head({ status: 500, endOfStream: true }), 40);
    expect(oneOf(world)).toMatchObject({ outcome: 'failed', gpuSeconds: 0.04 });
  });

  it('is the endpoint’s whole time, of all requests together', () => {
    const world = createWorld();
    const runs = [world.open(), world.open()];
    for (const { request } of runs) request.headers(chatHead(), 0);
    runs[0]?.request.body(ask({ stream: true }), 0);
    runs[1]?.request.body(ask(), 100);
    for (const [i, { request }] of runs.entries()) {
      request.responseHeaders(SSE, 150);
      request.responseChunk(content('a'), false, 200);
      request.streamEnded(300 + 100 * i);
    }
    const sum = world.records.reduce((all, { gpuSeconds = 0 }) => all + gpuSeconds, 0);
    expect(sum).toBeCloseTo(0.4, 9);
    expect(world.endpoints.list(400)[0]?.busyMs).toBeCloseTo(400, 6);
  });
});
