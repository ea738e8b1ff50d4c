/** A request whose body is encoded: what it holds, how long it may take, and what becomes of it. */
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { BodyDecoder } from '../../../src/admission/body-decoder.ts';
import { BodyQueue } from '../../../src/admission/body-queue.ts';
import type { RequestHead } from '../../../src/admission/edge.ts';
import { eventually } from '../../support/eventually.ts';
import { chatHead, createWorld, type WorldOptions } from '../../support/lifecycle.ts';

const text = (fields: object = {}): string =>
  JSON.stringify({ model: 'small', messages: [{ role: 'user', content: 'hello' }], ...fields });

/** A byte more than may be, of text that shrinks as text does. */
const LARGE = gzipSync(
  Array.from({ length: 200_001 }, (_, i) => (i * 7_919) % 90_001)
    .join(' ')
    .slice(0, 1_000_001),
);

function worldOf(options: WorldOptions = {}) {
  const world = createWorld(options);
  const onBug = (error: unknown): void => {
    throw error;
  };
  const bodies = new BodyQueue({ now: () => 0, later: setImmediate, onBug });
  world.context.decoder = new BodyDecoder(bodies, { now: () => 0, onBug });
  return world;
}

const encodedHead = (contentLength: number | undefined, coding = 'gzip'): RequestHead =>
  chatHead({ contentLength, header: (name) => (name === 'content-encoding' ? coding : '') });

async function sent(bytes: Uint8Array, { coding = 'gzip' } = {}) {
  const world = worldOf();
  const { request, said } = world.open(true);
  request.headers(encodedHead(bytes.length, coding), 0);
  request.body(bytes, 0);
  await eventually(
    () => said.at(-1)?.kind,
    (kind) => kind === 'send-on' || kind === 'respond',
  );
  return { world, request, said, last: said.at(-1) };
}

describe('an encoded body', () => {
  it('goes on decoded, also where nothing is changed: the proxy has another one', async () => {
    const { last, world } = await sent(gzipSync(text()));
    expect(last?.kind === 'send-on' && Buffer.concat(last.request.body ?? []).toString()).toBe(text());
    expect(world.context.holdings.bytesOf('a')).toBe(text().length);
  });

  it('goes on decoded with its changes', async () => {
    const { last } = await sent(gzipSync(text({ stream: true })));
    expect(last?.kind === 'send-on' && Buffer.concat(last.request.body ?? []).toString()).toBe(
      `{"stream_options":{"include_usage":true},${text({ stream: true }).slice(1)}`,
    );
  });

  it.each([
    ['is none', Buffer.from(text()), 'gzip', 400, 'invalid_content_encoding'],
    ['is cut off', gzipSync(text()).subarray(0, -3), 'gzip', 400, 'invalid_content_encoding'],
    ['is nothing', Buffer.alloc(0), 'gzip', 400, 'invalid_content_encoding'],
    ['is no JSON', gzipSync('hello'), 'gzip', 400, 'invalid_json'],
    ['becomes larger than maxBodySize', LARGE, 'gzip', 413, 'body_too_large'],
    ['grows too much', gzipSync(Buffer.alloc(900_000)), 'gzip', 413, 'body_grows_too_much'],
    ['is encoded twice', gzipSync(gzipSync(text())), 'gzip, gzip', 415, 'unsupported_content_encoding'],
    ['has an unknown coding', gzipSync(text()), 'lzma', 415, 'unsupported_content_encoding'],
  ])('that %s is refused', async (_, bytes, coding, status, code) => {
    const { last, world, request } = await sent(bytes, { coding });
    expect(last).toMatchObject({ kind: 'respond', response: { status, details: code } });
    request.streamEnded(1);
    expect(world.context.holdings.bytesOf('a')).toBe(0);
    expect(world.context.holdings.openOf('a')).toBe(0);
  });

  it('is told which codings there are, and which setting bounds it', async () => {
    const unknown = (await sent(gzipSync(text()), { coding: 'lzma' })).last;
    expect(unknown?.kind === 'respond' && unknown.response.body).toMatch(/gzip, br, zstd, deflate/);
    const large = (await sent(LARGE)).last;
    expect(large?.kind === 'respond' && large.response.body).toMatch(/envoy\.maxBodySize/);
  });

  it('is not taken where nothing decodes', () => {
    const { request, said } = createWorld().open();
    request.headers(encodedHead(100), 0);
    expect(said).toMatchObject([{ kind: 'respond', response: { status: 415 } }]);
  });
});

describe('what is held for it', () => {
  it('is what it may become, beside itself', () => {
    const world = worldOf({ limits: { maxHeldBytes: 6_000_000 } });
    const { request } = world.open(true);
    request.headers(encodedHead(4_000), 0);
    expect(world.context.holdings.bytesOf('a')).toBe(404_000);
    request.streamEnded(1);
    world.open(true).request.headers(encodedHead(undefined), 1);
    expect(world.context.holdings.bytesOf('a')).toBe(2_000_000);
  });

  it('never passes maxHeldSize: forty small ones that may become large wait for room', () => {
    const maxHeldBytes = 2_500_000;
    const world = worldOf({ limits: { maxHeldBytes, maxConcurrent: 100, maxQueued: 100 } });
    const lives = Array.from({ length: 40 }, () => {
      const life = world.open(true);
      life.request.headers(encodedHead(10_000), 0);
      return life;
    });
    expect(world.context.holdings.bytesOf('a')).toBeLessThanOrEqual(maxHeldBytes);
    const uploading = lives.filter(({ said }) => said.at(-1)?.kind === 'pass-headers');
    expect(uploading).toHaveLength(2);
    for (const { request } of lives) request.streamEnded(1);
    expect(world.context.holdings.bytesOf('a')).toBe(0);
  });

  it('leaves room for the largest where maxHeldSize is no larger than a body', () => {
    const world = worldOf({ limits: { maxHeldBytes: 1_000_000 } });
    const { request, said } = world.open(true);
    request.headers(encodedHead(500_000), 0);
    expect(said.at(-1)?.kind).toBe('pass-headers');
    expect(world.context.holdings.bytesOf('a')).toBe(1_000_000);
  });
});

it('a slow upload is one by the bytes that come, not by those that they become', () => {
  const { request, said } = worldOf().open(true);
  request.headers(encodedHead(16_384), 0);
  request.tick(11_000);
  expect(said.at(-1)?.kind).toBe('pass-headers');
  request.tick(11_001);
  expect(said.at(-1)).toMatchObject({ kind: 'respond', response: { status: 408 } });
});

it('while a body is decoded, nothing but its end and the stream’s changes anything', async () => {
  const world = worldOf();
  const { request, said } = world.open(true);
  const bytes = gzipSync(text());
  request.headers(encodedHead(bytes.length), 0);
  request.body(bytes, 0);
  request.body(Buffer.from('{"model":"secret"}'), 0);
  request.headers(encodedHead(5), 0);
  request.tick(1_000_000);
  expect(said.map(({ kind }) => kind)).toEqual(['pass-headers', 'hold']);
  const last = await eventually(
    () => said.at(-1),
    (one) => one?.kind === 'send-on',
  );
  expect(last?.kind === 'send-on' && Buffer.concat(last.request.body ?? []).toString()).toBe(text());
  expect(said).toHaveLength(3);
});

it('a client that hangs up while its body is decoded leaves nothing', async () => {
  const world = worldOf();
  const { request, said } = world.open(true);
  const bytes = gzipSync(text());
  request.headers(encodedHead(bytes.length), 0);
  request.body(bytes, 0);
  request.streamEnded(1);
  await new Promise((resolve) => setTimeout(resolve, 30));
  expect(said.map(({ kind }) => kind)).toEqual(['pass-headers', 'hold']);
  expect(world.context.holdings.openOf('a')).toBe(0);
  expect(world.records).toMatchObject([{ outcome: 'aborted' }]);
});
