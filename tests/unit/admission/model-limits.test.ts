/** Requests within the limits of their key and their model. */
import { describe, expect, it } from 'vitest';
import { limitsWithin } from '../../../src/admission/model-limits.ts';
import type { Config, Limits } from '../../../src/config/config.ts';
import type { ApiError } from '../../../src/domain/api-error.ts';
import { askModels, chatHead, createWorld, type World, type WorldOptions } from '../../support/lifecycle.ts';

const NOVEMBER_28 = Date.UTC(2026, 10, 28);
const part = (limits: Partial<Limits>): Limits => ({ weight: 1, maxOutputs: 16, maxQueued: 10, ...limits });
const ofModel = (model: string, limits: Partial<Limits>): Partial<Limits> => ({
  byModel: new Map([[model, part(limits)]]),
});
const ofKey = (limits: Partial<Limits>): Partial<Limits> => ({ byKey: new Map([['key-1', part(limits)]]) });

/** Tenants `a` and `b` have the keys key-1 and key-2; `best` is an alias of small. */
const worldWith = (limits: Partial<Limits>, options: WorldOptions = {}): World =>
  createWorld({
    limits,
    unixMs: NOVEMBER_28,
    ...options,
    change(config) {
      const keys = ['key-1', 'key-2'].map((id) => ({ id, secret: { kind: 'plain', value: id } as const }));
      const tenants = [...config.tenants.values()].map((one) => [one.name, { ...one, keys }] as const);
      const next = { ...config, tenants: new Map(tenants), aliases: new Map([['best', 'small']]) };
      return options.change?.(next) ?? next;
    },
  });

interface Asked {
  readonly model?: string;
  readonly keyId?: string;
  readonly content?: string;
  readonly max_tokens?: number;
}
function ask(
  world: World,
  { keyId = 'key-2', model = 'small', content = 'hi', max_tokens = 10 }: Asked = {},
) {
  const { request, said } = world.open();
  const body = JSON.stringify({ model, max_tokens, messages: [{ role: 'user', content }] });
  request.headers(chatHead({ keyId }), 0);
  request.body(Buffer.from(body), 0);
  return { request, said, last: said.at(-1) };
}
type Done = ReturnType<typeof ask>;

const isSent = ({ last }: Done): boolean => last?.kind === 'send-on';
function refusalOf({ last }: Done): { readonly error: ApiError; readonly headers: Record<string, string> } {
  if (last?.kind !== 'respond') throw new Error(`not refused: ${last?.kind}`);
  const { error } = JSON.parse(last.response.body) as { error: ApiError };
  return { error, headers: Object.fromEntries(last.response.headers) };
}
/** Sent, and answered with so many tokens. */
function answered(done: Done, prompt_tokens: number, completion_tokens: number): Record<string, string> {
  const { request, said } = done;
  request.responseHeaders(
    {
      status: 200,
      contentType: 'application/json',
      contentEncoding: '',
      upstream: '10.0.0.1:8000',
      endOfStream: false,
    },
    1,
  );
  const usage = { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens };
  const body = { choices: [{ index: 0, message: { content: 'x' } }], usage };
  request.responseChunk(Buffer.from(JSON.stringify(body)), true, 1);
  const told = said.find(({ kind }) => kind === 'response-headers');
  return told?.kind === 'response-headers' ? Object.fromEntries(told.add) : {};
}

describe('a request with a key that has limits', () => {
  it('is refused by the key’s request bucket at its headers, and leaves the tenant’s as it was', () => {
    const world = worldWith({ requestsPerMinute: 10, ...ofKey({ requestsPerMinute: 60, requestBurst: 1 }) });
    expect(isSent(ask(world, { keyId: 'key-1' }))).toBe(true);
    const { error, headers } = refusalOf(ask(world, { keyId: 'key-1' }));
    expect(error).toMatchObject({ code: 'rate_limit_exceeded', type: 'requests' });
    expect(error.message).toBe(
      'Rate limit reached for this key on requests per min (RPM): Limit 60. Please try again in 1s.',
    );
    expect(headers).toMatchObject({
      'retry-after': '1',
      'x-ratelimit-limit-requests': '60',
      'x-ratelimit-remaining-requests': '0',
    });
    expect(world.records.at(-1)).toMatchObject({ reason: 'requests_per_minute', keyId: 'key-1' });
    expect(world.tenants.get('a')?.limits.requests(0)?.remaining).toBe(9);
    expect(isSent(ask(world, { keyId: 'key-2' }))).toBe(true);
  });

  it('gives the key’s request back when the tenant has none', () => {
    const world = worldWith({ requestsPerMinute: 1, ...ofKey({ requestsPerMinute: 5 }) });
    ask(world, { keyId: 'key-2' });
    const { error } = refusalOf(ask(world, { keyId: 'key-1' }));
    expect(error.message).toMatch(/^Rate limit reached on requests/);
    const key = [...(world.tenants.get('a')?.limits.parts() ?? [])][1];
    expect(key?.requests(0)).toMatchObject({ limit: 5, remaining: 5 });
  });

  it('is within the key’s tokens, its month, and its longest prompt', () => {
    const short = worldWith(ofKey({ tokensPerMinute: 100 }));
    answered(ask(short, { keyId: 'key-1', content: 'x'.repeat(40), max_tokens: 90 }), 10, 85);
    expect(refusalOf(ask(short, { keyId: 'key-1', content: 'x'.repeat(100) })).error.message).toMatch(
      /^Rate limit reached for this key on tokens per min \(TPM\): Limit 100, Requested \d+\./,
    );
    expect(isSent(ask(short))).toBe(true);
    const spent = worldWith(ofKey({ tokensPerMonth: 100 }));
    answered(ask(spent, { keyId: 'key-1', content: 'x'.repeat(200), max_tokens: 50 }), 50, 50);
    expect(refusalOf(ask(spent, { keyId: 'key-1', content: 'x'.repeat(390) })).error).toMatchObject({
      code: 'insufficient_quota',
      message: expect.stringContaining('your quota of 100 tokens a month for this key.') as string,
    });
    const long = worldWith({ tokensPerMinute: 10_000, ...ofKey({ tokensPerMinute: 100, tokenBurst: 20 }) });
    const { error } = refusalOf(ask(long, { keyId: 'key-1', content: 'x'.repeat(800) }));
    expect(error).toMatchObject({
      code: 'prompt_over_token_burst',
      message: expect.stringContaining('the token limit for this key lets through at most 20') as string,
    });
    expect(isSent(ask(long, { keyId: 'key-1', max_tokens: 5_000 }))).toBe(true);
  });

  it('has the models of that key told within its requests', () => {
    const world = worldWith(ofKey({ requestsPerMinute: 1 }));
    expect(askModels(world, { keyId: 'key-1' }).status).toBe(200);
    const { status, json } = askModels(world, { keyId: 'key-1' });
    expect([status, (json as { error: ApiError }).error.message]).toEqual([
      429,
      expect.stringContaining('for this key'),
    ]);
    expect(askModels(world, { keyId: 'key-2' }).status).toBe(200);
  });
});

describe('a request for a model that has limits', () => {
  it.each(['small', 'best'])('is within them, asked for as %s', (model) => {
    const world = worldWith({ requestsPerMinute: 100, ...ofModel('small', { requestsPerMinute: 1 }) });
    expect(isSent(ask(world, { model }))).toBe(true);
    const { error, headers } = refusalOf(ask(world, { model }));
    expect(error.message).toMatch(
      /^Rate limit reached for model small on requests per min \(RPM\): Limit 1\./,
    );
    expect(headers).toMatchObject({ 'retry-after': '60', 'x-ratelimit-remaining-requests': '0' });
    expect(world.records.at(-1)).toMatchObject({ reason: 'requests_per_minute', outcome: 'refused' });
    // Its body has been read: it is a request of the tenant's.
    expect(world.tenants.get('a')?.limits.requests(0)?.remaining).toBe(98);
    expect(isSent(ask(world, { model: 'secret' }))).toBe(true);
    expect(world.tenants.get('b')?.limits.within(undefined, 'small').requests(0)?.remaining).toBe(1);
  });

  it('has tokens of all or of none, and settles them in all', () => {
    const world = worldWith({
      tokensPerMinute: 1_000,
      byKey: new Map([['key-1', part({ tokensPerMinute: 800 })]]),
      byModel: new Map([['small', part({ tokensPerMinute: 600, tokensPerMonth: 700 })]]),
    });
    const headers = answered(
      ask(world, { keyId: 'key-1', content: 'x'.repeat(800), max_tokens: 300 }),
      200,
      300,
    );
    const [own, key, model] = [...(world.tenants.get('a')?.limits.parts() ?? [])];
    expect([own, key, model].map((one) => one?.tokens(0)?.remaining)).toEqual([500, 300, 100]);
    expect(model?.month(0)?.remaining).toBe(200);
    // What the request reserved, of the tightest.
    expect(headers).toMatchObject({
      'x-ratelimit-limit-tokens': '600',
      'x-ratelimit-limit-tokens-month': '700',
    });
    expect(refusalOf(ask(world, { keyId: 'key-1', max_tokens: 200 })).error.message).toMatch(
      /^Rate limit reached for model small on tokens per min/,
    );
    expect([own, key, model].map((one) => one?.tokens(0)?.remaining)).toEqual([500, 300, 100]);
    expect([own, key, model].map((one) => one?.outstanding())).toEqual([0, 0, 0]);
  });

  it('is no longer than the model’s maxContext', () => {
    const world = worldWith({ maxContext: 1_000, ...ofModel('small', { maxContext: 50 }) });
    expect(refusalOf(ask(world, { max_tokens: 60 })).error).toMatchObject({
      code: 'context_length_exceeded',
      message: expect.stringContaining('The maximum context length is 50 tokens') as string,
    });
    expect(isSent(ask(world, { model: 'secret', max_tokens: 60 }))).toBe(true);
  });

  it('counts for the model that serves, when that is another one’s fallback', () => {
    const change = (config: Config): Config => {
      const small = config.models.get('small');
      const pool = config.pools.get('main');
      if (small === undefined || pool === undefined) throw new Error('no model small');
      const spare = {
        ...pool,
        name: 'spare',
        endpoints: [{ url: 'http://10.0.0.9:8000', host: '10.0.0.9', port: 8000 }],
      };
      return {
        ...config,
        queue: { ...config.queue, maxQueued: 1 },
        pools: new Map([...config.pools, ['spare', spare]]),
        models: new Map([
          ...config.models,
          ['small', { ...small, fallback: ['spare'] }],
          ['spare', { ...small, name: 'spare', pool: 'spare', fallback: [] }],
        ]),
      };
    };
    const both = new Map([
      ['small', part({ requestsPerMinute: 5, tokensPerMinute: 1_000 })],
      ['spare', part({ requestsPerMinute: 1, tokensPerMinute: 1_000 })],
    ]);
    const world = worldWith({ byModel: both }, { change, window: 1 });
    ask(world);
    ask(world);
    expect(world.dispatcher.queuedOf('main')).toBe(1);
    const limits = world.tenants.get('a')?.limits;
    const left = (model: string): number | undefined => limits?.ofModel(model)?.requests(0)?.remaining;
    const tokens = (model: string): number | undefined => limits?.ofModel(model)?.tokens(0)?.remaining;
    const before = tokens('small');
    const done = ask(world, { max_tokens: 30, content: 'x'.repeat(80) });
    expect(isSent(done)).toBe(true);
    expect([left('small'), left('spare'), tokens('small')]).toEqual([3, 0, before]);
    answered(done, 20, 30);
    expect(tokens('spare')).toBe(950);
    // Nothing else is left to try: the fallback's own limit says so.
    expect(refusalOf(ask(world)).error.message).toMatch(/for model spare/);
  });

  it('counts for its model, when a canary of it serves', () => {
    const change = (config: Config): Config => {
      const small = config.models.get('small');
      if (small === undefined) throw new Error('no model small');
      const canary = {
        model: 'secret',
        weight: 1,
        by: 'session',
        sessionHeader: 'x-session-id',
        salt: '',
      } as const;
      return { ...config, models: new Map([...config.models, ['small', { ...small, canary }]]) };
    };
    const world = worldWith(ofModel('small', { requestsPerMinute: 1 }), { change });
    ask(world);
    expect(world.dispatcher.inFlightOfTenant('a')).toBe(1);
    expect(refusalOf(ask(world)).error.message).toMatch(/for model small/);
  });

  it('is put off by nothing but the tenant’s own where it has no body to tell the model', () => {
    const world = worldWith(ofModel('small', { requestsPerMinute: 1 }));
    ask(world);
    expect(askModels(world, { keyId: 'key-2' }).status).toBe(200);
    expect(world.records).toHaveLength(0);
  });
});

describe('what bounds a single request', () => {
  it('is the least of all, and the tenant’s own object where there is nothing else', () => {
    const own = part({
      maxContext: 100,
      tokensPerMinute: 50,
      byModel: new Map([['m', part({ tokensPerMinute: 90, tokenBurst: 5 })]]),
    });
    expect(limitsWithin(own, 'key-1', 'other')).toBe(own);
    expect(limitsWithin(own, undefined, 'm')).toMatchObject({ maxContext: 100, tokenBurst: 5 });
    const both = part({
      byKey: new Map([['k', part({ maxContext: 20, tokensPerMinute: 9 })]]),
      byModel: new Map([['m', part({ maxContext: 30, tokensPerMinute: 90, tokenBurst: 7 })]]),
    });
    expect(limitsWithin(both, 'k', 'm')).toMatchObject({ maxContext: 20, tokenBurst: 7 });
    expect(limitsWithin(both, undefined, 'm')).toMatchObject({ maxContext: 30, tokenBurst: 7 });
  });
});
