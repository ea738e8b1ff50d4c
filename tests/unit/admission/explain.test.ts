import { describe, expect, it } from 'vitest';
import { explainRequest, questionOf } from '../../../src/admission/explain.ts';
import { explanationText } from '../../../src/admission/explain-text.ts';
import type { Limits } from '../../../src/config/config.ts';
import { maxOpenOf } from '../../../src/config/memory-bound.ts';
import { createWorld, type World, type WorldOptions } from '../../support/lifecycle.ts';

const body = (fields: object = {}): string =>
  JSON.stringify({ model: 'small', messages: [{ role: 'user', content: 'hello there' }], ...fields });
const ask = (world: World, fields: object = {}, more: object = {}) =>
  explainRequest(
    world.context,
    {
      tenant: 'a',
      path: '/v1/chat/completions',
      body: Buffer.from(body(fields)),
      header: () => '',
      ...more,
    },
    1_000,
  );
const placed = (world: World, fields: object = {}) => {
  const explanation = ask(world, fields);
  if (explanation.kind !== 'placed') throw new Error(explanation.body);
  return explanation;
};
/** Sends one to an engine, where it stays. */
const send = (world: World, tenant: string): void => {
  const { request } = world.open();
  const head = { method: 'POST', path: '/v1/chat/completions', tenant, requestId: 'r' };
  request.headers({ ...head, contentLength: undefined, endOfStream: false, header: () => '' }, 0);
  request.body(Buffer.from(body()), 0);
};
const twoEndpoints: WorldOptions['change'] = (config) => ({
  ...config,
  pools: new Map(
    [...config.pools].map(([name, pool]) => [
      name,
      {
        ...pool,
        endpoints: [1, 2].map((i) => ({ url: `http://10.0.0.${i}:8000`, host: `10.0.0.${i}`, port: 8000 })),
      },
    ]),
  ),
});

describe('what is explained of another route', () => {
  const explain = (world: World, path: string, text: string, type = 'application/json') =>
    explainRequest(
      world.context,
      {
        tenant: 'a',
        path,
        body: Buffer.from(text),
        header: (name) => (name === 'content-type' ? type : ''),
      },
      1_000,
    );
  const FORM = [
    '--b1\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\nsound',
    '--b1\r\ncontent-disposition: form-data; name="model"\r\n\r\nsmall',
    '--b1--',
  ].join('\r\n');

  it('is where it would go, a form too', () => {
    const world = createWorld({ change: twoEndpoints });
    const type = 'multipart/form-data; boundary=b1';
    expect(explain(world, '/v1/audio/transcriptions', FORM, type)).toMatchObject({
      kind: 'placed',
      model: 'small',
      sequences: 1,
    });
    expect(explain(world, '/v1/audio/transcriptions', FORM)).toMatchObject({ kind: 'refused', status: 415 });
    const ranked = explain(world, '/v2/rerank', '{"model":"small","query":"q","documents":["a"]}');
    expect(ranked).toMatchObject({ kind: 'placed', sequences: 1 });
    const free = explain(world, '/tokenize', '{"model":"small","prompt":"q"}');
    expect(free).toMatchObject({ kind: 'placed', promptTokens: 0, totalTokens: 0, cost: 1 });
  });

  it('is that its engines do not have it, where their kind is known', () => {
    const world = createWorld({ change: twoEndpoints });
    const context = { ...world.context, engineKindOf: () => 'sglang' as const };
    const asked = explain(
      { ...world, context },
      '/v2/rerank',
      '{"model":"small","query":"q","documents":["a"]}',
    );
    expect(asked).toMatchObject({ kind: 'refused', status: 404, reason: 'route_not_served' });
  });
});

describe('what is explained of a request', () => {
  it('is where it would go now, by what, and what else there is', () => {
    const world = createWorld({ change: twoEndpoints });
    send(world, 'b');
    const { queue, ...rest } = placed(world, { max_tokens: 20 });
    expect(rest).toMatchObject({
      tenant: 'a',
      model: 'small',
      pool: 'main',
      lane: 'default',
      sequences: 1,
      limits: {},
    });
    expect(queue).toMatchObject({ belowFairShare: true, atCap: false, queued: 0 });
    expect(queue.choice).toMatchObject({ chosen: '10.0.0.2:8000', fallbacks: ['10.0.0.1:8000'] });
    const text = explanationText(ask(world));
    expect(text).toContain('passes the queue');
    expect(text).toMatch(/10\.0\.0\.2:8000 +chosen +- /);
    expect(text).toMatch(/10\.0\.0\.1:8000 +1st fallback/);
  });

  it('is what then is done with it', () => {
    const world = createWorld({ change: twoEndpoints, window: 3 });
    for (let i = 0; i < 9; i += 1) {
      const { chosen } = placed(world).queue.choice;
      const { request, said } = world.open();
      const head = { method: 'POST', path: '/v1/chat/completions', tenant: 'a', requestId: 'r' };
      request.headers({ ...head, contentLength: undefined, endOfStream: false, header: () => '' }, 1_000);
      request.body(Buffer.from(body()), 1_000);
      const last = said.at(-1);
      expect(last?.kind === 'send-on' && last.request.addresses[0]).toBe(chosen);
      if (i > 2) request.streamEnded(1_000);
    }
  });

  it('changes nothing: no slot, no reservation, no record, no place in the queue, no endpoint’s turn', () => {
    const world = createWorld({
      change: twoEndpoints,
      limits: { requestsPerMinute: 1, tokensPerMinute: 1_000 },
    });
    const first = placed(world);
    for (let i = 0; i < 20; i += 1) expect(placed(world)).toEqual(first);
    expect(first.limits).toMatchObject({ requests: { remaining: 1 }, tokens: { remaining: 1_000 } });
    expect(explanationText(first)).toContain('1 of 1 requests left, 1000 of 1000 tokens left');
    const spent = { ...first, limits: { requests: { limit: 1, remaining: 0.4, resetMs: 9 } } };
    expect(explanationText(spent)).toContain('0 of 1 requests left (429 for now)');
    expect(world.records).toEqual([]);
    expect([...world.occupancy.rows()]).toEqual([]);
    expect(world.dispatcher.queued()).toBe(0);
    expect(world.endpoints.inFlight()).toBe(0);
    expect(world.tenants.get('a')?.limits.outstanding()).toBe(0);
  });

  it('says what keeps endpoints out', () => {
    const world = createWorld({ change: twoEndpoints, window: 1 });
    send(world, 'a');
    send(world, 'a');
    const { endpoints } = world;
    endpoints.setDrained('http://10.0.0.1:8000', true);
    const { queue } = placed(world);
    expect(queue.choice.chosen).toBeUndefined();
    expect(queue.choice.endpoints.map(({ refusedBy }) => refusedBy)).toEqual([
      ['drained', 'at its concurrency limit'],
      ['at its concurrency limit'],
    ]);
    endpoints.setHealthy('http://10.0.0.2:8000', false, 0);
    expect(explanationText(ask(world))).toMatch(/10\.0\.0\.2:8000 .*unhealthy, at its concurrency limit/);
    expect(explanationText(ask(world))).toContain('No endpoint passes all filters now.');
  });

  it('says when it would wait in turn, or for its tenant', () => {
    const world = createWorld({ limits: { maxConcurrent: 2 } });
    send(world, 'a');
    expect(explanationText(ask(world))).toContain('in turn');
    send(world, 'a');
    expect(explanationText(ask(world))).toContain('waits: the tenant has maxConcurrent');
  });

  it('says when it would not even be queued, and then it is not', () => {
    const world = createWorld({
      window: 1,
      change: (config) => ({ ...config, queue: { ...config.queue, maxQueued: 1 } }),
    });
    const { endpoints } = world;
    expect(placed(world).queue.refusal).toBeUndefined();
    send(world, 'a');
    expect(placed(world).queue.refusal).toBeUndefined();
    send(world, 'a');
    expect(ask(world)).toMatchObject({ kind: 'refused', tried: { queue: { refusal: 'queue-full' } } });
    expect(explanationText(ask(world))).toContain('turn     refused (queue-full)');
    send(world, 'a');
    expect(world.dispatcher.queued()).toBe(1);
    endpoints.setHealthy('http://10.0.0.1:8000', false, 0);
    expect(ask(world)).toMatchObject({ kind: 'refused', tried: { queue: { refusal: 'no-endpoint' } } });
  });

  it('is the refusal that the client would get', () => {
    const world = createWorld({ models: new Set(['small']) });
    expect(ask(world, { model: 'secret' })).toMatchObject({ kind: 'refused', status: 404 });
    expect(ask(world, {}, { tenant: 'nobody' })).toMatchObject({ kind: 'refused', status: 401 });
    expect(ask(world, {}, { path: '/v1/nothing' })).toMatchObject({ kind: 'refused', status: 404 });
    expect(ask(world, {}, { body: Buffer.from('{') })).toMatchObject({ kind: 'refused', status: 400 });
    expect(ask(world, {}, { body: Buffer.alloc(0) })).toMatchObject({ kind: 'refused', status: 400 });
    expect(explanationText(ask(world, { n: 99 }))).toMatch(/^It would be refused with 400:\n\{/);
  });

  it('is by scores where the pool has them', () => {
    const world = createWorld({ change: twoEndpoints });
    world.endpoints.reconfigure(
      [1, 2].map((i) => ({ url: `http://10.0.0.${i}:8000`, address: `10.0.0.${i}:8000` })),
      { concurrencyLimit: 4, prefillTokens: 2_048, headroom: 'auto', routing: { profile: 'balanced' } },
    );
    world.context.routingInputsOf = () => ({
      sessionHeader: 'x-session-id',
      zone: undefined,
      readers: undefined,
    });
    const [one] = placed(world).queue.choice.endpoints;
    expect(one?.scores.map(({ scorer }) => scorer)).toContain('prefix');
    expect(one?.filters.map(({ filter }) => filter)).toContain('room');
  });
});

describe('a request that nobody takes now', () => {
  /** Model `small` in pool main, which `secret` in pool spare stands in for. */
  const withSpare: WorldOptions['change'] = (config) => {
    const [main] = config.pools.values();
    if (main === undefined) throw new Error('no pool');
    const endpoints = [{ url: 'http://10.0.1.1:8000', host: '10.0.1.1', port: 8000 }];
    return {
      ...config,
      pools: new Map([...config.pools, ['spare', { ...main, name: 'spare', endpoints }]]),
      models: new Map(
        [...config.models].map(([name, model]) => [
          name,
          name === 'small' ? { ...model, fallback: ['secret'] } : { ...model, pool: 'spare' },
        ]),
      ),
    };
  };

  it('is refused as its client would be, with the endpoints that it was refused by', () => {
    const world = createWorld();
    world.endpoints.setHealthy('http://10.0.0.1:8000', false, 0);
    const explanation = ask(world);
    expect(explanation).toMatchObject({
      kind: 'refused',
      status: 503,
      tried: { pool: 'main', queue: { refusal: 'no-endpoint' } },
    });
    const text = explanationText(explanation);
    expect(text).toMatch(/^It would be refused with 503:\n\{.*no_healthy_endpoint/);
    expect(text).toContain('turn     refused (no-endpoint)');
    expect(text).toMatch(/10\.0\.0\.1:8000 +- +unhealthy/);
  });

  it('is refused when its tenant’s queue is full', () => {
    const world = createWorld({ window: 1, limits: { maxQueued: 1 } });
    send(world, 'b');
    expect(ask(world)).toMatchObject({ kind: 'placed' });
    send(world, 'a');
    const explanation = ask(world);
    expect(explanation).toMatchObject({ kind: 'refused', status: 429 });
    // Before its body is read.
    expect(explanation).not.toHaveProperty('tried');
    expect(world.dispatcher.queued()).toBe(1);
  });

  it('is served by the fallback of its model, which says what was asked for', () => {
    const world = createWorld({ change: withSpare });
    expect(placed(world)).toMatchObject({ asked: 'small', model: 'small', pool: 'main' });
    expect(explanationText(ask(world))).not.toContain('asked for');
    world.endpoints.setHealthy('http://10.0.0.1:8000', false, 0);
    expect(placed(world)).toMatchObject({ asked: 'small', model: 'secret', pool: 'spare' });
    expect(explanationText(ask(world))).toContain('model    secret, asked for as small, in the pool spare');
  });

  it('is served by the fallback when its pool’s queue is full for everybody, as it then is', () => {
    const world = createWorld({
      change: (config) => ({ ...withSpare(config), queue: { ...config.queue, maxQueued: 1 } }),
      window: 1,
    });
    send(world, 'b');
    send(world, 'b');
    expect(world.dispatcher.queued()).toBe(1);
    expect(placed(world)).toMatchObject({ model: 'secret', pool: 'spare' });
    send(world, 'a');
    expect(world.endpointsOf('spare').inFlight()).toBe(1);
  });
});

describe('a tenant over a limit', () => {
  const AUGUST_30 = Date.UTC(2026, 7, 30);
  const refused = (world: World, fields: object = {}, more: object = {}) => {
    const explanation = ask(world, fields, more);
    if (explanation.kind !== 'refused') throw new Error(explanation.kind);
    return explanation;
  };
  /** What a client gets for the same request, at the same time. */
  const answered = (world: World, fields: object = {}) => {
    const { request, said } = world.open();
    const head = { method: 'POST', path: '/v1/chat/completions', tenant: 'a', requestId: 'r' };
    request.headers({ ...head, contentLength: undefined, endOfStream: false, header: () => '' }, 1_000);
    request.body(Buffer.from(body(fields)), 1_000);
    const last = said.at(-1);
    if (last?.kind !== 'respond') throw new Error('it was taken');
    return last.response;
  };
  const limitsOf = (world: World) => {
    const limits = world.tenants.get('a')?.limits;
    if (limits === undefined) throw new Error('no tenant');
    return limits;
  };

  it.each([
    ['requests_per_minute', { requestsPerMinute: 1 }, 429, 60],
    ['tokens_per_minute', { tokensPerMinute: 60, tokenBurst: 60_000 }, 429, undefined],
    // No client is told to wait for two days.
    ['insufficient_quota', { tokensPerMonth: 100 }, 429, undefined],
    ['prompt_over_token_burst', { tokensPerMinute: 1 }, 400, undefined],
    ['tenant_queue_full', { maxConcurrent: 1, maxQueued: 0 }, 429, undefined],
  ] as readonly [string, Partial<Limits>, number, number | undefined][])(
    'is refused for %s, as its next request is',
    (reason, limits, status, seconds) => {
      const world = createWorld({ limits, unixMs: AUGUST_30 });
      if (reason === 'requests_per_minute') void limitsOf(world).takeRequest(1_000);
      else if (reason === 'tenant_queue_full') send(world, 'a');
      else if (reason !== 'prompt_over_token_burst') {
        const all = limits.tokensPerMonth ?? 60_000;
        const reserved = limitsOf(world).reserveTokens(all, 1_000);
        if ('kind' in reserved && reserved.kind === 'reserved') reserved.reservation.settle(all, 1_000);
      }
      const explanation = refused(world);
      expect(explanation).toMatchObject({ status, reason });
      if (seconds !== undefined) expect(explanation.retryAfterMs).toBe(1_000 * seconds);
      const client = answered(world);
      expect([explanation.status, explanation.body]).toEqual([client.status, client.body]);
      expect(explanationText(explanation)).toMatch(new RegExp(`^It would be refused with ${status}:\\n`));
      expect(explanationText(explanation)).toContain(`reason   ${reason}; `);
    },
  );

  it('is told which limit, what is left of each, and when to try again', () => {
    const world = createWorld({
      limits: { requestsPerMinute: 1, tokensPerMonth: 100 },
      unixMs: AUGUST_30,
    });
    void limitsOf(world).takeRequest(1_000);
    const text = explanationText(refused(world), Date.UTC(2026, 7, 30, 12));
    expect(text).toContain('reason   requests_per_minute; try again in 60 s, at 2026-08-30T12:01:00Z');
    expect(text).toContain(
      'tenant   a: 0 of 1 requests left (429 for now), 100 of 100 tokens this month left',
    );
    expect(explanationText(refused(world, {}, { tenant: 'nobody' }))).toContain(
      'reason   invalid_api_key; waiting does not help\ntenant   nobody: no limits',
    );
  });

  it('is refused when it has too much open, as its next request is', () => {
    const world = createWorld({ limits: { maxConcurrent: 1 } });
    const none = Number.POSITIVE_INFINITY;
    const open = { maxOpen: none, maxHeldBytes: none, maxWaitingBytes: none };
    const most = maxOpenOf({ weight: 1, maxOutputs: 16, maxQueued: 10, maxConcurrent: 1 }, world.config);
    for (let i = 0; i < most; i += 1) {
      expect(ask(world).kind).toBe('placed');
      world.context.holdings.take('a', 0, open);
    }
    const explanation = refused(world);
    expect(explanation).toMatchObject({ status: 429, reason: 'tenant_queue_full' });
    expect(explanation.body).toBe(answered(world).body);
  });

  it('is not, as soon as the limit is raised', () => {
    const world = createWorld({ limits: { tokensPerMonth: 100 }, unixMs: AUGUST_30 });
    const reserved = limitsOf(world).reserveTokens(100, 1_000);
    expect(reserved).toMatchObject({ kind: 'reserved' });
    expect(ask(world)).toMatchObject({ kind: 'refused', status: 429 });
    limitsOf(world).reconfigure({ weight: 1, maxOutputs: 16, maxQueued: 10, tokensPerMonth: 10_000 });
    expect(ask(world)).toMatchObject({ kind: 'placed', limits: { month: { remaining: 9_900 } } });
    expect(limitsOf(world).month(1_000)).toMatchObject({ remaining: 9_900 });
  });
});

describe('what is explained of a model with a shadow', () => {
  it('copies nothing and draws nothing', () => {
    let asked = 0;
    const world = createWorld({
      change: twoEndpoints,
      mirrorTo() {
        asked += 1;
        return 'next';
      },
    });
    expect(placed(world).queue.choice.chosen).toBeDefined();
    expect(asked).toBe(0);
  });
});

describe('what is explained of a body that its client will encode', () => {
  const encoded = (world: World, coding: string) =>
    ask(world, {}, { header: (name: string) => (name === 'content-encoding' ? coding : '') });

  it('is what becomes of its text', () => {
    const world = createWorld({ change: twoEndpoints });
    for (const coding of ['gzip', 'br', 'zstd', 'deflate', 'x-gzip', 'identity', '']) {
      expect([coding, encoded(world, coding).kind]).toEqual([coding, 'placed']);
    }
    expect(encoded(world, 'lzma')).toMatchObject({ status: 415, reason: 'unsupported_content_encoding' });
  });
});

describe('what is explained of a route of the configuration', () => {
  it('is what becomes of it, by its method and with or without a body', () => {
    const routes = new Map([
      ['custom', { name: 'custom', method: 'POST', path: '/x', body: 'json', metered: 'requests' }],
      [
        'peek',
        { name: 'peek', method: 'GET', path: '/y', body: 'none', metered: 'requests', model: 'small' },
      ],
    ] as const);
    const world = createWorld({ change: (config) => ({ ...config, routes }) });
    const asked = (method: string, path: string, text = '') =>
      explainRequest(
        world.context,
        { tenant: 'a', method, path, body: Buffer.from(text), header: () => '' },
        0,
      );
    expect(asked('POST', '/x', '{"model":"small"}')).toMatchObject({ kind: 'placed', model: 'small' });
    expect(asked('GET', '/y')).toMatchObject({ kind: 'placed', model: 'small', pool: 'main' });
    expect(asked('POST', '/y')).toMatchObject({ kind: 'refused', status: 404 });
    expect(asked('POST', '/x')).toMatchObject({ kind: 'refused', status: 400 });
  });
});

describe('a question', () => {
  it('is read, or told what is wrong with it', () => {
    const good = { tenant: 'a', path: '/v1/completions', body: '{}', headers: { 'X-Session-Id': 's' } };
    const read = questionOf(good);
    expect(
      read.kind === 'ok' && [read.question.header('x-session-id'), read.question.header('other')],
    ).toEqual(['s', '']);
    for (const bad of [
      null,
      'text',
      7,
      [],
      {},
      { ...good, tenant: 7 },
      { ...good, path: null },
      { ...good, body: {} },
      { ...good, headers: null },
      { ...good, headers: 'x' },
      { ...good, headers: { a: 7 } },
    ]) {
      expect(questionOf(bad)).toMatchObject({
        kind: 'bad',
        problem: expect.stringContaining('must be') as string,
      });
    }
  });
});
