/** What a request is charged, in money: what an engine computed, by the prices of its end. */
import { describe, expect, it } from 'vitest';
import type { PriceEntry, PricesConfig } from '../../../src/config/prices.ts';
import { currentPrices } from '../../../src/service/prices.ts';
import type { UsageRecord } from '../../../src/usage/usage-record.ts';
import { chatHead, createWorld, type World } from '../../support/lifecycle.ts';

const entry = (own: Partial<PriceEntry>): PriceEntry => ({
  fromMs: Number.NEGATIVE_INFINITY,
  currency: 'EUR',
  prompt: 0n,
  cachedPrompt: 0n,
  completion: 0n,
  request: 0n,
  image: 0n,
  ...own,
});

/** A token of a prompt is 1, one that is cached 0.5, one of the output 10, a request 1,000; all in 10^-6. */
const PRICE = entry({
  prompt: 10n ** 12n,
  cachedPrompt: 5n * 10n ** 11n,
  completion: 10n ** 13n,
  request: 10n ** 9n,
});
const MICRO = 10n ** 6n;

const pricesOf = (...small: readonly PriceEntry[]): PricesConfig => ({
  models: new Map([['small', small]]),
  others: [],
  tenants: new Map([['b', { models: new Map([['small', [entry({ request: 7n })]]]), others: [] }]]),
});

function priced(prices: PricesConfig, options: Parameters<typeof createWorld>[0] = {}): World {
  const world = createWorld(options);
  world.context.prices = currentPrices(() => ({ prices }));
  world.context.unixMs = () => 5_000;
  return world;
}

const USAGE = { prompt_tokens: 90, completion_tokens: 20, prompt_tokens_details: { cached_tokens: 40 } };

interface Ask {
  readonly tenant?: string;
  readonly model?: string;
  readonly stream?: boolean;
  readonly status?: number;
  readonly answer?: string;
  /** The client goes before the answer. */
  readonly leaves?: 'queued' | 'before' | 'within';
}

function recordOf(world: World, ask: Ask = {}): UsageRecord {
  const { tenant = 'a', model = 'small', stream = false, status = 200, leaves } = ask;
  const { request } = world.open();
  const body = { model, stream, max_tokens: 100, messages: [{ role: 'user', content: 'x'.repeat(400) }] };
  request.headers(chatHead({ tenant }), 0);
  request.body(Buffer.from(JSON.stringify(body)), 0);
  if (leaves === 'before' || leaves === 'queued') request.streamEnded(1);
  else {
    const type = stream ? 'text/event-stream' : 'application/json';
    const head = {
      status,
      contentType: type,
      contentEncoding: '',
      upstream: '10.0.0.1:8000',
      endOfStream: false,
    };
    request.responseHeaders(head, 1);
    const whole = JSON.stringify({ choices: [{ index: 0, message: { content: 'hello' } }], usage: USAGE });
    request.responseChunk(Buffer.from(ask.answer ?? whole), leaves === undefined, 2);
    request.streamEnded(3);
  }
  const record = world.records.at(-1);
  if (record === undefined) throw new Error('no record');
  return record;
}

describe('a request', () => {
  it('that completed is charged what its engine counted, and for itself', () => {
    expect(recordOf(priced(pricesOf(PRICE))).price).toEqual({
      currency: 'EUR',
      pico: (50n + 20n + 200n + 1_000n) * MICRO,
    });
  });

  it('is charged by the prices of its tenant, at its end', () => {
    const prices = pricesOf(
      entry({ request: 1n }),
      entry({ request: 2n, fromMs: 5_000 }),
      entry({ fromMs: 5_001 }),
    );
    expect(recordOf(priced(prices)).price?.pico).toBe(2n);
    expect(recordOf(priced(prices), { tenant: 'b' }).price?.pico).toBe(7n);
  });

  it('is charged by the prices of the very time that its record has', () => {
    // A new price each millisecond, and a clock that goes on with each look at it.
    const world = priced(
      pricesOf(...Array.from({ length: 50 }, (_, ms) => entry({ fromMs: ms, request: BigInt(ms) }))),
    );
    let ms = 0;
    world.context.unixMs = () => (ms += 1);
    world.context.stamp = (endedMs = world.context.unixMs?.() ?? 0) => ({ id: 'one', endedMs });
    const { price, endedMs } = recordOf(world);
    expect(price?.pico).toBe(BigInt(endedMs ?? 0));
    expect(endedMs).toBeGreaterThan(0);
  });

  it('is charged as an adapter’s, or by its base', () => {
    const change: NonNullable<Parameters<typeof createWorld>[0]>['change'] = (config) => ({
      ...config,
      adapters: new Map([['legal', { name: 'legal', base: 'small' }]]),
    });
    const prices = pricesOf(entry({ request: 3n }));
    const own = { ...prices, models: new Map(prices.models).set('legal', [entry({ request: 4n })]) };
    expect(recordOf(priced(prices, { change }), { model: 'legal' }).price?.pico).toBe(3n);
    expect(recordOf(priced(own, { change }), { model: 'legal' }).price?.pico).toBe(4n);
  });

  it('whose model has no price is free, and so is all without prices', () => {
    expect(recordOf(priced(pricesOf(PRICE)), { model: 'secret' })).not.toHaveProperty('price');
    expect(recordOf(createWorld())).not.toHaveProperty('price');
  });

  it('that an engine had and whose client left is charged what was computed', () => {
    const { price, outcome, promptTokens } = recordOf(priced(pricesOf(PRICE)), { leaves: 'before' });
    expect([outcome, price?.currency]).toEqual(['aborted', 'EUR']);
    expect(price?.pico).toBeGreaterThanOrEqual((1_000n + BigInt(promptTokens)) * MICRO);
    const event = 'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n';
    const within = recordOf(priced(pricesOf(PRICE)), { leaves: 'within', stream: true, answer: event });
    expect([within.outcome, within.price === undefined]).toEqual(['aborted', false]);
  });

  it.each<[string, Ask]>([
    ['refused by its engine', { status: 400 }],
    ['failed', { status: 500 }],
    ['answered with an error alone', { answer: '{"error":{"message":"no","code":500}}' }],
    ['for a model that there is not', { model: 'nothing' }],
  ])('%s is free', (_, ask) => {
    const record = recordOf(priced(pricesOf(PRICE)), ask);
    expect(record.outcome).not.toBe('completed');
    expect(record).not.toHaveProperty('price');
  });

  it('that still waits when its client leaves is free', () => {
    const world = priced(pricesOf(PRICE), { window: 1, limits: { maxConcurrent: 1 } });
    const { request } = world.open();
    request.headers(chatHead(), 0);
    request.body(
      Buffer.from(JSON.stringify({ model: 'small', messages: [{ role: 'user', content: 'x' }] })),
      0,
    );
    const waiting = recordOf(world, { leaves: 'queued' });
    expect([waiting.outcome, waiting.reason]).toEqual(['aborted', 'queued']);
    expect(waiting).not.toHaveProperty('price');
  });
});

describe('other prices in a reload', () => {
  it('count for what ends from then on', () => {
    let prices = pricesOf(entry({ request: 1n }));
    const book = currentPrices(() => ({ prices }));
    const use = { tenant: 'a', model: 'small', promptTokens: 1, cachedTokens: 0, completionTokens: 0 };
    const before = book.priceOf(use, 0)?.pico;
    prices = pricesOf(entry({ request: 2n }));
    expect([before, book.priceOf(use, 0)?.pico]).toEqual([1n, 2n]);
    expect(currentPrices(() => ({})).priceOf(use, 0)).toBeUndefined();
  });
});
