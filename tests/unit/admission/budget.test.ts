/** Requests of a tenant with a budget: what they are predicted to cost is reserved, charged as they stream, and settled. */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { EngineRun } from '../../../src/admission/engine-run.ts';
import { explainRequest } from '../../../src/admission/explain.ts';
import { explanationText } from '../../../src/admission/explain-text.ts';
import type { Limits } from '../../../src/config/config.ts';
import type { PriceBook } from '../../../src/usage/price-book.ts';
import { chatHead, createWorld, type Said, type World } from '../../support/lifecycle.ts';

const NANO = 1e9;
const NOVEMBER_30 = Date.UTC(2026, 10, 30, 12);

/** 1 EUR for a prompt token, 2 for an output token. */
const priced = (asked: unknown[] = []): PriceBook => ({
  priceOf(use, unixMs) {
    asked.push([use, unixMs]);
    const pico = BigInt(use.promptTokens + 2 * use.completionTokens) * 10n ** 12n;
    return { currency: 'EUR', pico };
  },
});
function worldWith(limits: Partial<Limits>, prices: PriceBook | null = priced()): World {
  const world = createWorld({ limits, unixMs: NOVEMBER_30 });
  if (prices !== null) world.context.prices = prices;
  world.context.unixMs = () => NOVEMBER_30;
  return world;
}
const body = (fields: object): Buffer =>
  Buffer.from(
    JSON.stringify({ model: 'small', messages: [{ role: 'user', content: 'hello there' }], ...fields }),
  );
function run(world: World, fields: object = { max_tokens: 100 }) {
  const { request, said } = world.open();
  request.headers(chatHead(), 0);
  request.body(body(fields), 0);
  return { request, said };
}
const ANSWER = {
  status: 200,
  contentType: 'application/json',
  contentEncoding: '',
  upstream: '10.0.0.1:8000',
  endOfStream: false,
};
const usage = (prompt: number, completion: number): Buffer =>
  Buffer.from(
    JSON.stringify({ choices: [], usage: { prompt_tokens: prompt, completion_tokens: completion } }),
  );
const budget = (units: number) => ({ budgetPerMonth: { currency: 'EUR', nano: units * NANO } });
const left = (world: World): number =>
  (world.tenants.get('a')?.limits.budget(0)?.remaining ?? Number.NaN) / NANO;
const responded = (said: readonly Said[]) => {
  const last = said.at(-1);
  if (last?.kind !== 'respond') throw new Error(`expected a refusal, got ${last?.kind}`);
  return last.response;
};
/** What the end charges. */
const billed = (units: number | undefined): void => {
  vi.spyOn(EngineRun.prototype, 'bill').mockReturnValue(
    units === undefined ? {} : { price: { currency: 'EUR', pico: BigInt(units) * 10n ** 12n } },
  );
};

afterEach(() => {
  vi.restoreAllMocks();
});

describe('a budget', () => {
  it('that is spent refuses with 429 until the next month, in its own words', () => {
    billed(990);
    const world = worldWith(budget(1_000));
    const first = run(world);
    first.request.responseHeaders(ANSWER, 0);
    first.request.responseChunk(usage(5, 5), true, 0);
    expect(left(world)).toBe(10);
    const { status, body: text, headers } = responded(run(world).said);
    expect(status).toBe(429);
    expect(JSON.parse(text)).toMatchObject({
      error: {
        code: 'insufficient_quota',
        type: 'insufficient_quota',
        message:
          'You exceeded your budget of 1000.00 EUR a month. It begins anew with the next month, in UTC.',
      },
    });
    expect(Object.fromEntries(headers)).toMatchObject({
      'x-should-retry': 'false',
      'x-ratelimit-limit-budget-month': '1000.00 EUR',
      'x-ratelimit-remaining-budget-month': '10.00 EUR',
      'x-ratelimit-reset-budget-month': '720m0s',
    });
    expect(world.records.at(-1)).toMatchObject({ outcome: 'refused', reason: 'insufficient_quota' });
  });

  it('that only warns lets them pass', () => {
    billed(990);
    const world = worldWith({ ...budget(1), onBudgetSpent: 'warn' });
    for (let i = 0; i < 3; i += 1) {
      const { request, said } = run(world);
      expect(said.at(-1)?.kind).toBe('send-on');
      request.responseHeaders(ANSWER, 0);
      request.responseChunk(usage(5, 5), true, 0);
    }
    expect(world.tenants.get('a')?.limits.monthUses()).toMatchObject([{ used: 2_970 * NANO }]);
  });

  it('has reserved the predicted price, and gets all of it back where nothing is charged', () => {
    billed(undefined);
    const world = worldWith(budget(10_000));
    const { request } = run(world);
    const outputTokens = world.context.predictor.outputTokens('a', 'small', 100);
    expect(left(world)).toBeLessThan(10_000);
    expect(10_000 - left(world)).toBeGreaterThanOrEqual(2 * outputTokens);
    request.streamEnded(1);
    expect(left(world)).toBe(10_000);
  });

  it('is charged while an answer streams longer than predicted', () => {
    billed(7);
    const world = worldWith(budget(100_000));
    const { request } = run(world, { stream: true });
    const reserved = 100_000 - left(world);
    request.responseHeaders({ ...ANSWER, contentType: 'text/event-stream' }, 0);
    const token = Buffer.from(
      `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content: 'word ' } }] })}\n\n`,
    );
    for (let i = 0; i < 5_000; i += 1) request.responseChunk(token, false, i);
    const streamed = 100_000 - left(world);
    expect(streamed).toBeGreaterThan(Math.max(reserved, 2 * 4_900));
    request.streamEnded(5_000);
    expect(left(world)).toBe(99_993);
  });

  it('asks for prices only where there is one', () => {
    const asked: unknown[] = [];
    run(worldWith({ tokensPerMonth: 1_000_000 }, priced(asked)));
    expect(asked).toEqual([]);
    run(worldWith(budget(10_000), priced(asked)));
    expect(asked).toMatchObject([
      [{ tenant: 'a', model: 'small', completionTokens: 0 }, NOVEMBER_30],
      [{ tenant: 'a', model: 'small' }, NOVEMBER_30],
    ]);
  });

  it('without prices, or for a model without one, refuses nothing', () => {
    for (const prices of [null, { priceOf: () => undefined }]) {
      const world = worldWith(budget(1), prices);
      expect(run(world).said.at(-1)?.kind).toBe('send-on');
      expect(left(world)).toBe(1);
    }
  });

  it('is explained', () => {
    const world = worldWith(budget(1));
    const question = {
      tenant: 'a',
      path: '/v1/chat/completions',
      body: body({ max_tokens: 100 }),
      header: () => '',
    };
    const text = explanationText(explainRequest(world.context, question, 0));
    expect(text).toContain('You exceeded your budget of 1.00 EUR a month');
    expect(text).toContain('1.00 EUR of 1.00 EUR budget this month left');
    expect(left(world)).toBe(1);
  });
});
