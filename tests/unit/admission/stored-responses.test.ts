/** Follow-ups of stored responses, and the routes that ask for one: without a wire. */
import { describe, expect, it } from 'vitest';
import type { ResponseHead } from '../../../src/admission/edge.ts';
import { explainRequest } from '../../../src/admission/explain.ts';
import { type StoredLifecycle, storedRequestOf } from '../../../src/admission/stored-lifecycle.ts';
import type { ResponseOwner } from '../../../src/conversation/response-owners.ts';
import { type FoundOwner, SharedOwners } from '../../../src/conversation/shared-owners.ts';
import { DEFAULT_COST } from '../../../src/domain/cost.ts';
import type { Release } from '../../../src/queue/types.ts';
import { chatHead, createWorld, type Said, type World } from '../../support/lifecycle.ts';

const ID = 'resp_1';
const A = '10.0.0.1:8000';
const owner = (fields: Partial<ResponseOwner> = {}): ResponseOwner => ({
  tenant: 'a',
  pool: 'main',
  endpoint: A,
  model: 'small',
  asked: 'small',
  tokens: 0,
  ...fields,
});
const responsesHead = (tenant = 'a') => chatHead({ path: '/v1/responses', tenant });
const answer = (fields: Partial<ResponseHead> = {}): ResponseHead => ({
  status: 200,
  contentType: 'application/json',
  contentEncoding: '',
  upstream: A,
  endOfStream: false,
  ...fields,
});
const body = (fields: object = {}) => Buffer.from(JSON.stringify({ model: 'small', input: 'hi', ...fields }));
const statusOf = (said: readonly Said[]): number | undefined =>
  said.flatMap((one) => (one.kind === 'respond' ? [one.response.status] : []))[0];
const codeOf = (said: readonly Said[]): string | undefined =>
  said.flatMap((one) => (one.kind === 'respond' ? [one.response.details] : []))[0];
const sentTo = (said: readonly Said[]): readonly string[] =>
  said.flatMap((one) => (one.kind === 'send-on' ? [...one.request.addresses] : []));

/** Two endpoints, so that there is another one to go to. */
const world = (options: Parameters<typeof createWorld>[0] = {}): World =>
  createWorld({
    ...options,
    change: (config) => ({
      ...config,
      pools: new Map(
        [...config.pools].map(([name, pool]) => [
          name,
          {
            ...pool,
            endpoints: [1, 2].map((n) => ({
              url: `http://10.0.0.${n}:8000`,
              host: `10.0.0.${n}`,
              port: 8_000,
            })),
          },
        ]),
      ),
    }),
  });

function follow(one: World, fields: object = {}, tenant = 'a'): readonly Said[] {
  const { request, said } = one.open();
  request.headers(responsesHead(tenant), 0);
  request.body(body({ previous_response_id: ID, ...fields }), 0);
  return said;
}

/** A request that is answered with this id. */
function make(
  one: World,
  text: string,
  head: Partial<ResponseHead> = {},
  fields: object = {},
  tenant = 'a',
): void {
  const { request } = one.open();
  request.headers(responsesHead(tenant), 0);
  request.body(body(fields), 0);
  request.responseHeaders(answer(head), 0);
  request.responseChunk(Buffer.from(text), true, 0);
}

function stored(one: World, method: string, path: string, head: Parameters<typeof chatHead>[0] = {}) {
  const said: Said[] = [];
  const edge = {
    keepsBody: true,
    passHeaders: () => said.push({ kind: 'pass-headers' }),
    hold: (forMs: number) => said.push({ kind: 'hold', forMs }),
    respond: (response: Extract<Said, { kind: 'respond' }>['response']) =>
      said.push({ kind: 'respond', response }),
    sendOn: (request: Extract<Said, { kind: 'send-on' }>['request']) =>
      said.push({ kind: 'send-on', request }),
    passResponseHeaders: (mode: 'none' | 'stream', add: Extract<Said, { kind: 'response-headers' }>['add']) =>
      said.push({ kind: 'response-headers', mode, add }),
    passChunk: (replacement: Uint8Array | undefined) => said.push({ kind: 'chunk', replacement }),
  };
  const full = chatHead({ method, path, endOfStream: true, ...head });
  const request = storedRequestOf(one.context, edge, full) as StoredLifecycle;
  request.headers(full, 0);
  return { request, said };
}

describe('an answer', () => {
  const tokens = { usage: { input_tokens: 30, output_tokens: 12, total_tokens: 42 } };

  it('is its tenant’s, with what the conversation has come to', () => {
    const one = world();
    make(one, JSON.stringify({ id: ID, object: 'response', output: [], ...tokens }));
    expect(one.context.owners?.find('a', ID, 0)).toEqual(owner({ tokens: 42 }));
    expect(one.context.owners?.find('b', ID, 0)).toBeUndefined();
  });

  it.each<[string, Partial<ResponseHead>, object]>([
    ['that is not to be stored', {}, { store: false }],
    ['that is compressed', { contentEncoding: 'gzip' }, {}],
    ['that is an error', { status: 400 }, {}],
  ])('%s is nobody’s', (_, head, fields) => {
    const one = world();
    make(one, JSON.stringify({ id: ID, ...tokens }), head, fields);
    expect(one.context.owners?.find('a', ID, 0)).toBeUndefined();
  });

  it('is the first one’s, whoever’s engine gives the same id again', () => {
    const one = world();
    make(one, JSON.stringify({ id: ID, ...tokens }));
    make(one, JSON.stringify({ id: ID, ...tokens }), { upstream: '10.0.0.2:8000' }, {}, 'b');
    expect(one.context.owners?.find('a', ID, 0)).toMatchObject({ endpoint: A });
    expect(one.context.owners?.find('b', ID, 0)).toBeUndefined();
  });
});

describe('a follow-up', () => {
  it('goes to its endpoint alone, also when it is tried again', () => {
    for (const endpoint of [A, '10.0.0.2:8000']) {
      const one = world();
      one.context.owners?.remember(ID, owner({ endpoint }), 0);
      expect([...new Set(sentTo(follow(one)))]).toEqual([endpoint]);
    }
  });

  it('waits for its endpoint though another has room', () => {
    const one = world({ window: 1 });
    one.context.owners?.remember(ID, owner(), 0);
    expect(sentTo(follow(one))).toContain(A);
    const second = follow(one);
    expect([sentTo(second), statusOf(second)]).toEqual([[], undefined]);
  });

  it('is the same 404 for another’s id and for an unknown one', () => {
    const one = world();
    const unknown = follow(one, {}, 'b');
    one.context.owners?.remember(ID, owner(), 0);
    const foreign = follow(one, {}, 'b');
    expect(foreign).toEqual(unknown);
    expect([statusOf(foreign), codeOf(foreign)]).toEqual([404, 'previous_response_not_found']);
  });

  it('counts what is stored as prompt, within its limits', () => {
    const one = world({ limits: { maxContext: 1_000 } });
    one.context.owners?.remember(ID, owner({ tokens: 5_000 }), 0);
    const said = follow(one);
    expect([statusOf(said), codeOf(said)]).toEqual([400, 'context_length_exceeded']);
  });

  it('does not teach what a byte is worth', () => {
    const one = world();
    const before = one.context.predictor.promptTokens('a', 'small', 1_000);
    for (let i = 0; i < 50; i += 1) {
      one.context.owners?.remember(ID, owner({ tokens: 900 }), 0);
      make(
        one,
        JSON.stringify({ id: `resp_x${i}`, usage: { input_tokens: 1_000, output_tokens: 1 } }),
        {},
        {
          previous_response_id: ID,
        },
      );
    }
    expect(one.context.predictor.promptTokens('a', 'small', 1_000)).toBe(before);
  });

  it('says that the engine is away, or gone', () => {
    const one = world();
    one.context.owners?.remember(ID, owner(), 0);
    for (let i = 0; i < 3; i += 1) one.endpoints.setHealthy('http://10.0.0.1:8000', false, 0);
    expect(codeOf(follow(one))).toBe('response_unavailable');
    one.context.hasEndpoint = () => false;
    const said = follow(one);
    expect([statusOf(said), codeOf(said)]).toEqual([404, 'response_lost']);
  });

  it('says that it cannot be known while other replicas cannot be asked', async () => {
    const one = world();
    let told: (found: FoundOwner) => void = () => undefined;
    one.context.owners = {
      find: () =>
        new Promise<FoundOwner>((resolve) => {
          told = resolve;
        }),
      findHere: () => undefined,
      remember: () => undefined,
      ended: () => undefined,
      forget: () => undefined,
    };
    const said = follow(one);
    told('unsure');
    await Promise.resolve();
    await Promise.resolve();
    expect([statusOf(said), codeOf(said)]).toEqual([503, 'response_owner_unknown']);
    const { request, said: other } = one.open();
    request.headers(responsesHead(), 0);
    request.body(body({ previous_response_id: ID }), 0);
    request.streamEnded(0);
    told(owner());
    await Promise.resolve();
    await Promise.resolve();
    expect(sentTo(other)).toEqual([]);
  });

  it('of a model that does not run there is a 400', () => {
    const one = createWorld({
      change: (config) => ({
        ...config,
        pools: new Map(
          [...config.pools].flatMap(([, pool]) => [
            ['main', pool] as const,
            [
              'other',
              {
                ...pool,
                name: 'other',
                endpoints: [{ url: 'http://10.0.0.9:1', host: '10.0.0.9', port: 1 }],
              },
            ] as const,
          ]),
        ),
      }),
    });
    one.context.owners?.remember(
      ID,
      owner({ pool: 'other', endpoint: '10.0.0.9:1', model: 'big', asked: 'big' }),
      0,
    );
    const said = follow(one);
    expect([statusOf(said), codeOf(said)]).toEqual([400, 'previous_response_of_other_model']);
  });

  it('stays with the version or fallback that has its conversation, for whoever asks by the same name', () => {
    const one = createWorld({
      change: (config) => ({
        ...config,
        pools: new Map(
          [...config.pools].flatMap(([, pool]) => [
            ['main', pool] as const,
            [
              'other',
              {
                ...pool,
                name: 'other',
                endpoints: [{ url: 'http://10.0.0.9:1', host: '10.0.0.9', port: 1 }],
              },
            ] as const,
          ]),
        ),
        models: new Map([
          ...config.models,
          ['backup', { name: 'backup', pool: 'other', cost: DEFAULT_COST, fallback: [] }],
        ]),
      }),
    });
    const backup = owner({ pool: 'other', endpoint: '10.0.0.9:1', model: 'backup', asked: 'small' });
    one.context.owners?.remember(ID, backup, 0);
    const said = follow(one);
    expect([...new Set(sentTo(said))]).toEqual(['10.0.0.9:1']);
    // By another name it would be a way to a model that the tenant may not use.
    expect(codeOf(follow(one, { model: 'secret' }))).toBe('previous_response_of_other_model');
    expect(codeOf(follow(one, { model: 'none' }))).toBe('model_not_found');
  });

  it('whose answer comes from another engine does not get that', () => {
    const one = world();
    one.context.owners?.remember(ID, owner(), 0);
    const { request, said } = one.open();
    request.headers(responsesHead(), 0);
    request.body(body({ previous_response_id: ID }), 0);
    request.responseHeaders(answer({ upstream: '10.0.0.2:8000' }), 0);
    expect(codeOf(said)).toBe('response_unavailable');
    expect(said.some(({ kind }) => kind === 'response-headers')).toBe(false);
  });

  it('is explained: where it would go, or that nobody knows it', () => {
    const one = world();
    const owners = new SharedOwners(undefined, () => 0);
    one.context.owners = owners;
    const question = {
      tenant: 'a',
      path: '/v1/responses',
      body: body({ previous_response_id: ID }),
      header: () => '',
    };
    expect(explainRequest(one.context, question, 0)).toMatchObject({ kind: 'refused', status: 404 });
    owners.remember(ID, owner({ endpoint: '10.0.0.2:8000', tokens: 700 }), 0);
    const explained = explainRequest(one.context, question, 0);
    expect(JSON.stringify(explained)).toContain('not in the subset');
    expect(explained).toMatchObject({ kind: 'placed' });
    expect(explained.kind === 'placed' && explained.promptTokens).toBeGreaterThan(700);
  });
});

describe('a request for a stored response', () => {
  const all = [
    ['GET', `/v1/responses/${ID}`],
    ['GET', `/v1/responses/${ID}?stream=true`],
    ['DELETE', `/v1/responses/${ID}`],
    ['POST', `/v1/responses/${ID}/cancel`],
    ['GET', `/v1/responses/${ID}/input_items?limit=2`],
  ] as const;

  it.each(all)('%s %s goes to its engine, and costs no tokens', (method, path) => {
    const one = world();
    one.context.owners?.remember(ID, owner({ endpoint: '10.0.0.2:8000' }), 0);
    const { request, said } = stored(one, method, path);
    expect([...new Set(sentTo(said))]).toEqual(['10.0.0.2:8000']);
    expect(one.dispatcher.inFlightOfTenant('a')).toBe(1);
    request.responseHeaders(answer({ upstream: '10.0.0.2:8000' }), 1);
    request.responseChunk(Buffer.from('{"usage":{"input_tokens":9,"output_tokens":9}}'), true, 2);
    request.streamEnded(3);
    expect(one.dispatcher.inFlightOfTenant('a')).toBe(0);
    expect(one.records).toHaveLength(1);
    expect(one.records[0]).toMatchObject({ outcome: 'completed', promptTokens: 0, usageSource: 'none' });
    expect(one.context.holdings.openOf('a')).toBe(0);
    expect(one.context.owners?.find('a', ID, 3) === undefined).toBe(method === 'DELETE');
  });

  it.each(all)('%s %s of another tenant is an unknown one', (method, path) => {
    const one = world();
    const { said: unknown } = stored(one, method, path, { tenant: 'b' });
    one.context.owners?.remember(ID, owner(), 0);
    const { said: foreign } = stored(one, method, path, { tenant: 'b' });
    expect(foreign).toEqual(unknown);
    expect([statusOf(foreign), codeOf(foreign)]).toEqual([404, 'response_not_found']);
    expect(one.context.holdings.openOf('b')).toBe(0);
  });

  it('needs a tenant, takes no body, and counts against its requests', () => {
    const one = world({ limits: { requestsPerMinute: 60, requestBurst: 2 } });
    one.context.owners?.remember(ID, owner(), 0);
    expect(statusOf(stored(one, 'GET', `/v1/responses/${ID}`, { tenant: 'nobody' }).said)).toBe(401);
    expect(statusOf(stored(one, 'GET', `/v1/responses/${ID}`, { endOfStream: false }).said)).toBe(400);
    for (let i = 0; i < 2; i += 1)
      expect(sentTo(stored(one, 'GET', `/v1/responses/${ID}`).said)).not.toEqual([]);
    expect(statusOf(stored(one, 'GET', `/v1/responses/${ID}`).said)).toBe(429);
  });

  it('waits for its tenant’s maxConcurrent, and leaves the queue with its client', () => {
    const one = world({ limits: { maxConcurrent: 1 } });
    one.context.owners?.remember(ID, owner(), 0);
    const first = stored(one, 'GET', `/v1/responses/${ID}`);
    const second = stored(one, 'GET', `/v1/responses/${ID}`);
    const third = stored(one, 'GET', `/v1/responses/${ID}`);
    expect([sentTo(second.said), statusOf(second.said)]).toEqual([[], undefined]);
    second.request.streamEnded(1);
    expect(one.dispatcher.queuedOfTenant('a')).toBe(1);
    first.request.streamEnded(2);
    expect(sentTo(third.said)).not.toEqual([]);
    third.request.streamEnded(3);
    expect(one.dispatcher.inFlightOfTenant('a')).toBe(0);
    expect(one.records.map(({ outcome, reason }) => `${outcome} ${reason}`)).toEqual([
      'aborted queued',
      'aborted before-first-token',
      'aborted before-first-token',
    ]);
  });

  it('is not held up by engines that are full', () => {
    const one = world({ window: 1 });
    one.context.owners?.remember(ID, owner(), 0);
    follow(one);
    expect(sentTo(stored(one, 'GET', `/v1/responses/${ID}`).said)).not.toEqual([]);
  });

  it('does not get another engine’s answer', () => {
    const one = world();
    one.context.owners?.remember(ID, owner(), 0);
    const { request, said } = stored(one, 'GET', `/v1/responses/${ID}`);
    request.responseHeaders(answer({ upstream: '10.0.0.2:8000' }), 0);
    expect(codeOf(said)).toBe('response_unavailable');
    expect(one.dispatcher.inFlightOfTenant('a')).toBe(0);
  });

  it.each([
    [{ details: 'lua_response', status: 502 }, 'broke-twice', { broken: 'reset' }],
    [{ upstream: '', status: 504 }, 'envoy', { broken: 'timeout' }],
    [{ upstream: '', status: 503 }, 'envoy', { broken: 'reset' }],
    [{ status: 500 }, 'engine', { status: 500 }],
  ])('says of its endpoint what became of it: %j', (fields, reason, result) => {
    const one = world();
    const results: unknown[] = [];
    const { dispatcher } = one.context;
    one.context.dispatcher = {
      offer(waiting, nowMs) {
        const heard = Object.assign(Object.create(waiting) as typeof waiting, {
          onRelease(release: Release, at: number) {
            const { slot } = release;
            const ended = slot.ended.bind(slot);
            slot.ended = (ending, endedMs) => {
              results.push(ending);
              ended(ending, endedMs);
            };
            waiting.onRelease(release, at);
          },
        });
        return dispatcher.offer(heard, nowMs);
      },
      canServe: (...ask) => dispatcher.canServe(...ask),
      isFullFor: (...ask) => dispatcher.isFullFor(...ask),
      retryAfterMs: (...ask) => dispatcher.retryAfterMs(...ask),
      explain: (...ask) => dispatcher.explain(...ask),
    };
    one.context.owners?.remember(ID, owner(), 0);
    const { request } = stored(one, 'GET', `/v1/responses/${ID}`);
    request.responseHeaders(answer(fields), 1);
    expect(one.records[0]).toMatchObject({ outcome: 'failed', reason });
    expect(results[0]).toEqual(result);
  });

  it('says how long it waited, when its client leaves', () => {
    const one = world({ limits: { maxConcurrent: 1 } });
    one.context.owners?.remember(ID, owner(), 0);
    stored(one, 'GET', `/v1/responses/${ID}`);
    stored(one, 'GET', `/v1/responses/${ID}`).request.streamEnded(70);
    expect(one.records).toMatchObject([{ reason: 'queued', queueMs: 70 }]);
  });

  it('ends once, whatever comes in which order', () => {
    const events: readonly ((request: StoredLifecycle) => void)[] = [
      (request) => request.responseHeaders(answer(), 1),
      (request) => request.responseHeaders(answer({ status: 404 }), 1),
      (request) => request.responseHeaders(answer({ upstream: '', status: 503 }), 1),
      (request) => request.responseChunk(Buffer.from('x'), true, 1),
      (request) => request.responseComplete(1),
      (request) => request.streamEnded(1),
      (request) => request.tick(),
      (request) => request.body(),
    ];
    for (const first of events) {
      for (const second of events) {
        const one = world();
        one.context.owners?.remember(ID, owner(), 0);
        const { request } = stored(one, 'GET', `/v1/responses/${ID}`);
        first(request);
        second(request);
        request.streamEnded(2);
        expect(one.records).toHaveLength(1);
        expect(one.dispatcher.inFlightOfTenant('a')).toBe(0);
        expect(one.context.holdings.openOf('a')).toBe(0);
      }
    }
  });
});
