/**
 * The table of src/admission/request-lifecycle.ts: every event in every state, and every event after that. Whatever comes,
 * accounts are closed once, one record is written, and the request is answered once.
 */
import { describe, expect, it } from 'vitest';
import { BodyQueue } from '../../../src/admission/body-queue.ts';
import type { RequestLifecycle } from '../../../src/admission/request-lifecycle.ts';
import { createMemoryStore } from '../../../src/limit/memory-store.ts';
import type { LimitStore } from '../../../src/limit/store.ts';
import type { Release } from '../../../src/queue/types.ts';
import type { Reservation, ReservationResult } from '../../../src/tenant/tenant-limits.ts';
import { chatHead, createWorld, type Said } from '../../support/lifecycle.ts';

const chat = (content: string, fields: object = {}): Buffer =>
  Buffer.from(JSON.stringify({ model: 'small', messages: [{ role: 'user', content }], ...fields }));
const BODY = chat('hello there', { stream: true, max_tokens: 10 });
const LARGE_BODY = chat('x'.repeat(600_000), { stream: true, max_tokens: 10 });
const head = (fields: object = {}) => ({
  status: 200,
  contentType: 'text/event-stream',
  contentEncoding: '',
  upstream: '10.0.0.1:8000',
  endOfStream: false,
  ...fields,
});
const event = (data: object | string): Buffer =>
  Buffer.from(`data: ${typeof data === 'string' ? data : JSON.stringify(data)}\n\n`);
const TOKEN = event({ choices: [{ index: 0, delta: { content: 'x' }, finish_reason: null }] });
const USAGE = event({ choices: [], usage: { prompt_tokens: 5, completion_tokens: 1 } });
const LIMITS = { tokensPerMinute: 1e6, requestsPerMinute: 1_000, maxHeldBytes: 2_000_000 };

interface StageOptions {
  /** Others have to be asked about limits. */
  readonly slow?: boolean;
  /** Another request of the tenant has the one slot. */
  readonly busy?: boolean;
}

/** A request, all that can happen around it, and what is counted of it. */
class Stage {
  private readonly questions: (() => void)[] = [];
  private readonly turns: (() => void)[] = [];
  private readonly memory = createMemoryStore();
  private readonly store: LimitStore = {
    take: (demands, nowMs) =>
      !this.slow || demands.every(({ mode }) => mode === 'report')
        ? this.memory.take(demands, nowMs)
        : new Promise((resolve) => this.questions.push(() => resolve(this.memory.take(demands, nowMs)))),
    close: () => Promise.resolve(),
  };
  private readonly world = createWorld({ window: 1, limits: LIMITS, store: this.store });
  private readonly other: RequestLifecycle | undefined;
  private slow = false;
  readonly request: RequestLifecycle;
  readonly said: Said[];
  nowMs = 0;
  /** Calls of `settle`, of each reservation and of each release. */
  readonly settled: number[] = [];

  constructor({ slow = false, busy = false }: StageOptions = {}) {
    const { context } = this.world;
    context.now = () => this.nowMs;
    context.bodies = new BodyQueue({
      now: () => this.nowMs,
      later: (callback) => void this.turns.push(callback),
      onBug: (error) => {
        throw error;
      },
    });
    this.count();
    if (busy) {
      this.other = this.world.open().request;
      this.other.headers(chatHead({ requestId: 'other' }), 0);
      this.other.body(BODY, 0);
    }
    this.slow = slow;
    ({ request: this.request, said: this.said } = this.world.open());
  }

  private counter(): () => void {
    const index = this.settled.push(0) - 1;
    return () => {
      this.settled[index] = (this.settled[index] ?? 0) + 1;
    };
  }

  private count(): void {
    const { context, dispatcher, tenants } = this.world;
    const reservation = (result: ReservationResult): ReservationResult => {
      if (result.kind !== 'reserved') return result;
      const settled = this.counter();
      const { reservation: own } = result;
      const counted: Reservation = {
        tokens: own.tokens,
        charge: (used, at) => own.charge(used, at),
        settle: (used, at) => {
          settled();
          own.settle(used, at);
        },
      };
      return { kind: 'reserved', reservation: counted };
    };
    context.tenants = {
      get(name) {
        const known = tenants.get(name);
        if (known === undefined) return undefined;
        const { config, limits } = known;
        return {
          config,
          limits: {
            takeRequest: (at) => limits.takeRequest(at),
            reserveTokens: (tokens, at) => {
              const result = limits.reserveTokens(tokens, at);
              return result instanceof Promise ? result.then(reservation) : reservation(result);
            },
            requests: (at) => limits.requests(at),
            tokens: (at) => limits.tokens(at),
            month: (at) => limits.month(at),
            wouldTakeRequest: (at) => limits.wouldTakeRequest(at),
            wouldReserve: (tokens, at) => limits.wouldReserve(tokens, at),
          },
        };
      },
    };
    const wrapped = (release: Release): Release => {
      const settled = this.counter();
      return {
        pool: release.pool,
        slot: release.slot,
        belowFairShare: release.belowFairShare,
        waitedMs: release.waitedMs,
        firstToken: (at) => release.firstToken(at),
        charge: (cost, at) => release.charge(cost, at),
        free: (at) => release.free(at),
        settle: (cost, at) => {
          settled();
          release.settle(cost, at);
        },
      };
    };
    context.dispatcher = {
      canServe: (pool, within) => dispatcher.canServe(pool, within),
      isFullFor: (tenant, at) => dispatcher.isFullFor(tenant, at),
      retryAfterMs: (pool) => dispatcher.retryAfterMs(pool),
      explain: (waiting, at) => dispatcher.explain(waiting, at),
      offer: (waiting, at) =>
        dispatcher.offer(
          {
            tenant: waiting.tenant,
            pool: waiting.pool,
            lane: waiting.lane,
            cost: waiting.cost,
            demand: waiting.demand,
            onRelease: (release, released) => waiting.onRelease(wrapped(release), released),
            onExpire: (reason, waitedMs, expired) => waiting.onExpire(reason, waitedMs, expired),
          },
          at,
        ),
    };
  }

  /** What was asked gets its answer, and what comes of it has come. */
  async answer(): Promise<void> {
    for (const one of this.questions.splice(0)) one();
    await new Promise((resolve) => setImmediate(resolve));
  }

  read(): void {
    for (let i = 0; i < 100 && this.turns.length > 0; i += 1) this.turns.shift()?.();
  }

  /** Others hold all that the tenant may. */
  holdAll(): void {
    const { holdings } = this.world.context;
    this.blocking = holdings.take('a', 2_000_000, {
      maxOpen: 9,
      maxHeldBytes: 2_000_000,
      maxWaitingBytes: 2_000_000,
    });
  }
  private blocking: ReturnType<(typeof this.world)['context']['holdings']['take']> | undefined;

  makeRoom(): void {
    if (typeof this.blocking === 'object') this.blocking.gone();
  }

  otherEnds(): void {
    this.other?.streamEnded(this.nowMs);
  }

  expire(): void {
    this.nowMs += 2_000;
    this.world.dispatcher.tick(this.nowMs);
  }

  /** Ends everything, and looks at all accounts. */
  async check(): Promise<void> {
    this.request.streamEnded(this.nowMs);
    await this.answer();
    this.read();
    this.makeRoom();
    this.otherEnds();
    expect(this.request.ended()).toBe(true);
    const { world } = this;
    expect(world.endpoints.inFlight()).toBe(0);
    expect(world.dispatcher.queued()).toBe(0);
    expect([...world.occupancy.rows()]).toEqual([]);
    expect(world.context.holdings.openOf('a')).toBe(0);
    expect(world.context.holdings.bytesOf('a')).toBe(0);
    for (const { limits } of world.tenants.all()) expect(limits.outstanding()).toBe(0);
    for (const times of this.settled) expect(times).toBe(1);
    expect(world.records.filter(({ requestId }) => requestId === 'mine').length).toBeLessThanOrEqual(1);
    expect(this.said.filter(({ kind }) => kind === 'respond').length).toBeLessThanOrEqual(1);
    expect(this.said.filter(({ kind }) => kind === 'send-on').length).toBeLessThanOrEqual(1);
  }

  records(): number {
    return this.world.records.filter(({ requestId }) => requestId === 'mine').length;
  }
}

const HEAD = chatHead({ requestId: 'mine' });
type Step = (stage: Stage) => void | Promise<void>;

const EVENTS: Readonly<Record<string, Step>> = {
  headers: ({ request, nowMs }) => request.headers(HEAD, nowMs),
  body: ({ request, nowMs }) => request.body(BODY, nowMs),
  'large body': ({ request, nowMs }) => request.body(LARGE_BODY, nowMs),
  'bad body': ({ request, nowMs }) => request.body(Buffer.from('{'), nowMs),
  'limits answer': (stage) => stage.answer(),
  room: (stage) => stage.makeRoom(),
  'body read': (stage) => stage.read(),
  release: (stage) => stage.otherEnds(),
  expiry: (stage) => stage.expire(),
  'response headers': ({ request, nowMs }) => request.responseHeaders(head(), nowMs),
  'headers alone': ({ request, nowMs }) => request.responseHeaders(head({ endOfStream: true }), nowMs),
  'an error of the engine': ({ request, nowMs }) => request.responseHeaders(head({ status: 500 }), nowMs),
  'an answer of Envoy': ({ request, nowMs }) =>
    request.responseHeaders(head({ status: 503, upstream: '' }), nowMs),
  token: ({ request, nowMs }) => request.responseChunk(TOKEN, false, nowMs),
  usage: ({ request, nowMs }) => request.responseChunk(USAGE, false, nowMs),
  done: ({ request, nowMs }) => request.responseChunk(event('[DONE]'), false, nowMs),
  'last chunk': ({ request, nowMs }) => request.responseChunk(Buffer.alloc(0), true, nowMs),
  'response end': ({ request, nowMs }) => request.responseComplete(nowMs),
  tick: ({ request, nowMs }) => request.tick(nowMs),
  'late tick': (stage) => {
    stage.nowMs += 120_000;
    stage.request.tick(stage.nowMs);
  },
  'stream ended': ({ request, nowMs }) => request.streamEnded(nowMs),
};

const steps =
  (...names: readonly (keyof typeof EVENTS)[]): Step =>
  async (stage) => {
    for (const name of names) {
      stage.nowMs += 10;
      await EVENTS[name]?.(stage);
    }
  };

/** What may be there when the first one has come: all that can end a request, or go on with it. */
const SECOND: readonly (keyof typeof EVENTS)[] = [
  'headers',
  'body',
  'limits answer',
  'body read',
  'release',
  'expiry',
  'response headers',
  'an error of the engine',
  'done',
  'response end',
  'late tick',
  'stream ended',
];

interface Reached {
  readonly options?: StageOptions;
  readonly reach: Step;
  /** What has been said then. */
  readonly said: readonly Said['kind'][];
}

const STATES: Readonly<Record<string, Reached>> = {
  new: { said: [], reach: () => undefined },
  'receiving, asking': { said: [], options: { slow: true }, reach: steps('headers') },
  'receiving, without room': {
    said: ['hold'],
    reach: async (stage) => {
      stage.holdAll();
      await steps('headers')(stage);
    },
  },
  'receiving, uploading': { said: ['pass-headers'], reach: steps('headers') },
  'receiving, reading': { said: ['pass-headers', 'hold'], reach: steps('headers', 'large body') },
  reserving: {
    said: ['pass-headers'],
    options: { slow: true },
    reach: steps('headers', 'limits answer', 'body'),
  },
  queued: { said: ['pass-headers', 'hold'], options: { busy: true }, reach: steps('headers', 'body') },
  sent: { said: ['pass-headers', 'send-on'], reach: steps('headers', 'body') },
  answering: {
    said: ['pass-headers', 'send-on', 'response-headers'],
    reach: steps('headers', 'body', 'response headers'),
  },
  streaming: {
    said: ['pass-headers', 'send-on', 'response-headers', 'chunk'],
    reach: steps('headers', 'body', 'response headers', 'token'),
  },
  stalled: {
    said: ['pass-headers', 'send-on', 'response-headers', 'chunk'],
    reach: steps('headers', 'body', 'response headers', 'token', 'late tick'),
  },
  'ended, completed': {
    said: ['pass-headers', 'send-on', 'response-headers', 'chunk'],
    reach: steps('headers', 'body', 'response headers', 'done'),
  },
  'ended, refused': { said: ['pass-headers', 'respond'], reach: steps('headers', 'bad body') },
  'ended, failed': {
    said: ['pass-headers', 'send-on', 'response-headers'],
    reach: steps('headers', 'body', 'an error of the engine'),
  },
  'ended, aborted': { said: ['pass-headers', 'send-on'], reach: steps('headers', 'body', 'stream ended') },
};

describe.each(Object.entries(STATES))('a request that is %s', (state, { options, reach, said: expected }) => {
  it.each(Object.entries(EVENTS))('and gets: %s', async (_name, happens) => {
    for (const second of SECOND) {
      const stage = new Stage(options);
      await reach(stage);
      expect(stage.request.ended()).toBe(state.startsWith('ended'));
      expect(stage.said.map(({ kind }) => kind)).toEqual(expected);
      const before = { ended: stage.request.ended(), records: stage.records() };
      await happens(stage);
      const ended = stage.request.ended();
      const said = stage.said.length;
      const records = stage.records();
      if (before.ended) expect([ended, records]).toEqual([true, before.records]);
      await EVENTS[second]?.(stage);
      if (ended) {
        // What comes after the end changes nothing: an answer's bytes are still passed on.
        expect(stage.request.ended()).toBe(true);
        expect(stage.records()).toBe(records);
        for (const { kind } of stage.said.slice(said)) expect(['response-headers', 'chunk']).toContain(kind);
      }
      await stage.check();
    }
  });
});
