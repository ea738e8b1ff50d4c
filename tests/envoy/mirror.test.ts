/** Copies of requests, with a real Envoy: one engine that answers clients, one that gets copies. */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { loadConfig } from '../../src/config/fs-config.ts';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { type Answer, chatBody, eventsOf, openStream, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { scraped } from '../support/scraped.ts';
import { type Draft, KEYS, type Stack, startStack } from '../support/stack.ts';

const UNBOUNDED = { pool: 'next', percent: 100, maxConcurrent: 1_000, perSecond: 10_000 };
const CLUSTER = 'fairlane-shadow-next';
/** Time in which a copy that is under way arrives: what has not come by then does not come. */
const SETTLED_MS = 300;

let main: Simulator;
let spare: Simulator;
let next: Simulator;
let stack: Stack;

/** Settings of a pool whose health and gauges are what they were at the start: copies go on when it breaks. */
const unwatched = (url: string): Draft => ({
  endpoints: [url],
  health: { interval: '10m' },
  gauges: { interval: '1m' },
});

async function reload(change: (config: Draft) => void): Promise<void> {
  const config = parse(readFileSync(stack.configPath, 'utf8')) as Draft;
  change(config);
  writeFileSync(stack.configPath, stringify(config));
  const loaded = loadConfig(stack.configPath, process.env);
  if (loaded.kind === 'bad') throw new Error(loaded.problems.join('\n'));
  await stack.service().reload(loaded.config, []);
  const mirror = loaded.config.models.get('demo')?.mirror;
  await eventually(
    () => clusters(),
    (text) =>
      mirror === undefined
        ? !text.includes(CLUSTER)
        : text.includes(`${CLUSTER}::default_priority::max_requests::${mirror.maxConcurrent}\n`),
  );
  if (mirror === undefined) return;
  // The first look at its health and gauges.
  await eventually(
    async () => (await health()).pools['next']?.healthy ?? 0,
    (healthy) => healthy > 0,
  );
  await eventually(
    () => scraped(stack.metricsUrl),
    (text) => text.includes('fairlane_engine_waiting{pool="next"'),
  );
}
const mirrored = (mirror: object | undefined): Promise<void> =>
  reload((config) => {
    config['models'].demo = { pool: 'main', ...(mirror !== undefined && { mirror }) };
  });

const clusters = async (): Promise<string> => (await fetch(`${stack.adminUrl}/clusters`)).text();
const health = async (): Promise<{
  readonly pools: Readonly<Record<string, { readonly healthy: number }>>;
  readonly shadows?: Readonly<Record<string, unknown>>;
}> => (await (await fetch(`${stack.metricsUrl}/health`)).json()) as Awaited<ReturnType<typeof health>>;
async function stat(name: string): Promise<number> {
  const text = await (await fetch(`${stack.adminUrl}/stats?filter=${CLUSTER}.${name}$`)).text();
  return Number(/: (\d+)/.exec(text)?.[1] ?? 0);
}

const ask = (fields: object = {}, headers: Record<string, string> = {}): Promise<Answer> =>
  send(stack.url, { key: KEYS.quiet, headers, body: chatBody({ max_tokens: 2, ...fields }) });
const several = (count: number, fields: object = {}): Promise<readonly Answer[]> =>
  Promise.all(Array.from({ length: count }, () => ask(fields)));
const statuses = (answers: readonly Answer[]): readonly number[] => [
  ...new Set(answers.map(({ status }) => status)),
];
/** Requests that an engine has had, for as long as no more than a hundred come between two looks. */
const seenBy = (engine: Simulator, text: string) =>
  engine.requests().filter(({ body }) => JSON.stringify(body).includes(text));
let marks = 0;
/** A word that no other request has. */
const mark = (): string => {
  marks += 1;
  return `mark-${marks}-`;
};
const saying = (text: string): object => ({ messages: [{ role: 'user', content: text }] });
const copiesOf = async (text: string, count: number): Promise<void> => {
  await eventually(
    () => seenBy(next, text).length,
    (seen) => seen >= count,
  );
};

beforeAll(async () => {
  const simulator = () =>
    startSimulator({
      profile: parseProfile('test', { maxSequences: 200, kvBlocks: 40_000, maxModelLen: 200_000 }),
      models: ['demo', 'embedder'],
      faults: true,
    });
  [main, spare, next] = [await simulator(), await simulator(), await simulator()];
  stack = await startStack({
    engines: [main.url],
    change(config) {
      config['pools'].main.concurrencyLimit = 100;
      config['pools'].next = {
        endpoints: [next.url],
        health: { interval: '200ms', timeout: '5s' },
        gauges: { interval: '100ms' },
      };
      config['models'].demo = { pool: 'main', mirror: UNBOUNDED };
    },
  });
});
afterAll(async () => {
  await stack.close();
  await Promise.all([main, spare, next].map((engine) => engine.close()));
});
afterEach(() => {
  for (const engine of [main, spare, next]) engine.setFault(undefined);
});

describe('a copy', () => {
  beforeAll(() => mirrored(UNBOUNDED));

  it('has the body that the engine got, forbidden fields removed, and nothing that names it or the tenant', async () => {
    const text = mark();
    const answer = await ask({ ...saying(text), priority: 7, cache_salt: 'mine' });
    expect(answer.status).toBe(200);
    await copiesOf(text, 1);
    const [original] = seenBy(main, text);
    const [copy, ...more] = seenBy(next, text);
    expect(more).toEqual([]);
    expect(copy?.path).toBe('/v1/chat/completions');
    expect(copy?.body).toEqual(original?.body);
    expect(Object.keys(copy?.body as object).sort()).toEqual(['max_tokens', 'messages', 'model']);
    for (const request of [original, copy]) {
      expect(JSON.stringify(request?.headers)).not.toMatch(/fairlane|authorization|key-of/);
    }
    expect(copy?.headers['host']).toBe(original?.headers['host']);
    expect(copy?.headers['content-length']).toBe(original?.headers['content-length']);
  });

  it('of 200 KB is whole', async () => {
    const text = mark() + 'x'.repeat(200_000);
    expect((await ask(saying(text))).status).toBe(200);
    await copiesOf(text, 1);
    expect(seenBy(next, text)[0]?.body).toEqual(seenBy(main, text)[0]?.body);
  });

  it('is made of streams, and goes on to its end when the client hangs up', async () => {
    const text = mark();
    // The copies of before have ended: what ends from now on is this one.
    await eventually(
      () => next.stats(),
      ({ started, finished, aborted }) => started === finished + aborted,
    );
    const { finished } = next.stats();
    // So many that it runs for long after the client is gone, in both engines.
    const body = chatBody({ ...saying(text), stream: true, max_tokens: 600, ignore_eos: true });
    const stream = await openStream(stack.url, { key: KEYS.quiet, body });
    await eventually(
      () => stream.text(),
      (seen) => eventsOf(seen).length > 5,
    );
    await copiesOf(text, 1);
    stream.hangUp();
    const now = await eventually(
      () => next.stats().finished,
      (count) => count > finished,
    );
    expect(now).toBe(finished + 1);
    // It learns of the end when Envoy has closed the connection.
    const aborted = await eventually(
      () => main.stats().aborted,
      (count) => count > 0,
    );
    expect(aborted).toBe(1);
  });

  it('is made of embeddings too, of models that have a mirror', async () => {
    const text = mark();
    const path = '/v1/embeddings';
    const embed = (model: string) =>
      send(stack.url, { key: KEYS.quiet, path, body: JSON.stringify({ model, input: text + model }) });
    expect((await embed('demo')).status).toBe(200);
    expect((await embed('embedder')).status).toBe(200);
    await copiesOf(`${text}demo`, 1);
    await sleep(SETTLED_MS);
    expect(seenBy(next, `${text}embedder`)).toEqual([]);
  });

  it('is recorded and charged nowhere, and takes no slot', async () => {
    const before = {
      records: stack.records().length,
      tokens: await stack.metric('fairlane_tokens_total'),
      copies: await stack.metric('fairlane_shadow_copies_total', { model: 'demo' }),
    };
    const text = mark();
    const answers = await several(10, saying(text));
    await copiesOf(text, 10);
    const used = answers.map(({ json }) => (json as { usage: { total_tokens: number } }).usage.total_tokens);
    await eventually(
      () => stack.records().length,
      (count) => count >= before.records + 10,
    );
    await sleep(SETTLED_MS);
    expect(stack.records().length).toBe(before.records + 10);
    expect(
      stack
        .records()
        .slice(-10)
        .map(({ pool }) => pool),
    ).toEqual(answers.map(() => 'main'));
    expect((await stack.metric('fairlane_tokens_total')) - before.tokens).toBe(
      used.reduce((sum, tokens) => sum + tokens, 0),
    );
    expect((await stack.metric('fairlane_shadow_copies_total', { model: 'demo' })) - before.copies).toBe(10);
    expect(await stack.metric('fairlane_pool_in_flight', { pool: 'next' })).toBe(0);
    expect((await health()).shadows).toMatchObject({ demo: { pool: 'next', fraction: 1 } });
    expect(stack.logText()).not.toContain('shadow');
  });

  it('needs no model that clients see: what the shadow pool’s engine announces is not asked', async () => {
    const models = await send(stack.url, { key: KEYS.quiet, method: 'GET', path: '/v1/models' });
    expect((models.json as { data: { id: string }[] }).data.map(({ id }) => id)).toEqual([
      'demo',
      'embedder',
    ]);
  });
});

describe('a retry of the original', () => {
  beforeAll(async () => {
    await mirrored(UNBOUNDED);
    await reload((config) => {
      config['pools'].main.endpoints = [main.url, spare.url];
    });
    await eventually(
      async () => (await health()).pools['main']?.healthy,
      (healthy) => healthy === 2,
    );
    await sleep(600); // Its slow start.
  });
  afterAll(() =>
    reload((config) => {
      config['pools'].main.endpoints = [main.url];
    }),
  );

  it('is not copied again', async () => {
    const text = mark();
    main.setFault({ kind: 'status', status: 503 });
    const answers = await several(4, saying(text));
    expect(statuses(answers)).toEqual([200]);
    expect(seenBy(main, text).length).toBeGreaterThan(0);
    expect(seenBy(spare, text)).toHaveLength(4);
    await copiesOf(text, 4);
    await sleep(SETTLED_MS);
    expect(seenBy(next, text)).toHaveLength(4);
  });
});

describe('the bounds', () => {
  it('keep to the percentage', async () => {
    await mirrored({ ...UNBOUNDED, percent: 30 });
    const text = mark();
    const before = await stat('upstream_rq_total');
    for (let i = 0; i < 10; i += 1) expect(statuses(await several(30, saying(text)))).toEqual([200]);
    await sleep(SETTLED_MS);
    const part = ((await stat('upstream_rq_total')) - before) / 300;
    expect(part).toBeGreaterThan(0.18);
    expect(part).toBeLessThan(0.42);
    await mirrored({ ...UNBOUNDED, percent: 0 });
    const none = mark();
    await several(20, saying(none));
    await sleep(SETTLED_MS);
    expect(seenBy(next, none)).toEqual([]);
  });

  it('keep to perSecond', async () => {
    await mirrored({ ...UNBOUNDED, perSecond: 0.1 });
    const text = mark();
    await several(20, saying(text));
    await sleep(SETTLED_MS);
    expect(seenBy(next, text)).toHaveLength(1);
    expect(
      await stack.metric('fairlane_shadow_skips_total', { model: 'demo', reason: 'too-fast' }),
    ).toBeGreaterThan(10);
  });

  it('keep to maxConcurrent in Envoy, also when copies take longer than thought, and end them by maxDuration', async () => {
    next.setFault({ kind: 'hang' });
    await mirrored({ ...UNBOUNDED, maxConcurrent: 3, maxDuration: '3s' });
    const overflow = await stat('upstream_rq_active_overflow');
    const ended = await stat('upstream_rq_max_duration_reached');
    let most = 0;
    const text = mark();
    // On a slow machine fewer: the first copies must not have ended.
    const untilMs = Date.now() + 1_500;
    for (let i = 0; i < 20 && Date.now() < untilMs; i += 1) {
      expect((await ask({ ...saying(text), max_tokens: 1 })).status).toBe(200);
      most = Math.max(most, await stat('upstream_rq_active'));
      await sleep(40);
    }
    expect(most).toBe(3);
    expect(await stat('upstream_rq_active_overflow')).toBeGreaterThan(overflow);
    expect(seenBy(next, text)).toHaveLength(3);
    await eventually(
      () => stat('upstream_rq_active'),
      (active) => active === 0,
    );
    expect((await stat('upstream_rq_max_duration_reached')) - ended).toBe(3);
    next.setFault(undefined);
    const again = mark();
    await ask(saying(again));
    await copiesOf(again, 1);
  });

  it.each([
    ['changes them breaks off copies', { ...UNBOUNDED, maxConcurrent: 3 }, 'aborted'],
    ['removes the mirror breaks off copies', undefined, 'aborted'],
    ['changes the percentage lets copies go on', { ...UNBOUNDED, percent: 50 }, 'finished'],
  ] as const)('after a reload: one that %s, and no client’s stream', async (_, after, fate) => {
    await mirrored(UNBOUNDED);
    const text = mark();
    const before = next.stats()[fate];
    const body = chatBody({ ...saying(text), stream: true, max_tokens: 1_000, ignore_eos: true });
    const stream = await openStream(stack.url, { key: KEYS.quiet, body });
    await copiesOf(text, 1);
    await mirrored(after);
    expect(eventsOf(await stream.done).at(-1)).toBe('[DONE]');
    const now = await eventually(
      () => next.stats()[fate],
      (count) => count > before,
    );
    expect(now).toBe(before + 1);
  });

  it('keep to maxConcurrent before Envoy does, by how long copies should take', async () => {
    next.setFault({ kind: 'hang' });
    // What the tests before this one have sent counts no more.
    await mirrored(undefined);
    await mirrored({ ...UNBOUNDED, maxConcurrent: 2, maxDuration: '5s' });
    const text = mark();
    await several(20, { ...saying(text), max_tokens: 60 });
    await sleep(SETTLED_MS);
    expect(seenBy(next, text)).toHaveLength(2);
    expect(
      await stack.metric('fairlane_shadow_skips_total', { model: 'demo', reason: 'too-many' }),
    ).toBeGreaterThan(10);
  });

  it('let nothing through while an endpoint of the pool is unwell', async () => {
    await mirrored(UNBOUNDED);
    next.setFault({ kind: 'unhealthy' });
    await eventually(
      async () => (await health()).pools['next']?.healthy,
      (healthy) => healthy === 0,
    );
    const skips = () => stack.metric('fairlane_shadow_skips_total', { model: 'demo', reason: 'unhealthy' });
    const before = await skips();
    const text = mark();
    expect(statuses(await several(5, saying(text)))).toEqual([200]);
    await sleep(SETTLED_MS);
    expect(seenBy(next, text)).toEqual([]);
    expect((await skips()) - before).toBe(5);
    expect(await stack.metric('fairlane_requests_total', { outcome: 'failed' })).toBe(0);
  });
});

describe('a mirror engine that', () => {
  /** Clients that waited for a copy would take as long as it may. */
  const COPY_MS = 10_000;
  const LATE_MS = 8_000;
  const QUICK_MS = 5_000;
  const mirror = { ...UNBOUNDED, maxDuration: `${COPY_MS}ms` };
  beforeAll(() =>
    reload((config) => {
      config['pools'].next = unwatched(next.url);
      config['models'].demo.mirror = mirror;
    }),
  );

  const plain = async (): Promise<string> => {
    await mirrored(undefined);
    const { text } = await ask({ stream: true, max_tokens: 20 });
    await reload((config) => {
      config['models'].demo.mirror = mirror;
    });
    return eventsOf(text).length.toString();
  };

  it.each([
    { kind: 'hang' } as const,
    { kind: 'slow-headers', ms: LATE_MS } as const,
    { kind: 'garbage' } as const,
    { kind: 'status', status: 500 } as const,
    { kind: 'status', status: 503 } as const,
    { kind: 'status', status: 400, body: '{"error":{"message":"cache_salt?"}}' } as const,
    { kind: 'die-mid-stream', afterTokens: 2 } as const,
    { kind: 'error-frame' } as const,
  ])('does $kind changes nothing for clients', async (fault) => {
    const usual = await plain();
    next.setFault(fault);
    const text = mark();
    const begunMs = Date.now();
    const answers = await several(20, { ...saying(text), stream: true, max_tokens: 20 });
    expect(Date.now() - begunMs).toBeLessThan(QUICK_MS);
    expect(statuses(answers)).toEqual([200]);
    for (const answer of answers) {
      expect(eventsOf(answer.text)).toHaveLength(Number(usual));
      expect(eventsOf(answer.text).at(-1)).toBe('[DONE]');
    }
    await copiesOf(text, 20);
    expect(await stack.metric('fairlane_endpoint_ejected', { pool: 'next' })).toBe(0);
  });

  it('is dead changes nothing for clients, before probes see it', async () => {
    const dead = await startSimulator({ profile: parseProfile('test', {}), models: ['demo'] });
    await reload((config) => {
      config['pools'].next = unwatched(dead.url);
    });
    const copies = await stack.metric('fairlane_shadow_copies_total', { model: 'demo' });
    await dead.close();
    const begunMs = Date.now();
    const answers = await several(20, { stream: true, max_tokens: 20 });
    expect(Date.now() - begunMs).toBeLessThan(QUICK_MS);
    expect(statuses(answers)).toEqual([200]);
    for (const answer of answers) expect(eventsOf(answer.text).at(-1)).toBe('[DONE]');
    expect((await stack.metric('fairlane_shadow_copies_total', { model: 'demo' })) - copies).toBe(20);
    await reload((config) => {
      config['pools'].next = unwatched(next.url);
    });
  });
});

describe('a client', () => {
  beforeAll(() => mirrored({ ...UNBOUNDED, percent: 0 }));

  it('that names a cluster itself gets nothing copied', async () => {
    const text = mark();
    for (const name of ['x-fairlane-shadow', 'X-Fairlane-Shadow', 'fairlane-shadow']) {
      expect((await ask(saying(text), { [name]: CLUSTER })).status).toBe(200);
    }
    await sleep(SETTLED_MS);
    expect(seenBy(main, text)).toHaveLength(3);
    expect(seenBy(next, text)).toEqual([]);
    expect(JSON.stringify(seenBy(main, text))).not.toContain('x-fairlane');
  });

  /** What a connection answers to these bytes, until that is in it, or the connection ends, or nothing else comes. */
  const raw = (bytes: Buffer, until?: string): Promise<Buffer> =>
    new Promise((resolve, reject) => {
      const socket = connect(Number(new URL(stack.url).port), '127.0.0.1', () => socket.write(bytes));
      const parts: Buffer[] = [];
      const timer = setTimeout(() => socket.destroy(), until === undefined ? 500 : 10_000);
      socket.on('data', (part: Buffer) => {
        parts.push(part);
        if (until !== undefined && Buffer.concat(parts).includes(until)) socket.destroy();
      });
      socket.on('error', reject);
      socket.on('close', () => {
        clearTimeout(timer);
        resolve(Buffer.concat(parts));
      });
    });

  it('that sends the header’s real name is refused, over HTTP/1.1', async () => {
    const text = mark();
    const body = chatBody(saying(text));
    const request = (extra: string): Buffer =>
      Buffer.from(
        `POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer ${KEYS.quiet}\r\n` +
          `content-type: application/json\r\ncontent-length: ${body.length}\r\n${extra}\r\n${body}`,
      );
    expect((await raw(request(`:fairlane-shadow: ${CLUSTER}\r\n`))).toString()).not.toContain('200');
    expect([seenBy(main, text), seenBy(next, text)]).toEqual([[], []]);
    // The same bytes without it are a request.
    expect((await raw(request(''), 'finish_reason')).toString()).toMatch(/^HTTP\/1\.1 200 /);
    await sleep(SETTLED_MS);
    expect([seenBy(main, text).length, seenBy(next, text).length]).toEqual([1, 0]);
  });

  it('that sends the header’s real name is refused, over HTTP/2', async () => {
    const literal = (text: string): Buffer => {
      // RFC 7541, 5.2: lengths of 127 and more go on in further bytes.
      const { length } = text;
      const prefix = length < 127 ? [length] : [127, length - 127];
      return Buffer.concat([Buffer.from(prefix), Buffer.from(text)]);
    };
    const field = (name: string, value: string): Buffer =>
      Buffer.concat([Buffer.from([0]), literal(name), literal(value)]);
    const frame = (kind: number, flags: number, stream: number, payload: Buffer): Buffer => {
      const headBytes = Buffer.alloc(9);
      headBytes.writeUIntBE(payload.length, 0, 3);
      headBytes[3] = kind;
      headBytes[4] = flags;
      headBytes.writeUInt32BE(stream, 5);
      return Buffer.concat([headBytes, payload]);
    };
    const text = mark();
    const request = (extra: readonly Buffer[]): Buffer =>
      Buffer.concat([
        Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
        frame(4, 0, 0, Buffer.alloc(0)),
        frame(
          1,
          4,
          1,
          Buffer.concat([
            field(':method', 'POST'),
            field(':scheme', 'http'),
            field(':authority', 'a'),
            field(':path', '/v1/chat/completions'),
            ...extra,
            field('authorization', `Bearer ${KEYS.quiet}`),
            field('content-type', 'application/json'),
          ]),
        ),
        frame(0, 1, 1, Buffer.from(chatBody(saying(text)))),
      ]);
    await raw(request([field(':fairlane-shadow', CLUSTER)]));
    await sleep(SETTLED_MS);
    expect([seenBy(main, text), seenBy(next, text)]).toEqual([[], []]);
    // The same bytes without it are a request.
    await raw(request([]), 'finish_reason');
    expect(seenBy(main, text)).toHaveLength(1);
    expect(seenBy(next, text)).toEqual([]);
  });
});

describe('a reload', () => {
  it('adds a mirror and removes it while streams run, which go on', async () => {
    await mirrored(undefined);
    const long = () =>
      openStream(stack.url, {
        key: KEYS.noisy,
        body: chatBody({ ...saying('long'), stream: true, max_tokens: 3_000, ignore_eos: true }),
      });
    const first = await long();
    const none = mark();
    await ask(saying(none));
    await mirrored(UNBOUNDED);
    const text = mark();
    await ask(saying(text));
    await copiesOf(text, 1);
    const second = await long();
    await mirrored(undefined);
    expect((await health()).shadows).toBeUndefined();
    const gone = mark();
    expect((await ask(saying(gone))).status).toBe(200);
    await sleep(SETTLED_MS);
    expect([...seenBy(next, none), ...seenBy(next, gone)]).toEqual([]);
    for (const stream of [first, second]) {
      const events = eventsOf(await stream.done);
      expect(events.at(-1)).toBe('[DONE]');
      expect(events.length).toBeGreaterThan(3_000);
    }
  });
});

describe('nothing is copied, and clients are served,', () => {
  it('while Envoy does not know the cluster yet', async () => {
    await mirrored(UNBOUNDED);
    const path = `${stack.config.envoy.directory}/clusters.json`;
    const written = readFileSync(path, 'utf8');
    const { resources } = JSON.parse(written) as { readonly resources: readonly { readonly name: string }[] };
    const put = (text: string): void => {
      writeFileSync(`${path}.new`, text);
      renameSync(`${path}.new`, path);
    };
    put(JSON.stringify({ resources: resources.filter(({ name }) => name !== CLUSTER) }));
    await eventually(
      () => clusters(),
      (text) => !text.includes(CLUSTER),
    );
    const unknown = mark();
    expect(statuses(await several(5, saying(unknown)))).toEqual([200]);
    await sleep(SETTLED_MS);
    expect(seenBy(next, unknown)).toEqual([]);
    put(written);
    await eventually(
      () => clusters(),
      (text) => text.includes(CLUSTER),
    );
    const known = mark();
    await ask(saying(known));
    await copiesOf(known, 1);
    expect(seenBy(main, known)).toHaveLength(1);
  });

  it('while Fairlane is away', async () => {
    await mirrored(UNBOUNDED);
    await stack.service().drain();
    const text = mark();
    expect(statuses(await several(5, saying(text)))).toEqual([200]);
    await sleep(SETTLED_MS);
    expect(seenBy(main, text)).toHaveLength(5);
    expect(seenBy(next, text)).toEqual([]);
    await stack.restartService();
  });
});
