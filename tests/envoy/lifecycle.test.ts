/** Requests beside one another: queues, hang-ups, deaths and restarts. */

import { readFileSync } from 'node:fs';
import { rename, writeFile } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { type Answer, chatBody, eventsOf, openStream, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { KEYS, type Stack, startStack } from '../support/stack.ts';

/** 20 ms a step: a stream of 100 tokens takes two seconds. */
const slow = parseProfile('test', { stepBaseMs: 20 });
const long = (tokens: number, fields: object = {}): string =>
  chatBody({ stream: true, max_tokens: tokens, ignore_eos: true, ...fields });
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
/** Longer than a busy machine needs for what waits, and a stream that lasts longer than that. */
const MAX_WAIT_MS = 6_000;
const BUSY_TOKENS = 400;

describe('two tenants on a pool with two slots', () => {
  let engine: Simulator;
  let stack: Stack;
  beforeAll(async () => {
    engine = await startSimulator({ profile: slow, models: ['demo'], faults: true });
    stack = await startStack({
      engines: [engine.url],
      change(config) {
        config['pools']['main']['concurrencyLimit'] = 2;
        config['queue'] = { maxWait: `${MAX_WAIT_MS}ms`, maxQueued: 20 };
        config['tenants']['noisy']['limits'] = { maxQueued: 12 };
        config['tenants']['capped'] = { keys: ['key-of-the-capped'], limits: { maxConcurrent: 1 } };
      },
    });
  });
  afterAll(async () => {
    await stack.close();
    await engine.close();
  });
  afterEach(async () => {
    engine.setFault(undefined);
    for (const metric of ['fairlane_pool_in_flight', 'fairlane_pool_queued']) {
      await eventually(
        () => stack.metric(metric),
        (count) => count === 0,
      );
    }
  });
  const stream = (key: string, tokens: number) => openStream(stack.url, { key, body: long(tokens) });
  /** The engine has heard of all that was hung up. */
  const stopped = () =>
    eventually(
      () => engine.gauges().running,
      (running) => running === 0,
    );

  it('a flood of one does not make the other wait for all of it, and the engine has no queue of its own', async () => {
    let mostWaiting = 0;
    const watch = setInterval(() => {
      mostWaiting = Math.max(mostWaiting, engine.gauges().waiting);
    }, 5);
    const order: string[] = [];
    const one = async (tenant: 'quiet' | 'noisy') => {
      const answer = await send(stack.url, { key: KEYS[tenant], body: chatBody({ max_tokens: 10 }) });
      order.push(answer.status === 200 ? tenant : `${tenant} ${answer.status}`);
    };
    const begun = performance.now();
    const flood = Array.from({ length: 12 }, () => one('noisy'));
    await sleep(50);
    const started = performance.now();
    await one('quiet');
    const quietMs = performance.now() - started;
    await Promise.all(flood);
    const floodMs = performance.now() - begun;
    clearInterval(watch);
    expect(order.filter((name) => name === 'noisy')).toHaveLength(12);
    // Two run when it comes; it is next, or next but one: never last.
    expect(order.indexOf('quiet')).toBeLessThan(8);
    expect(mostWaiting).toBeLessThanOrEqual(1);
    expect(quietMs).toBeLessThan(0.8 * floodMs);
  });

  it('what a tenant may not queue is a 429, with Retry-After', async () => {
    const busy = await Promise.all([0, 1].map(() => stream(KEYS.noisy, BUSY_TOKENS)));
    const answers: Answer[] = [];
    const asked = Array.from({ length: 16 }, async () => {
      answers.push(await send(stack.url, { key: KEYS.noisy, body: chatBody({ max_tokens: 2 }) }));
    });
    // Nobody else is answered while both slots are taken.
    await eventually(
      () => answers.length,
      (count) => count === 16 - 12,
    );
    const refused = [...answers];
    expect(refused.map(({ status }) => status)).toEqual([429, 429, 429, 429]);
    for (const one of busy) one.hangUp();
    await Promise.all(asked);
    for (const answer of refused) {
      expect(answer.json.error).toMatchObject({ code: 'tenant_queue_full' });
      expect(Number(answer.headers['retry-after'])).toBeGreaterThanOrEqual(1);
    }
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(12);
  });

  it('who waits for maxWait gets a 503 that says when to come again, or that it is too long', async () => {
    const busy = await Promise.all([0, 1].map(() => stream(KEYS.noisy, BUSY_TOKENS)));
    const started = Date.now();
    const answer = await send(stack.url, { key: KEYS.quiet, body: chatBody() });
    expect(answer.status).toBe(503);
    expect(answer.json.error).toMatchObject({ code: 'queue_timeout' });
    expect(answer.headers['retry-after'] ?? answer.headers['x-should-retry']).toMatch(
      /^([1-9][0-9]?|false)$/,
    );
    expect(Date.now() - started).toBeGreaterThanOrEqual(MAX_WAIT_MS - 100);
    for (const one of busy) one.hangUp();
  });

  it('maxConcurrent holds a tenant to its number without holding the other', async () => {
    const capped = (tokens: number) =>
      send(stack.url, { key: 'key-of-the-capped', body: chatBody({ max_tokens: tokens }) });
    const inFlight = () => stack.metric('fairlane_tenant_in_flight', { tenant: 'capped' });
    let isOver = false;
    const both = Promise.all([capped(40), capped(40)]).finally(() => {
      isOver = true;
    });
    const most = (async () => {
      let seen = 0;
      while (!isOver) seen = Math.max(seen, await inFlight());
      return seen;
    })();
    await eventually(inFlight, (running) => running > 0);
    expect((await send(stack.url, { key: KEYS.quiet, body: chatBody({ max_tokens: 1 }) })).status).toBe(200);
    expect((await both).map(({ status }) => status)).toEqual([200, 200]);
    expect(await most).toBe(1);
  });

  it('a client that hangs up while it is queued gives up its place, and the engine never sees it', async () => {
    // Longer than anybody waits: a slot gets free only when they are hung up on.
    const busy = await Promise.all([0, 1].map(() => stream(KEYS.noisy, BUSY_TOKENS)));
    const before = engine.requests().length;
    const abort = new AbortController();
    const waiting = send(stack.url, { key: KEYS.quiet, body: chatBody(), signal: abort.signal });
    await eventually(
      () => stack.metric('fairlane_tenant_queued', { tenant: 'quiet' }),
      (queued) => queued === 1,
    );
    abort.abort();
    await expect(waiting).rejects.toThrow();
    await eventually(
      () => stack.metric('fairlane_tenant_queued', { tenant: 'quiet' }),
      (queued) => queued === 0,
      2_000,
    );
    expect(await stack.record((line) => line.reason === 'queued')).toMatchObject({
      outcome: 'aborted',
      promptTokens: 0,
    });
    for (const one of busy) one.hangUp();
    await stopped();
    expect(engine.requests().length).toBe(before);
  });

  it('a client that hangs up before the first token frees its slot, and the engine stops', async () => {
    engine.setFault({ kind: 'slow-headers', ms: 2_000 });
    const abort = new AbortController();
    const sent = send(stack.url, { key: KEYS.quiet, body: chatBody(), signal: abort.signal });
    await eventually(
      () => stack.metric('fairlane_tenant_in_flight', { tenant: 'quiet' }),
      (running) => running === 1,
    );
    abort.abort();
    await expect(sent).rejects.toThrow();
    const record = await stack.record((line) => line.reason === 'before-first-token');
    expect(record).toMatchObject({ outcome: 'aborted', usageSource: 'estimate', completionTokens: 0 });
    expect(await stack.metric('fairlane_pool_in_flight')).toBe(0);
    await sleep(2_100);
    expect(engine.gauges().running).toBe(0);
  });

  it('a client that hangs up in mid-stream frees its slot, and is charged for what went by', async () => {
    await stopped();
    const { aborted } = engine.stats();
    const one = await stream(KEYS.quiet, 500);
    await eventually(
      () => eventsOf(one.text()).length,
      (count) => count > 5,
    );
    one.hangUp();
    const record = await stack.record((line) => line.reason === 'streaming' && line.tenant === 'quiet');
    expect(record.completionTokens).toBeGreaterThanOrEqual(4);
    expect(record.completionTokens).toBeLessThan(60);
    await eventually(
      () => engine.stats().aborted,
      (count) => count === aborted + 1,
    );
    expect(engine.gauges().running).toBe(0);
  });

  it('a change of the configuration is live, cuts no stream, and a bad one changes nothing', async () => {
    const open = await stream(KEYS.quiet, 120);
    const write = async (text: string): Promise<void> => {
      await writeFile(`${stack.configPath}.new`, text);
      await rename(`${stack.configPath}.new`, stack.configPath);
    };
    const text = readFileSync(stack.configPath, 'utf8');
    const { loadConfig } = await import('../../src/config/fs-config.ts');
    const reload = async (): Promise<void> => {
      const loaded = loadConfig(stack.configPath, process.env);
      if (loaded.kind === 'ok') await stack.service().reload(loaded.config, loaded.warnings);
      else stack.service().refuseReload(loaded.problems);
    };
    await write(text.replace('key-of-the-noisy-one', 'key-of-the-noisy-two'));
    await reload();
    const withKey = (key: string) => send(stack.url, { key, method: 'GET', path: '/v1/models' });
    await eventually(
      () => withKey('key-of-the-noisy-two'),
      ({ status }) => status === 200,
    );
    expect((await withKey(KEYS.noisy)).status).toBe(401);
    await write(text.replace('tenants:', 'tennants:'));
    await reload();
    expect((await withKey('key-of-the-noisy-two')).status).toBe(200);
    expect(await stack.metric('fairlane_config_reloads_total', { result: 'refused' })).toBe(1);
    await write(text);
    await reload();
    await eventually(
      () => withKey(KEYS.noisy),
      ({ status }) => status === 200,
    );
    expect(eventsOf(await open.done)).toContain('[DONE]');
    expect(stack.logText()).not.toContain('key-of-the-noisy-two');
  });
});

describe('two endpoints', () => {
  let engines: Simulator[];
  let stack: Stack;
  beforeAll(async () => {
    engines = await Promise.all(
      [1, 2].map(() => startSimulator({ profile: slow, models: ['demo'], faults: true })),
    );
    stack = await startStack({ engines: engines.map(({ url }) => url) });
  });
  afterAll(async () => {
    await stack.close();
    await Promise.all(engines.map((engine) => engine.close()));
  });
  const many = (count: number, tokens = 3) =>
    Promise.all(
      Array.from({ length: count }, () =>
        send(stack.url, { key: KEYS.quiet, body: chatBody({ max_tokens: tokens }) }),
      ),
    );

  it('share the load evenly', async () => {
    // Long enough that none has ended before the last one comes.
    await many(8, 30);
    expect(engines.map((engine) => engine.stats().started)).toEqual([4, 4]);
  });

  it('lose the one that is ill from the rotation, and get it back', async () => {
    engines[0]?.setFault({ kind: 'unhealthy' });
    await eventually(
      () => stack.metric('fairlane_pool_window'),
      (window) => window === 8,
    );
    const before = engines.map((engine) => engine.stats().started);
    await many(6);
    expect(engines.map((engine, i) => engine.stats().started - (before[i] ?? 0))).toEqual([0, 6]);
    engines[0]?.setFault(undefined);
    await eventually(
      () => stack.metric('fairlane_pool_window'),
      (window) => window === 16,
    );
  });

  it('retry elsewhere what one refuses, and count it where it was served', async () => {
    engines[0]?.setFault({ kind: 'status', status: 503 });
    const answers = await many(6);
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200, 200]);
    const served = stack
      .records()
      .slice(-6)
      .map(({ endpoint }) => endpoint);
    expect(new Set(served)).toEqual(new Set([engines[1]?.url]));
    engines[0]?.setFault(undefined);
    expect(await stack.metric('fairlane_endpoint_in_flight')).toBe(0);
  });

  it('that are both ill: who comes gets a 503 at once, who comes later is served again', async () => {
    for (const engine of engines) engine.setFault({ kind: 'unhealthy' });
    await eventually(
      () => stack.metric('fairlane_pool_window'),
      (window) => window === 0,
    );
    const [answer] = await many(1);
    expect(answer?.status).toBe(503);
    expect(answer?.json.error).toMatchObject({ code: 'no_healthy_endpoint' });
    expect(answer?.headers['retry-after']).toBeDefined();
    for (const engine of engines) engine.setFault(undefined);
    await eventually(
      () => stack.metric('fairlane_pool_window'),
      (window) => window === 16,
    );
    expect((await many(1))[0]?.status).toBe(200);
  });

  it('one dies under requests: those without a first byte are served by the other', async () => {
    const [dying, other] = engines;
    const requests = many(10);
    await sleep(15);
    await dying?.close();
    const statuses = (await requests).map(({ status }) => status);
    expect(statuses.filter((status) => status === 200)).toHaveLength(10);
    expect(other?.stats().finished).toBeGreaterThan(0);
  });
});

describe('a model that is not configured', () => {
  it('is known once an engine has said that it serves it', async () => {
    const engine = await startSimulator({
      profile: parseProfile('test', {}),
      models: ['told-by-the-engine'],
    });
    const stack = await startStack({
      engines: [engine.url],
      change: (config) => {
        delete config['models'];
      },
    });
    const answer = await send(stack.url, {
      key: KEYS.quiet,
      body: chatBody({ model: 'told-by-the-engine' }),
    });
    expect(answer.status).toBe(200);
    expect((await send(stack.url, { key: KEYS.quiet, body: chatBody({ model: 'demo' }) })).status).toBe(404);
    await stack.close();
    await engine.close();
  });
});
