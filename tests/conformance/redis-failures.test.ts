/** Redis away, slow, full, read-only or emptied: no decision fails, none waits, and the limit holds within its bound. */
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { connect, createServer, type Socket } from 'node:net';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  createRedisLeaseStore,
  type RedisLeaseStore,
  type RedisLeaseStoreOptions,
} from '../../src/limit/redis-lease-store.ts';
import type { RedisEvent } from '../../src/limit/redis-servers.ts';
import type { Taken } from '../../src/limit/store.ts';
import { eventually } from '../support/eventually.ts';
import { freePorts } from '../support/ports.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { Stalls } from '../support/stalls.ts';

/** Of the limits: nothing comes back during a test. */
const MONTHS = 1_000 * 3_600_000;
const WAIT_MS = 10;
/** What timers and the garbage collector may add. */
const SLACK_MS = 100;
const stalls = new Stalls();
afterAll(() => stalls.close());

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** A replica that uses a key all the time, and says so once. */
const USER = `
import { createRedisLeaseStore } from ${JSON.stringify(new URL('../../src/limit/redis-lease-store.ts', import.meta.url).href)};
const [redis, keyPrefix] = process.argv.slice(1);
const store = createRedisLeaseStore({ redis, keyPrefix, replica: 'dying', waitMs: 1000 });
const limit = { amount: 10000, unitMs: ${MONTHS} };
for (let i = 0; ; i += 1) {
  if (store.status().connected) await store.take([{ key: 'secret-key', limit, hits: 1 }], 0);
  if (i > 300 && store.status().leased > 50) process.stdout.write('leased');
  await new Promise((resolve) => setTimeout(resolve, 1));
}
`;

interface Replica {
  readonly store: RedisLeaseStore;
  readonly events: RedisEvent[];
  take(hits: number, amount?: number, key?: string): Promise<Taken>;
  /** Of the slowest decision. */
  slowestMs(): number;
}

let redis: TestRedis;
let prefix = '';
const open: { close(): Promise<void> }[] = [];

beforeEach(async () => {
  redis = await startRedis();
  open.push(redis);
  prefix = `t:${randomUUID()}:`;
});
afterEach(async () => {
  for (const one of open.splice(0).toReversed()) await one.close();
});

function replica(options: Partial<RedisLeaseStoreOptions> = {}): Replica {
  const events: RedisEvent[] = [];
  const store = createRedisLeaseStore({
    redis: redis.url,
    keyPrefix: prefix,
    waitMs: WAIT_MS,
    failureShare: 0.25,
    onEvent: (event) => events.push(event),
    ...options,
  });
  open.push(store);
  let slowestMs = 0;
  return {
    store,
    events,
    async take(hits, amount = 1_000, key = 'secret-key') {
      const before = performance.now();
      const [taken] = await store.take([{ key, limit: { amount, unitMs: MONTHS }, hits }], 0);
      slowestMs = Math.max(slowestMs, stalls.sinceMs(before));
      if (taken === undefined) throw new Error('no outcome');
      return taken;
    },
    slowestMs: () => slowestMs,
  };
}

async function connected(options: Partial<RedisLeaseStoreOptions> = {}): Promise<Replica> {
  const one = replica({ waitMs: 1_000, ...options });
  await eventually(() => one.store.status().connected, Boolean);
  return one;
}

const kinds = (one: Replica): string[] => one.events.map(({ kind }) => kind);
const grantedOf = async (one: Replica, times: number, amount?: number): Promise<number> => {
  let granted = 0;
  for (let i = 0; i < times; i += 1) granted += (await one.take(1, amount)).granted ? 1 : 0;
  return granted;
};

const isReported = (one: Replica): Promise<unknown> =>
  eventually(
    () => one.store.status().unreported,
    (count) => count === 0,
  );

/** As another replica sees it, once nothing is leased. */
const remains = async (other: Replica, tokens: number): Promise<void> => {
  await eventually(
    async () => (await other.take(0)).remaining,
    (remaining) => remaining === tokens,
  );
};

describe('a replica whose Redis fails', () => {
  it('decides alone on its share when Redis is not there at the start, and joins when it comes', async () => {
    const [port = 0] = await freePorts(1);
    const one = replica({ redis: `redis://:secret-password@127.0.0.1:${port}` });
    expect(await grantedOf(one, 400)).toBe(250);
    await eventually(
      () => one.events.length,
      (count) => count === 1,
    );
    await sleep(700);
    expect(kinds(one)).toEqual(['lost']);
    expect(JSON.stringify(one.events)).toContain('ECONNREFUSED');
    expect(JSON.stringify(one.events)).not.toContain('secret');
    expect(one.slowestMs()).toBeLessThan(SLACK_MS);
  });

  it('decides alone with a wrong password, and does not tell it', async () => {
    await redis.client.config('SET', 'requirepass', 'the-right-one');
    const one = replica({ redis: redis.url.replace('//', '//:secret-password@') });
    await eventually(
      () => kinds(one),
      (all) => all.length > 0,
    );
    expect((await one.take(1)).granted).toBe(true);
    await sleep(500);
    expect(kinds(one)).toEqual(['lost']);
    expect(JSON.stringify(one.events)).not.toContain('secret');
    const other = await connected({ redis: { url: redis.url, options: { password: 'the-right-one' } } });
    expect((await other.take(0)).remaining).toBe(1_000);
  });

  it('does not fail one decision when Redis is killed and restarted under load', async () => {
    const one = await connected({ waitMs: WAIT_MS });
    let isOver = false;
    let decided = 0;
    const worker = async (id: number): Promise<void> => {
      while (!isOver) {
        await one.take(id % 3 === 0 ? 3 : 1, 100_000, `key-${(decided + id) % 50}`);
        decided += 1;
        if (decided % 20 === 0) await sleep(1);
      }
    };
    const workers = Promise.all(Array.from({ length: 20 }, (_, id) => worker(id)));
    await sleep(300);
    await redis.kill();
    await sleep(500);
    expect(one.store.status().connected).toBe(false);
    await redis.restart();
    await eventually(() => one.store.status().connected, Boolean);
    await sleep(1_500);
    isOver = true;
    await workers;
    expect(kinds(one)).toEqual(['connected', 'lost', 'connected']);
    expect(decided).toBeGreaterThan(1_000);
    expect(one.slowestMs()).toBeLessThan(WAIT_MS + SLACK_MS);
  });

  it('reports within a second of the return what it granted alone, as a debt where it must be', async () => {
    const [one, other] = [await connected(), await connected()];
    expect((await one.take(1_000)).granted).toBe(true);
    expect((await one.take(-500)).granted).toBe(true);
    await isReported(one);
    // What is known of a key is forgotten a second after its use.
    expect((await one.take(0)).remaining).toBe(500);
    await redis.kill();
    await eventually(
      () => one.store.status().connected,
      (is) => !is,
    );
    // A quarter of the 500 that were left.
    expect(await grantedOf(one, 300)).toBe(125);
    await redis.restart();
    await eventually(() => one.store.status().connected, Boolean);
    const back = performance.now();
    await isReported(one);
    expect(stalls.sinceMs(back)).toBeLessThan(1_000);
    await remains(other, 375);
  });

  it('grants its share once, not once for each time that Redis goes', async () => {
    const one = await connected();
    let granted = 0;
    for (let i = 0; i < 3; i += 1) {
      await redis.kill();
      await eventually(
        () => one.store.status().connected,
        (is) => !is,
      );
      granted += await grantedOf(one, 300);
      await redis.restart();
      await eventually(() => one.store.status().connected, Boolean);
      // A lease that it has by then would be granted the next time too.
      await isReported(one);
      await eventually(
        () => one.store.status().leased,
        (tokens) => tokens === 0,
      );
    }
    expect(granted).toBe(250);
  });

  it('has its lease given back when it is killed', async () => {
    const other = await connected();
    const dying = spawn(
      process.execPath,
      ['--import', 'tsx', '--input-type=module', '--eval', USER, redis.url, prefix],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    const ended = new Promise((resolve) => dying.once('exit', resolve));
    try {
      await new Promise((resolve) => dying.stdout.once('data', resolve));
    } finally {
      dying.kill('SIGKILL');
      await ended;
    }
    const [key = ''] = await redis.client.keys(`${prefix}*secret*`);
    // In one look: a lease may end between two.
    const { level = '', 'l:dying': account = '' } = await redis.client.hgetall(key);
    const leased = Number.parseFloat(account);
    expect(leased).toBeGreaterThan(0);
    expect(leased).toBeLessThanOrEqual(0.02 * 10_000);
    await sleep(1_300);
    expect((await other.take(0, 10_000)).remaining).toBe(Math.floor(Number(level) + leased + 1e-6));
    await other.take(1, 10_000);
    expect(await redis.client.hexists(key, 'l:dying')).toBe(0);
  });

  it('tells an emptied Redis what it knew: FLUSHALL is no gift', async () => {
    const one = await connected();
    expect((await one.take(900)).granted).toBe(true);
    await redis.client.flushall();
    expect((await one.take(0)).remaining).toBe(100);
    expect(await grantedOf(one, 200)).toBe(100);
    const other = await connected();
    expect((await other.take(0)).granted).toBe(false);
    expect(kinds(one)).toEqual(['connected']);
  });

  it('loads its script again after SCRIPT FLUSH', async () => {
    const one = await connected();
    await one.take(10);
    await redis.client.script('FLUSH');
    expect(await one.take(10)).toMatchObject({ granted: true, remaining: 980 });
    await redis.client.script('FLUSH');
    expect(await grantedOf(one, 50)).toBe(50);
    expect(kinds(one)).toEqual(['connected']);
  });

  it.each([700, 2_500])(
    'waits for a paused Redis once, and not for each decision (%i ms)',
    async (pauseMs) => {
      // Whoever waits for a moment only may have decided these alone.
      await (await connected()).take(100);
      const one = await connected({ waitMs: WAIT_MS });
      await remains(one, 900);
      await redis.client.client('PAUSE', pauseMs, 'ALL');
      const before = performance.now();
      // 900 are left: a quarter of them.
      expect(await grantedOf(one, 400)).toBe(225);
      expect(stalls.sinceMs(before)).toBeLessThan(WAIT_MS + 2 * SLACK_MS);
      expect(one.slowestMs()).toBeLessThan(WAIT_MS + SLACK_MS);
      await eventually(
        () => one.events.length,
        (count) => count === 2,
      );
      await sleep(pauseMs);
      await eventually(() => one.store.status().connected, Boolean);
      await isReported(one);
      await sleep(50);
      expect(kinds(one)).toEqual(['connected', 'lost', 'connected']);
      const other = await connected();
      await remains(other, 675);
    },
  );

  it('gives up a connection on which nothing is heard, and charges nothing twice', async () => {
    // Redis does what it is asked for, and the first connection does not hear of it after a while.
    const sockets: Socket[] = [];
    let isSilent = false;
    const proxy = createServer((socket) => {
      sockets.push(socket);
      const upstream = connect(redis.port, redis.host);
      const isDead = (): boolean => isSilent && socket === sockets[0];
      socket.on('data', (data) => upstream.write(data));
      upstream.on('data', (data) => !isDead() && socket.write(data));
      for (const end of [socket, upstream]) end.on('error', () => undefined);
      socket.on('close', () => upstream.destroy());
    });
    const [port = 0] = await freePorts(1);
    await new Promise<void>((resolve) => proxy.listen(port, '127.0.0.1', resolve));
    open.push({
      close: () => {
        for (const socket of sockets) socket.destroy();
        return new Promise((resolve) => proxy.close(() => resolve()));
      },
    });
    const one = await connected({ redis: `redis://127.0.0.1:${port}`, waitMs: WAIT_MS });
    await one.take(1);
    isSilent = true;
    expect((await one.take(100)).granted).toBe(true);
    await eventually(
      () => kinds(one),
      (all) => all.length === 3,
    );
    expect(kinds(one)).toEqual(['connected', 'lost', 'connected']);
    expect(sockets.length).toBe(2);
    await isReported(one);
    await remains(await connected(), 899);
  });

  it('goes on when its socket fails twice, as one with TLS may', async () => {
    const sockets: Socket[] = [];
    const opened = (message: unknown): void =>
      void sockets.push((message as { readonly socket: Socket }).socket);
    subscribe('net.client.socket', opened);
    const one = await connected();
    unsubscribe('net.client.socket', opened);
    expect(sockets).toHaveLength(1);
    for (const text of ['first', 'second']) sockets[0]?.emit('error', new Error(text));
    sockets[0]?.destroy();
    await eventually(
      () => kinds(one),
      (all) => all.length === 3,
    );
    expect(kinds(one)).toEqual(['connected', 'lost', 'connected']);
  });

  it('decides alone while Redis has no memory, and says so once', async () => {
    const one = await connected();
    await one.take(100);
    await redis.client.config('SET', 'maxmemory-policy', 'noeviction');
    await redis.client.set('filler', 'x'.repeat(2_000_000));
    await redis.client.config('SET', 'maxmemory', '1mb');
    expect(await grantedOf(one, 400)).toBe(225);
    await eventually(
      () => one.events.length,
      (count) => count === 2,
    );
    await sleep(500);
    expect(one.events[1]).toMatchObject({ kind: 'lost' });
    expect(JSON.stringify(one.events)).toContain('OOM');
    expect(JSON.stringify(one.events)).not.toContain('secret');
    await redis.client.config('SET', 'maxmemory', '0');
    await eventually(() => one.store.status().connected, Boolean);
    await isReported(one);
    expect(kinds(one)).toEqual(['connected', 'lost', 'connected']);
    const other = await connected();
    await remains(other, 675);
  });

  it('decides alone while Redis is a read-only replica', async () => {
    const primary = await startRedis();
    open.push(primary);
    const one = await connected();
    await one.take(100);
    await redis.client.replicaof(primary.host, primary.port);
    expect(await grantedOf(one, 400)).toBe(225);
    await eventually(
      () => one.events.length,
      (count) => count >= 2,
    );
    await sleep(1_500);
    expect(kinds(one)).toEqual(['connected', 'lost']);
    expect(JSON.stringify(one.events)).toContain('READONLY');
    await redis.client.replicaof('NO', 'ONE');
    await eventually(() => one.store.status().connected, Boolean);
    await isReported(one);
    expect(kinds(one)).toEqual(['connected', 'lost', 'connected']);
    const other = await connected();
    await remains(other, 675);
  });

  it('keeps the other keys going when one key holds something else', async () => {
    const one = await connected();
    await redis.client.set(`${prefix}{broken}`, 'of somebody else');
    expect((await one.take(1, 1_000, 'broken')).granted).toBe(true);
    expect((await one.take(1)).remaining).toBe(999);
    await sleep(300);
    expect(kinds(one)).toEqual(['connected']);
  });

  it('decides alone after it is closed, and closes at once without Redis', async () => {
    const one = await connected();
    await redis.kill();
    const before = performance.now();
    await one.store.close();
    await one.store.close();
    expect(stalls.sinceMs(before)).toBeLessThan(1_000);
    expect((await one.take(1)).granted).toBe(true);
  });

  it('refuses a share that is none', () => {
    expect(() => replica({ failureShare: 0 })).toThrow('failureShare is 0');
  });
});
