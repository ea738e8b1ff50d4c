/**
 * What is known of each engine, held to its answers: recorded ones in tests/fixtures/engines, and a real engine's where
 * that is asked for (docs/how-to/testing.md).
 */

import { describe, expect, it } from 'vitest';
import { cacheSaltOf } from '../../src/admission/cache-salt.ts';
import type { TenantConfig } from '../../src/config/config.ts';
import type { EngineKind } from '../../src/domain/engine-kinds.ts';
import { reasonAgainst } from '../../src/domain/engine-orders.ts';
import { API_ROUTES, pathsOf, ROUTES } from '../../src/domain/routes.ts';
import type { EngineDriver, ErrorMeaning, LoraLoad } from '../../src/engine/driver.ts';
import { ALL_DRIVERS, DRIVERS } from '../../src/engine/drivers.ts';
import { readEngineError } from '../../src/engine/errors.ts';
import { type EngineReport, readGauges } from '../../src/engine/gauges.ts';
import { MODELS_PATH, recognise } from '../../src/engine/identify.ts';
import { isServedBy } from '../../src/engine/routes.ts';
import { createBodyMeter } from '../../src/openai/body-meter.ts';
import { REQUEST_HEADERS_TO_ENGINES } from '../../src/openai/engine-headers.ts';
import { parseRequest, serialiseRequest } from '../../src/openai/request.ts';
import type { MeterResult } from '../../src/openai/response-meter.ts';
import { createStreamMeter } from '../../src/openai/stream-meter.ts';
import { policyWith } from '../support/documents.ts';
import { type Answers, type EngineAnswer, fixtureFolders, readFixture } from '../support/engine-answers.ts';
import { askLlamaCpp, askVllm, findLlamaCpp } from '../support/live-engines.ts';

interface Expected {
  readonly maxSequences?: number;
  readonly kvCapacityTokens?: number;
  readonly prefixCache?: 'tokens' | 'rate';
  /** Of the busy metrics, where there are such. */
  readonly loras?: LoraLoad;
  /** Completion tokens of an answer. */
  readonly tokens?: Readonly<Record<string, number>>;
  readonly errors?: Readonly<Record<string, ErrorMeaning>>;
  /** What its health says of an answer of it that has not been healthy before. */
  readonly notReady?: Readonly<Record<string, 'loading' | 'dead'>>;
  /** Prompt tokens that another tenant's salt finds in the prefix cache. */
  readonly cachedByAnother?: 'none' | 'all';
}

const EXPECTED: Readonly<Record<EngineKind, Expected>> = {
  vllm: {
    kvCapacityTokens: 524_288,
    prefixCache: 'tokens',
    loras: { max: 2, running: ['tiny-lora'], waiting: ['tiny-lora'] },
    tokens: { 'chat-two': 6, 'chat-two-stream': 6, 'both-caps': 4, 'cap-of-its-own': 2, 'without-cap': 16 },
    errors: {
      'bad-json': 'invalid-request',
      'wrong-type': 'invalid-request',
      'salt-with-slash': 'invalid-request',
      'salt-too-long': 'invalid-request',
      'cap-over-context': 'invalid-request',
      'too-long': 'context-too-long',
      'too-long-chat-stream': 'context-too-long',
      'unknown-model': 'unknown-model',
      'messages-unknown-model': 'unknown-model',
      overloaded: 'overloaded',
      'unknown-route': 'unknown',
    },
    cachedByAnother: 'none',
  },
  sglang: {
    maxSequences: 96,
    kvCapacityTokens: 4_096,
    prefixCache: 'rate',
    loras: { max: 8, running: undefined, waiting: undefined },
    tokens: { 'chat-two': 6, 'chat-two-stream': 6 },
    errors: {
      'bad-json': 'invalid-request',
      'too-long': 'context-too-long',
      overloaded: 'overloaded',
      internal: 'internal',
      'unknown-route': 'unknown',
    },
    notReady: { starting: 'loading' },
  },
  llamacpp: {
    maxSequences: 2,
    prefixCache: 'tokens',
    // Without a cap: as many as fit into the context beside the prompt.
    tokens: {
      'chat-two': 6,
      'chat-two-stream': 6,
      'both-caps': 4,
      'cap-of-its-own': 4,
      'without-cap': 2_043,
    },
    errors: {
      'bad-json': 'invalid-request',
      'wrong-type': 'invalid-request',
      'too-long': 'context-too-long',
      'too-long-chat-stream': 'context-too-long',
      loading: 'loading',
      'unknown-route': 'unknown',
    },
    notReady: { loading: 'loading' },
    cachedByAnother: 'all',
  },
  tgi: {
    errors: {
      'wrong-type': 'invalid-request',
      'too-long': 'context-too-long',
      'too-long-input': 'context-too-long',
      overloaded: 'overloaded',
      internal: 'internal',
    },
    notReady: { starting: 'dead' },
  },
  trtllm: {},
  lmdeploy: { errors: { 'wrong-type': 'invalid-request', 'unknown-model': 'unknown-model' } },
};

const jsonOf = ({ body }: EngineAnswer): unknown => {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
};

function report(answer: EngineAnswer, expected?: EngineKind): EngineReport {
  const result = readGauges(answer.body, expected);
  if (result.kind !== 'report') throw new Error(result.detail);
  return result.report;
}

/** As if it passed through the service, in chunks of odd sizes. */
function metered({ question, type, body }: EngineAnswer): MeterResult {
  const route = question.path === ROUTES.completions.path ? 'completions' : 'chat.completions';
  const meter = type.startsWith('text/event-stream')
    ? createStreamMeter({ route, removeUsageChunk: false })
    : createBodyMeter(route);
  const bytes = Buffer.from(body);
  for (let at = 0; at < bytes.length; at += 37) meter.push(bytes.subarray(at, at + 37), at);
  meter.end();
  return meter.result();
}

const ANSWERED = [
  'chat',
  'chat-stream',
  'chat-stream-continuous',
  'chat-two',
  'chat-two-stream',
  'completion',
  'completion-stream',
  'both-caps',
  'cap-of-its-own',
  'without-cap',
] as const;

function holdsTo(driver: EngineDriver, read: () => Answers): void {
  const expected = EXPECTED[driver.kind];
  const answer = (name: string): EngineAnswer => {
    const found = read().get(name);
    if (found === undefined) throw new Error(`no answer ${name}`);
    return found;
  };
  const present = (names: readonly string[]): readonly string[] => names.filter((name) => read().has(name));
  const metrics = (): EngineAnswer => read().get('metrics-busy') ?? answer('metrics');

  it('is recognised by its metrics, its models or its own page, and taken for no other', () => {
    expect(report(answer('metrics')).kind).toBe(driver.kind);
    const usable = ALL_DRIVERS.filter(
      ({ kind }) => readGauges(answer('metrics').body, kind).kind === 'report',
    );
    expect(usable).toEqual([driver]);
    for (const { question, status, body } of read().values()) {
      if (question.method !== 'GET' || status !== 200) continue;
      const seen = recognise(question.path, jsonOf({ question, status, body, type: '' }));
      const isTelling =
        (question.path === MODELS_PATH && driver.ownedBy !== undefined) ||
        driver.info?.paths.includes(question.path) === true;
      expect([question.path, seen]).toEqual([question.path, isTelling ? driver.kind : undefined]);
    }
  });

  it('says how much it runs, how much waits, and what its caches hold', () => {
    const { gauges, kvCapacityTokens, prefixCache, loras } = report(metrics());
    expect(gauges.running).toBeGreaterThan(0);
    expect(gauges.waiting).toBeGreaterThanOrEqual(0);
    if (driver.metrics.kvUsage.length > 0 && driver.kind !== 'llamacpp') {
      expect(gauges.kvUsage).toBeGreaterThan(0);
    }
    expect(kvCapacityTokens).toBe(expected.kvCapacityTokens);
    expect(prefixCache?.kind).toBe(expected.prefixCache);
    expect(loras).toEqual(expected.loras);
  });

  it('says how many sequences it runs, where it says it', () => {
    const { info } = driver;
    const page = [...read().values()].find(({ question }) => info?.paths.includes(question.path));
    expect(page === undefined ? undefined : info?.maxSequences(jsonOf(page))).toBe(expected.maxSequences);
  });

  it('is healthy, loading or dead by its own words', () => {
    for (const name of present(['health'])) {
      expect(driver.health.stateOf(answer(name), false)).toBe('healthy');
    }
    for (const [name, state] of Object.entries(expected.notReady ?? {})) {
      // A tiny model may be loaded before anybody asks.
      if (!read().has(name)) continue;
      expect([name, driver.health.stateOf(answer(name), false)]).toEqual([name, state]);
    }
    const nothing = { status: 503, body: '' };
    expect(driver.health.stateOf(nothing, true)).toBe('dead');
    for (const status of [301, 404, 500]) {
      expect(driver.health.stateOf({ status, body: '<html>' }, false)).toBe('dead');
    }
  });

  it('counts tokens in its answers as the meter reads them', () => {
    for (const name of present(ANSWERED)) {
      const { usage, finished, errorFrame } = metered(answer(name));
      expect({ name, finished, errorFrame, tokens: usage?.completionTokens }).toEqual({
        name,
        finished: true,
        errorFrame: false,
        tokens: expected.tokens?.[name] ?? 3,
      });
      expect(usage?.promptTokens).toBeGreaterThan(0);
    }
    for (const name of present(['cached'])) {
      expect(metered(answer(name)).usage?.cachedTokens).toBeGreaterThan(0);
    }
  });

  it.skipIf(expected.cachedByAnother === undefined)(
    'keeps prefixes apart by salt, or is known not to',
    () => {
      const cached = metered(answer('cached')).usage?.cachedTokens ?? 0;
      const byAnother = metered(answer('cached-by-another')).usage?.cachedTokens;
      expect(byAnother).toBe(expected.cachedByAnother === 'all' ? cached : 0);
      expect(driver.cacheSalt !== undefined).toBe(expected.cachedByAnother === 'none');
    },
  );

  it('has errors whose meaning is seen, and answers that are taken for none', () => {
    for (const [name, meaning] of Object.entries(expected.errors ?? {})) {
      if (name === 'loading' && !read().has(name)) continue;
      const { status, body } = answer(name);
      const error = readEngineError(driver, status, body);
      expect({ name, meaning: error?.meaning, status: error?.status }).toEqual({ name, meaning, status });
      expect(error?.message).not.toBe('');
    }
    const mistaken = [...read()].filter(
      ([, { status, body }]) => status === 200 && readEngineError(driver, status, body) !== undefined,
    );
    expect(mistaken).toEqual([]);
  });

  it('lists its adapters as such, and loads them as it is told to', () => {
    for (const name of present(['models', 'models-with-lora'])) {
      expect(driver.lora.listed(jsonOf(answer(name)))).toEqual(
        name === 'models-with-lora' ? ['tiny-lora'] : [],
      );
    }
    for (const name of present(['load-lora', 'unload-lora'])) {
      const { question, status } = answer(name);
      const call =
        name === 'load-lora'
          ? driver.lora.load?.('tiny-lora', '/models/tiny-lora')
          : driver.lora.unload?.('tiny-lora');
      expect(status).toBe(200);
      expect(`POST ${question.path}`).toBe(`${call?.method} ${call?.path}`);
      expect(JSON.parse(question.body ?? '')).toEqual(call?.json);
    }
  });

  it('sleeps where it can, and says so', () => {
    const { sleep } = driver.health;
    for (const { question, body } of read().values()) {
      if (question.path === sleep?.path) {
        const isAsleep = body.includes('"is_sleeping":true');
        expect(sleep.isAsleep(JSON.parse(body))).toBe(isAsleep);
      }
    }
    for (const name of present(['metrics-asleep'])) {
      expect(report(answer('metrics')).asleep).toBe(false);
      expect(report(answer(name)).asleep).toBe(true);
      // Health says nothing of it.
      expect(driver.health.stateOf(answer('health-asleep'), true)).toBe('healthy');
      expect(jsonOf(answer('is-sleeping-asleep'))).toEqual({ is_sleeping: true });
    }
  });
}

describe.each(fixtureFolders())('recorded answers of %s', (folder) => {
  const fixture = readFixture(folder);
  holdsTo(DRIVERS[folder as EngineKind], () => fixture.answers);

  it('say where they are from', () => {
    const { engine, version, recorded, command, sources } = fixture.about;
    expect(engine).toBe(folder);
    expect(version).not.toBe('');
    expect(recorded ? command : sources?.join()).toMatch(/\S/);
  });
});

describe('errors that no fixture has', () => {
  const meaning = (kind: EngineKind, status: number, body: object | string) =>
    readEngineError(DRIVERS[kind], status, typeof body === 'string' ? body : JSON.stringify(body));

  it('are read inside a stream, where the status is 200', () => {
    for (const kind of ['sglang', 'tgi'] as const) {
      const frame = readFixture(kind).answers.get('error-in-stream')?.body.split('\n')[0]?.slice(6) ?? '';
      expect(meaning(kind, 200, frame)?.meaning).toBe(kind === 'sglang' ? 'overloaded' : 'internal');
    }
    const busy = {
      error: { message: 'The engine is currently busy', type: 'Service Unavailable', code: 503 },
    };
    expect(meaning('vllm', 200, busy)).toMatchObject({ status: 503, meaning: 'overloaded' });
  });

  it('mean what their status means when the body says nothing', () => {
    for (const { kind } of ALL_DRIVERS) {
      for (const body of ['', '<html>busy</html>', '[]', 'null', '{"error":[]}']) {
        expect(meaning(kind, 503, body)).toMatchObject({ meaning: 'overloaded', message: '' });
        expect(meaning(kind, 500, body)?.meaning).toBe('internal');
        expect(meaning(kind, 400, body)?.meaning).toBe('invalid-request');
        expect(meaning(kind, 200, body)).toBeUndefined();
      }
    }
    expect(readEngineError(undefined, 429, '{}')?.meaning).toBe('overloaded');
  });

  it('never carry a long text on', () => {
    const long = meaning('vllm', 500, { error: { message: 'x'.repeat(1_000_000), type: {}, code: [] } });
    expect(long?.message).toHaveLength(500);
    expect(long).toMatchObject({ type: '', code: '', status: 500 });
  });
});

describe.each(ALL_DRIVERS.map((driver) => [driver.title, driver] as const))(
  'what a tenant sends to %s',
  (_, driver) => {
    it('has none of the fields and headers by which it could give orders', () => {
      for (const header of driver.refused.headers) expect(REQUEST_HEADERS_TO_ENGINES).not.toContain(header);
    });

    it('reaches none of its management routes', () => {
      expect(driver.managementPaths.filter((path) => isServedBy(driver.kind, path))).toEqual([]);
    });

    it('reaches none of them by a route of the configuration', () => {
      const ours = new Set<string>(API_ROUTES.flatMap(pathsOf));
      for (const path of driver.managementPaths) {
        expect([path, reasonAgainst(path) ?? ours.has(path)]).not.toEqual([path, false]);
      }
    });

    it.each([
      ['chat', '/v1/chat/completions', 'chat.completions'],
      ['completions', '/v1/completions', 'completions'],
    ] as const)('is capped, whichever field of %s the engine reads', (api, __, route) => {
      const fields = Object.fromEntries(driver.outputCap[api].map((name) => [name, 1_000]));
      const body = { model: 'm', messages: [{ role: 'user', content: 'x' }], prompt: 'x', ...fields };
      const parsed = parseRequest(route, Buffer.from(JSON.stringify(body)), policyWith());
      if (parsed.kind !== 'ok') throw new Error(parsed.error.message);
      const sent = JSON.parse(
        Buffer.concat(
          serialiseRequest(parsed.request, { maxOutputTokens: 7, includeUsage: false }),
        ).toString(),
      ) as Record<string, unknown>;
      const read = driver.outputCap[api].map((name) => sent[name]).find((value) => value !== undefined);
      expect(read).toBe(7);
    });

    it('carries a cache salt that it takes, where it takes any', () => {
      const { cacheSalt } = driver;
      if (cacheSalt === undefined) return;
      const tenant: TenantConfig = {
        name: '@/\\ ü',
        keys: [],
        models: '*',
        limits: { weight: 1, maxOutputs: 1, maxQueued: 1 },
      };
      const salt = cacheSaltOf(tenant);
      expect(salt.length).toBeGreaterThan(0);
      expect(salt.length).toBeLessThanOrEqual(cacheSalt.maxCharacters);
      expect(Array.from(salt).filter((one) => cacheSalt.without.includes(one))).toEqual([]);
      // They differ from tenant to tenant, and are the same each time.
      expect(cacheSaltOf({ ...tenant, name: 'another' })).not.toBe(salt);
      expect(cacheSaltOf(tenant)).toBe(salt);
    });
  },
);

const server = findLlamaCpp(process.env);
describe.skipIf(server === undefined)(
  'a real llama.cpp (skipped: none is here; set FAIRLANE_TEST_LLAMACPP)',
  async () => {
    const { answers } = server === undefined ? { answers: new Map() } : await askLlamaCpp(server);
    holdsTo(DRIVERS.llamacpp, () => answers);
  },
);

const withVllm = process.env['FAIRLANE_TEST_VLLM'] === '1';
describe.skipIf(!withVllm)('a real vLLM (skipped unless FAIRLANE_TEST_VLLM=1)', async () => {
  const { answers } = withVllm ? await askVllm(() => {}) : { answers: new Map() };
  holdsTo(DRIVERS.vllm, () => answers);
});
