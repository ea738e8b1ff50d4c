import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Holding, Holdings } from '../../../src/admission/holdings.ts';
import { chatHead, createWorld } from '../../support/lifecycle.ts';

const LIMITS = { maxOpen: 3, maxHeldBytes: 100, maxWaitingBytes: 50 };

const taken = (holdings: Holdings, tenant: string, bytes: number, limits = LIMITS): Holding => {
  const holding = holdings.take(tenant, bytes, limits);
  if (typeof holding === 'string') throw new Error(holding);
  return holding;
};

describe('what a tenant holds', () => {
  it('is bounded in exchanges, and another tenant’s is its own', () => {
    const holdings = new Holdings((error) => {
      throw error;
    });
    for (let i = 0; i < 3; i += 1) taken(holdings, 'a', 1);
    expect(holdings.take('a', 1, LIMITS)).toBe('too-many-open');
    taken(holdings, 'b', 1);
  });

  it('is bounded in bytes: as said before the body is there, as long as it is afterwards, none once it is gone', () => {
    const holdings = new Holdings((error) => {
      throw error;
    });
    expect(holdings.take('a', 101, LIMITS)).toBe('too-many-bytes');
    const first = taken(holdings, 'a', 80);
    const second = taken(holdings, 'a', 50);
    expect([first.hasRoom(), second.hasRoom()]).toEqual([true, false]);
    first.arrived(50);
    expect(second.hasRoom()).toBe(true);
    first.bodyGone();
    expect(holdings.bytesOf('a')).toBe(50);
    expect(holdings.openOf('a')).toBe(2);
    second.gone();
    first.gone();
    expect(holdings.openOf('a')).toBe(0);
  });

  it('is bounded in bytes that wait for room, which Envoy has read already: more is refused at once', () => {
    const holdings = new Holdings((error) => {
      throw error;
    });
    const limits = { ...LIMITS, maxOpen: 9 };
    const full = taken(holdings, 'a', 100, limits);
    expect(holdings.take('a', 51, limits)).toBe('too-many-bytes');
    const first = taken(holdings, 'a', 30, limits);
    const second = taken(holdings, 'a', 20, limits);
    expect(holdings.take('a', 1, limits)).toBe('too-many-bytes');
    expect(holdings.openOf('a')).toBe(3);
    // Who leaves, or gets room, waits no more.
    second.gone();
    second.gone();
    const third = taken(holdings, 'a', 20, limits);
    expect(holdings.take('a', 1, limits)).toBe('too-many-bytes');
    full.bodyGone();
    expect([first.hasRoom(), third.hasRoom()]).toEqual([true, true]);
    taken(holdings, 'a', 50, limits);
    const waits = taken(holdings, 'a', 50, limits);
    expect(waits.hasRoom()).toBe(false);
    expect(holdings.bytesOf('a')).toBe(100);
  });

  it('has room for who came first, who is told once, and not for who has left', () => {
    const holdings = new Holdings((error) => {
      throw error;
    });
    const told: string[] = [];
    const first = taken(holdings, 'a', 90);
    const large = taken(holdings, 'a', 40);
    large.whenRoom({ roomGranted: () => told.push('large') });
    const small = taken(holdings, 'a', 10);
    small.whenRoom({ roomGranted: () => told.push('small') });
    expect(small.hasRoom()).toBe(false);
    first.bodyGone();
    expect(told).toEqual(['large', 'small']);
    large.gone();
    first.gone();
    small.gone();
    const full = taken(holdings, 'a', 100);
    const left = taken(holdings, 'a', 50);
    left.whenRoom({ roomGranted: () => told.push('left') });
    left.gone();
    full.gone();
    expect(told).toEqual(['large', 'small']);
    expect(holdings.openOf('a')).toBe(0);
  });

  it('waits by the bytes that come, and has room for what they become', () => {
    const holdings = new Holdings((error) => {
      throw error;
    });
    const limits = { maxOpen: 10, maxHeldBytes: 100, maxWaitingBytes: 50 };
    taken(holdings, 'a', 90, limits);
    const waiting = [1, 2, 3, 4].map(() => holdings.take('a', 80, limits, 10));
    expect(waiting.every((one) => typeof one !== 'string' && !one.hasRoom())).toBe(true);
    expect(holdings.take('a', 80, limits, 20)).toBe('too-many-bytes');
    for (const one of waiting) if (typeof one !== 'string') one.gone();
    const all = holdings.take('a', 50, limits);
    expect(typeof all !== 'string' && all.hasRoom()).toBe(false);
  });

  it('is never more than the limits, never less than nothing, and nothing in the end', () => {
    const step = fc.record({
      what: fc.constantFrom('take', 'arrived', 'bodyGone', 'gone'),
      which: fc.nat(9),
      bytes: fc.nat(120),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const holdings = new Holdings((error) => {
          throw error;
        });
        const open: { holding: Holding; said: number }[] = [];
        const all: Holding[] = [];
        for (const { what, which, bytes } of steps) {
          const one = open[which % Math.max(1, open.length)];
          if (what === 'take') {
            const holding = holdings.take('a', bytes, LIMITS, which % 2 === 0 ? bytes : bytes >> 3);
            if (typeof holding !== 'string') {
              open.push({ holding, said: bytes });
              all.push(holding);
            }
          } else if (one !== undefined) {
            if (what === 'arrived') one.holding.arrived(Math.min(bytes, one.said));
            else if (what === 'bodyGone') one.holding.bodyGone();
            else {
              one.holding.gone();
              one.holding.gone();
              open.splice(open.indexOf(one), 1);
            }
          }
          expect(holdings.openOf('a')).toBe(open.length);
          expect(holdings.openOf('a')).toBeLessThanOrEqual(LIMITS.maxOpen);
          expect(holdings.bytesOf('a')).toBeGreaterThanOrEqual(0);
          expect(holdings.bytesOf('a')).toBeLessThanOrEqual(LIMITS.maxHeldBytes);
          const waiting = open.filter(({ holding }) => !holding.hasRoom());
          const bytesThatWait = waiting.reduce((sum, { holding }) => sum + holding.arriving, 0);
          expect(bytesThatWait).toBeLessThanOrEqual(LIMITS.maxWaitingBytes);
        }
        for (const holding of all) holding.gone();
        expect(holdings.openOf('a')).toBe(0);
        expect(holdings.bytesOf('a')).toBe(0);
      }),
    );
  });
});

const body = (fields: object = {}): Buffer =>
  Buffer.from(JSON.stringify({ model: 'small', messages: [{ role: 'user', content: 'x' }], ...fields }));

describe('a request', () => {
  it('counts from its headers: uploads that do not come fill maxConcurrent and maxQueued, and 429 comes before the next one', () => {
    const world = createWorld({ limits: { maxConcurrent: 2, maxQueued: 1 } });
    const most = 2 + 1 + 8;
    const lives = Array.from({ length: most }, () => {
      const { request, said } = world.open();
      request.headers(chatHead(), 0);
      expect(said.at(-1)?.kind).toBe('pass-headers');
      return request;
    });
    const { request, said } = world.open();
    request.headers(chatHead(), 0);
    expect(said).toMatchObject([
      { kind: 'respond', response: { status: 429, details: 'tenant_queue_full' } },
    ]);
    expect(said[0]).toHaveProperty('response.headers', expect.arrayContaining([['retry-after', '1']]));
    lives[0]?.streamEnded(1);
    const again = world.open();
    again.request.headers(chatHead(), 1);
    expect(again.said.at(-1)?.kind).toBe('pass-headers');
  });

  it('without a length counts as the bound of these, and is refused above it', () => {
    const world = createWorld({
      limits: { maxHeldBytes: 1_000_000, maxConcurrent: 20 },
      change: (config) => ({ ...config, envoy: { ...config.envoy, maxUnsizedBodyBytes: 100_000 } }),
    });
    const all = Array.from({ length: 10 }, () => {
      const one = world.open();
      one.request.headers(chatHead(), 0);
      return one;
    });
    expect(new Set(all.map(({ said }) => said.at(-1)?.kind))).toEqual(new Set(['pass-headers']));
    expect(world.context.holdings.bytesOf('a')).toBe(1_000_000);
    const [first, second] = all;
    first?.request.body(Buffer.concat([body(), Buffer.alloc(100_001 - body().length, ' ')]), 1);
    expect(first?.said.at(-1)).toMatchObject({
      kind: 'respond',
      response: { status: 413, details: 'body_too_large', body: expect.stringContaining('100000 bytes') },
    });
    second?.request.body(Buffer.concat([body(), Buffer.alloc(100_000 - body().length, ' ')]), 1);
    expect(second?.said.at(-1)).toMatchObject({ kind: 'send-on' });
    for (const { request } of all.slice(1)) request.streamEnded(1);
    const sized = world.open();
    sized.request.headers(chatHead({ contentLength: 100_001 }), 2);
    sized.request.body(Buffer.concat([body(), Buffer.alloc(100_001 - body().length, ' ')]), 2);
    expect(sized.said.at(-1)?.kind).toBe('send-on');
  });

  it('counts as long as it says, or as maxBodySize, until the engine’s answer begins', () => {
    const world = createWorld({ limits: { maxHeldBytes: 1_500_000 } });
    const first = world.open();
    first.request.headers(chatHead(), 0);
    expect(world.context.holdings.bytesOf('a')).toBe(1_000_000);
    const second = world.open();
    second.request.headers(chatHead({ contentLength: 500_001 }), 0);
    // Its upload has not been let begin.
    expect(second.said).toMatchObject([{ kind: 'hold' }]);
    second.request.tick(3_000);
    expect(second.said).toHaveLength(1);
    second.request.tick(3_001);
    expect(second.said).toMatchObject([
      { kind: 'hold' },
      { kind: 'respond', response: { status: 429, details: 'too_many_bytes_held' } },
    ]);
    const patient = world.open();
    patient.request.headers(chatHead({ contentLength: 500_001 }), 0);
    first.request.body(body(), 1);
    expect(patient.said.map(({ kind }) => kind)).toEqual(['hold', 'pass-headers']);
    patient.request.streamEnded(1);
    expect(world.context.holdings.bytesOf('a')).toBe(body().length);
    const third = world.open();
    third.request.headers(chatHead({ contentLength: 500_001 }), 2);
    expect(third.said.at(-1)?.kind).toBe('pass-headers');
    first.request.responseHeaders(
      { status: 200, contentType: 'application/json', contentEncoding: '', upstream: '', endOfStream: false },
      3,
    );
    expect(world.context.holdings.bytesOf('a')).toBe(500_001);
    expect(world.context.holdings.openOf('a')).toBe(2);
  });

  it('stays open when its slot is free: an answer in one piece that nobody reads', () => {
    const world = createWorld({ window: 1 });
    const first = world.open();
    first.request.headers(chatHead(), 0);
    first.request.body(body(), 0);
    first.request.responseHeaders(
      { status: 200, contentType: 'application/json', contentEncoding: '', upstream: '', endOfStream: false },
      1,
    );
    first.request.responseChunk(Buffer.from('{"choices":['), false, 2);
    const next = world.open();
    next.request.headers(chatHead(), 3);
    next.request.body(body(), 3);
    expect(next.said.at(-1)?.kind).toBe('hold');
    first.request.tick(9_000);
    expect(next.said.at(-1)?.kind).toBe('hold');
    first.request.tick(10_100);
    expect(next.said.at(-1)?.kind).toBe('send-on');
    expect(world.context.holdings.openOf('a')).toBe(2);
    first.request.streamEnded(11_000);
    expect(world.context.holdings.openOf('a')).toBe(1);
    expect(world.records[0]).toMatchObject({ stalled: true });
  });

  it.each([
    ['in the time that its length takes', { contentLength: 163_840 }, 20_000],
    ['without a length, in the time of the longest', {}, 10_000 + Math.ceil(1_000_000 / 16.384)],
  ])('must have come %s', (_, head, untilMs) => {
    const world = createWorld();
    const { request, said } = world.open();
    request.headers(chatHead(head), 0);
    request.tick(untilMs);
    expect(said.at(-1)?.kind).toBe('pass-headers');
    request.tick(untilMs + 1);
    expect(said.at(-1)).toMatchObject({
      kind: 'respond',
      response: { status: 408, details: 'request_timeout' },
    });
    expect(world.context.holdings.openOf('a')).toBe(0);
    request.body(body(), untilMs + 2);
    expect(said.length).toBe(2);
  });

  it('that is there waits as long as the queue lets it, however late it is', () => {
    const world = createWorld({ window: 1 });
    for (let i = 0; i < 2; i += 1) {
      const { request, said } = world.open();
      request.headers(chatHead({ contentLength: 100 }), 0);
      request.body(body(), 1);
      request.tick(1_000_000);
      expect(said.at(-1)?.kind).toBe(i === 0 ? 'send-on' : 'hold');
    }
  });

  it('of more bytes than maxBodySize is refused, whoever let it through', () => {
    const world = createWorld();
    const { request, said } = world.open();
    request.headers(chatHead(), 0);
    request.body(Buffer.alloc(1_000_001, ' '), 1);
    expect(said.at(-1)).toMatchObject({ kind: 'respond', response: { status: 413 } });
  });
});

describe('the queue', () => {
  it('is bounded in bytes, of all tenants and pools: 503', () => {
    const long = body({ messages: [{ role: 'user', content: 'x'.repeat(1_000) }] });
    const world = createWorld({
      window: 1,
      change: (config) => ({ ...config, queue: { ...config.queue, maxQueuedBytes: 2.5 * long.length } }),
    });
    const send = (tenant: string): string | undefined => {
      const { request, said } = world.open();
      request.headers(chatHead({ tenant }), 0);
      request.body(long, 0);
      const last = said.at(-1);
      return last?.kind === 'respond' ? `${last.response.status} ${last.response.details}` : last?.kind;
    };
    expect(send('a')).toBe('send-on');
    expect([send('a'), send('b'), send('a'), send('b')]).toEqual([
      'hold',
      'hold',
      '503 queue_full',
      '503 queue_full',
    ]);
    // What expires gives its bytes back.
    world.dispatcher.tick(1_000);
    expect(send('a')).toBe('hold');
  });

  it('whose body comes before there is room for it, as from a gateway, is read when there is', () => {
    const world = createWorld({ limits: { maxHeldBytes: 1_000_000 } });
    const first = world.open();
    first.request.headers(chatHead(), 0);
    const early = world.open();
    early.request.headers(chatHead(), 0);
    early.request.body(body(), 1);
    expect(early.said.map(({ kind }) => kind)).toEqual(['hold']);
    first.request.streamEnded(2);
    expect(early.said.map(({ kind }) => kind)).toEqual(['hold', 'pass-headers', 'send-on']);
  });

  it('that has ended while it waited for room is not begun by it', () => {
    const world = createWorld({ limits: { maxHeldBytes: 1_000_000 } });
    const first = world.open();
    first.request.headers(chatHead(), 0);
    const second = world.open();
    second.request.headers(chatHead(), 0);
    second.request.responseHeaders(
      { status: 504, contentType: '', contentEncoding: '', upstream: '', endOfStream: true },
      1,
    );
    expect(second.request.ended()).toBe(true);
    const said = second.said.length;
    first.request.streamEnded(2);
    expect(second.request.ended()).toBe(true);
    expect(second.said).toHaveLength(said);
    second.request.streamEnded(3);
    expect(world.records).toHaveLength(2);
    expect(world.context.holdings.openOf('a')).toBe(0);
  });
});
