/**
 * Every kind of Redis that docs/how-to/redis.md promises, with real servers and set up as a configuration file would: passwords and
 * the ACLs of that page, TLS, sentinels, a cluster; Redis and Valkey.
 */
import { readdirSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { parseConfig } from '../../src/config/load.ts';
import { keySlot } from '../../src/limit/key-slot.ts';
import type { RedisLeaseStore } from '../../src/limit/redis-lease-store.ts';
import { openRedis } from '../../src/service/redis-runtime.ts';
import type { ServiceEvent } from '../../src/telemetry/telemetry.ts';
import { eventually } from '../support/eventually.ts';
import { freePorts } from '../support/ports.ts';
import { findServer, findValkey } from '../support/redis.ts';
import {
  canSpeakTls,
  certificate,
  createServers,
  PRIMARY,
  type Sentinels,
  type Servers,
  startCluster,
  startSentinels,
  type TestCluster,
  type TestServer,
} from '../support/redis-topologies.ts';
import { Stalls } from '../support/stalls.ts';

const HOUR = 3_600_000;
/** More than a busy machine keeps a living server from its answer: what is decided alone is so for a reason. */
const WAIT_MS = 100;
/** What the timers and the garbage collector may add. */
const SLACK_MS = 100;
const stalls = new Stalls();
afterAll(() => stalls.close());
/** "Within seconds": the sentinels and clusters of these tests take one to three of them. */
const SECONDS_MS = 10_000;
const PASSWORD = 'secret-password';
const SENTINEL_PASSWORD = 'another-secret-for-sentinels';
const CERTIFICATES = { caFile: 'ca.pem', certFile: 'client.pem', keyFile: 'key.pem' };
const CREDENTIALS = { username: 'fairlane', password: 'env:REDIS_PASSWORD' };

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** The users of docs/how-to/redis.md as a server's configuration has them: for one server, and for a cluster's. */
const [ACL = '', CLUSTER_ACL = ''] = readFileSync(
  new URL('../../docs/how-to/redis.md', import.meta.url),
  'utf8',
)
  .split('\n')
  .filter((line) => line.startsWith('ACL SETUSER '))
  .map((line) => line.replace('ACL SETUSER', 'user').replace('PASSWORD', PASSWORD));

/** Commands in the scripts of all that is kept in Redis. */
function calledByScripts(): readonly string[] {
  const folder = new URL('../../src/limit/', import.meta.url);
  const files = readdirSync(folder).filter((name) => name.startsWith('redis-'));
  const text = files.map((name) => readFileSync(new URL(name, folder), 'utf8')).join('\n');
  return [...text.matchAll(/redis\.call\('([A-Z]+)'/g)].map(([, name = '']) => name.toLowerCase());
}

type RedisEvent = Extract<ServiceEvent, { kind: 'redis' }>;

interface Replica {
  readonly store: RedisLeaseStore;
  readonly events: readonly RedisEvent[];
  /** Whether it was granted. */
  take(key: string, amount: number, hits?: number): Promise<boolean>;
  remaining(key: string, amount: number): Promise<number>;
  /** Of the slowest decision. */
  slowestMs(): number;
}

const open: { close(): Promise<void> }[] = [];

/** A replica with this section `redis` in its configuration. */
function replica(redis: object): Replica {
  const parsed = parseConfig({
    text: stringify({
      pools: { main: { endpoints: ['http://127.0.0.1:8000'] } },
      tenants: { alice: { keys: ['key-of-alice'] } },
      redis: { maxWait: `${WAIT_MS}ms`, ...redis },
    }),
    file: certificate('ca'),
    defaults: { directory: '/nowhere' },
    env: { REDIS_PASSWORD: PASSWORD, SENTINEL_PASSWORD, SENTINEL_PASSWORD_2: `${SENTINEL_PASSWORD}-2` },
    readFile: (path) => readFileSync(path, 'utf8'),
  });
  if (parsed.kind === 'bad' || parsed.config.redis === undefined) throw new Error(JSON.stringify(parsed));
  const events: RedisEvent[] = [];
  const store = openRedis(
    parsed.config.redis,
    () => performance.now(),
    (event) => {
      if (event.kind === 'redis') events.push(event);
    },
  );
  open.push(store);
  let slowestMs = 0;
  const ask = async (key: string, amount: number, hits: number) => {
    const before = performance.now();
    const [taken] = await store.take([{ key, limit: { amount, unitMs: HOUR }, hits }], 0);
    slowestMs = Math.max(slowestMs, stalls.sinceMs(before));
    if (taken === undefined) throw new Error('no outcome');
    return taken;
  };
  return {
    store,
    events,
    take: async (key, amount, hits = 1) => (await ask(key, amount, hits)).granted,
    remaining: async (key, amount) => (await ask(key, amount, 0)).remaining,
    slowestMs: () => slowestMs,
  };
}

async function connected(redis: object): Promise<Replica> {
  const one = replica(redis);
  await isConnected(one);
  return one;
}

const isConnected = (one: Replica): Promise<unknown> =>
  eventually(
    () => one.store.status().connected || one.events,
    (is) => is === true,
    SECONDS_MS,
  );
const isLost = (one: Replica): Promise<unknown> =>
  eventually(
    () => one.events.at(-1)?.connected,
    (is) => is === false,
  );
/** From when it was connected first: on a busy machine an earlier try may have taken too long. */
function turnsOf({ events }: Replica): readonly boolean[] {
  const all = events.map(({ connected: is }) => is);
  return all.slice(all.indexOf(true));
}
const isReported = (one: Replica): Promise<unknown> =>
  eventually(
    () => one.store.status().unreported,
    (count) => count === 0,
  );
const grantedOf = async (one: Replica, times: number, key: string, amount: number): Promise<number> => {
  let granted = 0;
  for (let i = 0; i < times; i += 1) granted += (await one.take(key, amount)) ? 1 : 0;
  return granted;
};

/** Takes one after the other until told to stop, so many a millisecond at most. */
function worker(one: Replica, key: string, amount: number, perMs = 20): { stop(): Promise<number> } {
  let isOver = false;
  const run = async (): Promise<number> => {
    let granted = 0;
    for (let i = 0; !isOver; i += 1) {
      granted += (await one.take(key, amount)) ? 1 : 0;
      if (i % perMs === 0) await sleep(1);
    }
    return granted;
  };
  const granted = run();
  return {
    stop: () => {
      isOver = true;
      return granted;
    },
  };
}

const redisProgram = findServer();
if (redisProgram === undefined) throw new Error('no Redis for the tests: put redis-server on PATH');
const valkeyProgram = findValkey();
const NO_VALKEY = 'skipped: neither FAIRLANE_TEST_VALKEY, nor valkey-server on PATH, nor from PyPI';

interface World {
  readonly servers: Servers;
  /** One whose primary is killed, and one whose primary hangs. */
  readonly killed: Sentinels;
  readonly hung: Sentinels;
  readonly cluster: TestCluster;
}

const running: Servers[] = [];
async function startWorld(program: string): Promise<World> {
  const servers = createServers(program);
  running.push(servers);
  const hasTls = canSpeakTls(program);
  const [killed, hung, cluster] = await Promise.all([
    startSentinels(servers, { settings: [ACL], ...(hasTls && { tls: 'server' }) }),
    startSentinels(servers, { settings: [ACL] }),
    startCluster(servers, { settings: [CLUSTER_ACL], ...(hasTls && { tls: 'localhost' }) }),
  ]);
  return { servers, killed, hung, cluster };
}
const worlds = new Map<string, World>();
beforeAll(async () => {
  const programs = [redisProgram, ...(valkeyProgram === undefined ? [] : [valkeyProgram])];
  await Promise.all(programs.map(async (program) => worlds.set(program, await startWorld(program))));
});
afterAll(() => Promise.all(running.map((servers) => servers.close())));

describe.each([
  ['Redis', redisProgram],
  [valkeyProgram === undefined ? `Valkey (${NO_VALKEY})` : 'Valkey', valkeyProgram],
])('%s', (_name, program = '') => {
  const hasTls = program !== '' && canSpeakTls(program);
  const reason = hasTls ? '' : ' (skipped: built without it)';
  const world = (): World => {
    const found = worlds.get(program);
    if (found === undefined) throw new Error('not started');
    return found;
  };

  beforeEach(({ skip }) => skip(program === '', NO_VALKEY));
  afterEach(async () => {
    await Promise.all(open.splice(0).map((one) => one.close()));
  });

  describe('alone', () => {
    it('is used with a password, in its URL or beside it', async () => {
      const { port } = await world().servers.start({ password: PASSWORD });
      const [one, other] = await Promise.all([
        connected({ url: `redis://:${PASSWORD}@127.0.0.1:${port}` }),
        connected({ url: `redis://127.0.0.1:${port}/3`, password: 'env:REDIS_PASSWORD' }),
      ]);
      expect(await one.take('k', 10, 4)).toBe(true);
      expect(await one.remaining('k', 10)).toBe(6);
      expect(await other.remaining('k', 10)).toBe(10);
    });

    it('needs to allow what docs/how-to/redis.md says, and nothing else', async () => {
      const { port, client } = await world().servers.start({ settings: [ACL] });
      const one = await connected({
        url: `redis://fairlane@127.0.0.1:${port}`,
        password: 'env:REDIS_PASSWORD',
      });
      expect(await one.take('k', 1_000, 100)).toBe(true);
      await client.hset('fairlane:{k}', 'l:gone', '50:1:1:50');
      await client.script('FLUSH');
      expect(await one.take('k', 1_000, 100)).toBe(true);
      expect(await one.remaining('k', 1_000)).toBe(850);
      await one.store.close();
      expect(await client.call('ACL', 'LOG')).toEqual([]);

      await client.config('RESETSTAT');
      const again = await connected({ url: `redis://fairlane:${PASSWORD}@127.0.0.1:${port}` });
      await again.take('k', 1_000);
      await client.hset('fairlane:{k}', 'l:gone', '50:1:1:50');
      await client.script('FLUSH');
      await again.take('k', 1_000, 100);
      const used = [...(await client.info('commandstats')).matchAll(/^cmdstat_(.+?):/gm)].map(
        ([, name]) => name,
      );
      const allowed = [...ACL.matchAll(/ \+(\S+)/g)].map(([, name = '']) => name).toSorted();
      // Valkey's Lua asks for its own configuration.
      const ofOthers = ['config|resetstat', 'config|get', 'script|flush', 'auth'];
      expect(allowed).toEqual(expect.arrayContaining(used.filter((name) => !ofOthers.includes(name ?? ''))));
      expect(allowed).toEqual([...new Set(['info', 'evalsha', 'eval', ...calledByScripts()])].toSorted());
    });

    it('is not used where the ACL forbids it, and the log says why without a secret', async () => {
      const { port, client } = await world().servers.start({ settings: [ACL] });
      const url = `redis://fairlane:${PASSWORD}@127.0.0.1:${port}`;
      const elsewhere = replica({ url, keyPrefix: 'elsewhere:' });
      await isLost(elsewhere);
      expect(elsewhere.events).toEqual([
        { kind: 'redis', connected: false, reason: expect.stringContaining('NOPERM') },
      ]);
      await client.call('ACL', 'SETUSER', 'fairlane', '-hset');
      const one = replica({ url });
      await isLost(one);
      expect(await grantedOf(one, 100, 'k', 100)).toBe(50);
      expect(JSON.stringify([elsewhere.events, one.events])).not.toContain(PASSWORD);
      await client.call('ACL', 'SETUSER', 'fairlane', '+hset');
      await isConnected(one);
      await isReported(one);
      expect(await one.remaining('k', 100)).toBe(50);
    });

    it.skipIf(!hasTls)(`speaks TLS, and trusts the authority of caFile alone${reason}`, async () => {
      const { port } = await world().servers.start({ tls: 'server', password: PASSWORD });
      const url = `rediss://:${PASSWORD}@localhost:${port}`;
      const one = await connected({ url, ...CERTIFICATES });
      expect(await one.take('k', 10, 4)).toBe(true);
      const plain = { url: `redis://127.0.0.1:${port}`, password: 'env:REDIS_PASSWORD', tls: 'on' };
      const other = await connected({ ...plain, ...CERTIFICATES });
      expect(await other.remaining('k', 10)).toBe(6);

      const wrong = [
        replica({ url }),
        replica({ url, ...CERTIFICATES, caFile: 'client.pem' }),
        replica({ url, caFile: 'ca.pem' }),
        replica({
          ...plain,
          ...CERTIFICATES,
          tls: 'off',
          caFile: undefined,
          certFile: undefined,
          keyFile: undefined,
        }),
      ];
      for (const each of wrong) {
        await isLost(each);
        expect(await each.take('k', 10)).toBe(true);
      }
      expect(wrong[0]?.events[0]?.reason).toContain('certificate');
      expect(wrong[1]?.events[0]?.reason).toContain('certificate');
      expect(JSON.stringify(wrong.map(({ events }) => events))).not.toContain(PASSWORD);
    });

    it.skipIf(!hasTls)(`is not used when its certificate is for another name${reason}`, async () => {
      const { port } = await world().servers.start({ tls: 'localhost' });
      const one = replica({ url: `rediss://127.0.0.1:${port}`, ...CERTIFICATES });
      await isLost(one);
      expect(one.events[0]?.reason).toContain('does not match certificate');
      await connected({ url: `rediss://localhost:${port}`, ...CERTIFICATES });
    });
  });

  describe('behind sentinels', () => {
    const settingsOf = (sentinels: readonly Pick<TestServer, 'host' | 'port'>[]) => ({
      sentinels: sentinels.map(({ host, port }) => `${host}:${port}`),
      sentinelName: PRIMARY,
      ...CREDENTIALS,
    });

    it.each(['is killed', 'hangs'])('goes on with the replica when the primary %s', async (how) => {
      const amount = 10_000;
      const { primary, replica: spare, sentinels } = how === 'is killed' ? world().killed : world().hung;
      const redis = {
        ...settingsOf(sentinels),
        ...(hasTls && how === 'is killed' && { tls: 'on', ...CERTIFICATES }),
      };
      const replicas = await Promise.all([connected(redis), connected(redis)]);
      const [one, other] = replicas;
      const started = performance.now();
      let granted = (await one.take('k', amount, 6_000)) ? 6_000 : 0;
      await sleep(500);
      const lease = 0.02 * amount;
      // No more than a lease in the time that an answer is waited for.
      const workers = replicas.map((each) => worker(each, 'k', amount, lease / WAIT_MS));
      await sleep(200);
      if (how === 'is killed') await primary.kill();
      else primary.freeze();
      await Promise.all(replicas.map(isLost));
      await Promise.all(replicas.map(isConnected));
      await Promise.all(replicas.map(isReported));
      // What is left by then is granted, too.
      await eventually(
        async () => {
          const isGranted = await other.take('k', amount);
          granted += isGranted ? 1 : 0;
          return isGranted;
        },
        (isGranted) => !isGranted,
        SECONDS_MS,
      );
      for (const each of workers) granted += await each.stop();

      expect(await spare.client.info('replication')).toContain('role:master');
      const refilled = ((performance.now() - started) * amount) / HOUR;
      // A lease of each may be granted twice. Of what the other took since its last answer, a lease at this pace, each
      // knows nothing when it is alone, and grants half of it.
      const leases = (2 + 2 * 0.5) * lease;
      expect(granted).toBeGreaterThan(0.95 * amount);
      expect(granted).toBeLessThanOrEqual(amount + refilled + leases);
      for (const each of replicas) expect(each.slowestMs()).toBeLessThan(WAIT_MS + SLACK_MS);
      expect(await other.take('k', amount, 500)).toBe(false);
      expect(turnsOf(one)).toEqual([true, false, true]);
    });

    it('is found though the first sentinel hangs, and without any the log says why', async () => {
      const { sentinels } = world().hung;
      sentinels[0]?.freeze();
      const ports = await freePorts(2);
      const one = replica(settingsOf(sentinels));
      const nowhere = replica(settingsOf(ports.map((port) => ({ host: '127.0.0.1', port }))));
      const unnamed = replica({ ...settingsOf(sentinels.slice(1)), sentinelName: 'nobody' });
      await Promise.all([isConnected(one), isLost(nowhere), isLost(unnamed)]);
      expect(await one.take('found', 10, 4)).toBe(true);
      expect(await one.remaining('found', 10)).toBe(6);
      expect(nowhere.events[0]?.reason).toContain('failed to connect to sentinel 127.0.0.1:');
      expect(await nowhere.take('found', 10)).toBe(true);
      expect(unnamed.events[0]?.reason).toMatch(/No such (master|primary) with that name/);
    });
  });

  describe('behind a sentinel that asks for a password', () => {
    it('is found with the sentinel’s own password, or its own user, and not with the primary’s', async () => {
      const { servers } = world();
      const primary = await servers.start({ settings: [ACL] });
      const sentinel = await servers.start({
        isSentinel: true,
        password: SENTINEL_PASSWORD,
        settings: [
          `sentinel monitor ${PRIMARY} ${primary.host} ${primary.port} 1`,
          `user watcher on >${SENTINEL_PASSWORD}-2 ~* &* +@all`,
        ],
      });
      const redis = {
        sentinels: [`${sentinel.host}:${sentinel.port}`],
        sentinelName: PRIMARY,
        ...CREDENTIALS,
      };
      const withPassword = replica({ ...redis, sentinelPassword: 'env:SENTINEL_PASSWORD' });
      const withUser = replica({
        ...redis,
        sentinelUsername: 'watcher',
        sentinelPassword: 'env:SENTINEL_PASSWORD_2',
      });
      const without = replica(redis);
      const wrong = replica({ ...redis, sentinelPassword: 'env:REDIS_PASSWORD' });
      await Promise.all([isConnected(withPassword), isConnected(withUser), isLost(without), isLost(wrong)]);
      expect(await withPassword.take('asked', 10, 4)).toBe(true);
      expect(await withUser.remaining('asked', 10)).toBe(6);
      expect(without.events[0]?.reason).toMatch(/NOAUTH|authentication/i);
      expect(wrong.events[0]?.reason).toMatch(/WRONGPASS|invalid/i);
      for (const { events } of [without, wrong]) expect(JSON.stringify(events)).not.toContain('secret');
    });
  });

  describe('as a cluster', () => {
    let cluster: TestCluster;
    let redis: object;
    /** Keys of which each primary has some. */
    const keys = Array.from({ length: 60 }, (_, i) => `key-${i}`);
    const slotOf = (key: string): number => keySlot(`fairlane:{${key}}`);
    const ownersOf = async (names: readonly string[]): Promise<ReadonlyMap<string, TestServer>> =>
      new Map(
        await Promise.all(names.map(async (key) => [key, await cluster.ownerOf(slotOf(key))] as const)),
      );

    beforeAll(() => {
      if (program === '') return;
      ({ cluster } = world());
      const [first, second] = cluster.primaries;
      redis = {
        cluster: [first, second].map((node) => `${hasTls ? 'localhost' : '127.0.0.1'}:${node?.port}`),
        ...CREDENTIALS,
        ...(hasTls && { tls: 'on', ...CERTIFICATES }),
      };
    });

    it('has its keys where we think', async () => {
      const [node] = cluster.primaries;
      const arbKey = fc.oneof(
        fc.string({ unit: 'grapheme' }),
        fc.array(fc.constantFrom('{', '}', 'a', 'é', '😀'), { maxLength: 12 }).map((parts) => parts.join('')),
      );
      await fc.assert(
        fc.asyncProperty(arbKey, async (key) => {
          expect(keySlot(key)).toBe(await node?.client.cluster('KEYSLOT', key));
        }),
        { numRuns: 300 },
      );
    });

    it('keeps keys on all of its servers, to the token', async () => {
      const stores = await Promise.all([connected(redis), connected(redis)]);
      for (const key of keys) {
        expect(await stores[0]?.take(key, 10, 4)).toBe(true);
        expect(await stores[1]?.remaining(key, 10)).toBe(6);
      }
      const owners = await ownersOf(keys);
      expect(new Set(owners.values()).size).toBe(3);
      for (const [key, { client }] of owners) expect(await client.exists(`fairlane:{${key}}`)).toBe(1);
    });

    it('may keep all keys on one of its servers, with a prefix that says so', async () => {
      const [one, other] = await Promise.all(
        [redis, redis].map((each) => connected({ ...each, keyPrefix: 'fairlane:{x}' })),
      );
      expect(await one?.take('k', 10, 4)).toBe(true);
      expect(await other?.remaining('k', 10)).toBe(6);
    });

    it('loses and gains no token when a slot moves in use', async () => {
      const amount = 20_000;
      const key = 'moving';
      const slot = slotOf(key);
      const from = await cluster.ownerOf(slot);
      const to = cluster.primaries.find((node) => node !== from);
      if (to === undefined) throw new Error('no other primary');
      const settings = { ...redis, maxWait: '1s' };
      const stores = await Promise.all([connected(settings), connected(settings)]);
      const startedMs = performance.now();
      const workers = stores.map((each) => worker(each, key, amount));
      await sleep(100);
      await to.client.cluster('SETSLOT', slot, 'IMPORTING', await cluster.idOf(from));
      await from.client.cluster('SETSLOT', slot, 'MIGRATING', await cluster.idOf(to));
      await sleep(50);
      await from.client.call('MIGRATE', ...[to.host, to.port, `fairlane:{${key}}`, 0, 5_000]);
      await sleep(50);
      for (const node of [to, from])
        await node.client.cluster('SETSLOT', slot, 'NODE', await cluster.idOf(to));
      await sleep(50);
      expect(await stores[0]?.remaining(key, amount)).toBeGreaterThan(0);
      const rest = await Promise.all(stores.map((each) => grantedOf(each, amount, key, amount)));
      const granted = await Promise.all(workers.map((each) => each.stop()));
      const refilled = ((performance.now() - startedMs) * amount) / HOUR;
      const sum = [...granted, ...rest].reduce((a, b) => a + b);
      expect(sum).toBeGreaterThanOrEqual(amount);
      expect(sum).toBeLessThanOrEqual(amount + refilled);
      expect(await to.client.exists(`fairlane:{${key}}`)).toBe(1);
      for (const each of stores) expect(turnsOf(each)).toEqual([true]);
    });

    it.each(['kill', 'freeze'] as const)(
      'decides only the keys of one server alone when that goes away (%s)',
      async (how) => {
        const names = keys.map((key) => `${how}-${key}`);
        const owners = await ownersOf(names);
        const gone = cluster.primaries[0];
        if (gone === undefined) throw new Error('no primary');
        const of = (isGone: boolean): readonly string[] =>
          names.filter((key) => (owners.get(key) === gone) === isGone);
        const [one, other] = await Promise.all([connected(redis), connected(redis)]);
        // At once: what is known of a key is forgotten a second after its use.
        const taken = await Promise.all(names.map((key) => one.take(key, 40, 10)));
        expect(new Set(taken)).toEqual(new Set([true]));
        await sleep(100);
        if (how === 'kill') await gone.kill();
        else gone.freeze();
        try {
          const granted = new Map(names.map((key) => [key, 0]));
          for (let round = 0; round < 20; round += 1) {
            for (const key of [...of(true), ...of(false)]) {
              granted.set(key, (granted.get(key) ?? 0) + ((await one.take(key, 40)) ? 1 : 0));
            }
            await sleep(10);
          }
          await isLost(one);
          expect(one.events.at(-1)?.reason).toContain(`:${gone.port}: `);
          // Of the 30 that were left, half.
          for (const key of names) {
            const expected = owners.get(key) === gone ? 15 : 20;
            expect({ key, granted: granted.get(key) }).toEqual({ key, granted: expected });
          }
          for (const key of of(false)) expect(await other.remaining(key, 40)).toBe(10);
          for (const each of [one, other]) expect(each.slowestMs()).toBeLessThan(WAIT_MS + SLACK_MS);
        } finally {
          if (how === 'kill') await gone.restart();
          else gone.resume();
        }
        await Promise.all([one, other].map(isConnected));
        await isReported(one);
        for (const key of of(true)) expect(await other.remaining(key, 40)).toBe(15);
        expect(turnsOf(one)).toEqual([true, false, true]);
      },
    );

    it('goes on with the replica that the cluster promotes', async () => {
      const gone = cluster.primaries.at(-1);
      const names = keys.map((key) => `promoted-${key}`);
      const owners = await ownersOf(names);
      const own = names.find((key) => owners.get(key) === gone) ?? '';
      const one = await connected(redis);
      expect(await one.take(own, 100, 10)).toBe(true);
      const before = await one.remaining(own, 100);
      await sleep(100);
      await gone?.kill();
      await isLost(one);
      expect(await one.take(own, 100)).toBe(true);
      await isConnected(one);
      await isReported(one);
      const other = await connected(redis);
      expect(await other.remaining(own, 100)).toBe(before - 1);
      expect(await cluster.ownerOf(slotOf(own))).toBe(cluster.replica);
      expect(one.slowestMs()).toBeLessThan(WAIT_MS + SLACK_MS);
    });

    it('needs to allow what docs/how-to/redis.md says', async () => {
      for (const { client } of [...cluster.primaries.slice(0, -1), cluster.replica]) {
        expect(await client.call('ACL', 'LOG')).toEqual([]);
      }
    });
  });
});
