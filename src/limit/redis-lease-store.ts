/**
 * Token buckets that any number of replicas hold together, in Redis, without a round trip for each decision: a replica
 * leases tokens of the keys it uses much and grants from its lease; the rest is decided in Redis, exactly.
 *
 * Over any interval, and over all replicas, granted − given back ≤ amount + amount / unit · time + B. While Redis answers
 * and nobody dies, B = 0. Otherwise B is the sum of
 * - what the leases of replicas held that died, or were cut off for longer than LEASE_MS: of each at most 2 % of the amount;
 * - for each replica, and each time that Redis does not answer it within waitMs: failureShare · (what was left of the amount
 *   + amount / unit · time without Redis), where a share of less than one token is one. What an earlier time has spent of
 *   it is there again only when refilled. It is charged when Redis answers, down to a debt of one bucket;
 * - when Redis loses its data: the leases there were, or a full bucket when no replica has used the key within a second;
 * - what the clock of Redis adds by going back and forth.
 *
 * Tokens idle elsewhere: a request can be refused while the other replicas lease at most 2 % of the amount each, and none
 * of a key that is used less than about three times a second or holds less than 50 tokens.
 */
import { createHash, randomUUID } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import {
  type Ask,
  answered,
  ask,
  createHolding,
  decide,
  decideAlone,
  type Holding,
  isForgettable,
  isLow,
  LEASE_MS,
  REPORT_MS,
  takenAt,
} from './lease.ts';
import { type RedisScripts, redisScript } from './redis-scripts.ts';
import { createRedisServers, type RedisEvent, type RedisTarget, TICK_MS } from './redis-servers.ts';
import type { BucketRequest, LimitStore, TakeMode, Taken } from './store.ts';

export interface RedisLeaseStoreOptions {
  readonly redis: string | RedisTarget;
  /** Before every key in Redis. */
  readonly keyPrefix?: string;
  /** The longest that a decision waits for Redis, in milliseconds. */
  readonly waitMs?: number;
  /** Part of each limit that this replica grants alone while Redis does not answer: more than 0, at most 1. */
  readonly failureShare?: number;
  readonly onEvent?: (event: RedisEvent) => void;
  /** Milliseconds of a clock that never goes back. */
  readonly now?: () => number;
  /** Name of this replica, of no other one and of no earlier run. */
  readonly replica?: string;
}

export interface RedisLeaseStatus {
  /** In a cluster: whether all of its servers answer. */
  readonly connected: boolean;
  /** Tokens in this replica's leases, over all keys: its part of the bound's B if it died now. */
  readonly leased: number;
  /** Keys in memory. */
  readonly keys: number;
  /** Keys with use that Redis has not been told yet. */
  readonly unreported: number;
  /** Commands sent since the start. */
  readonly commands: number;
}

export interface RedisLeaseStore extends LimitStore {
  status(): RedisLeaseStatus;
  /** For others who share this connection. */
  readonly scripts: RedisScripts;
  /** Whether the server that has this key answers at the moment: nothing should be asked of it otherwise. */
  isUp(redisKey: string): boolean;
}

/**
 * KEYS[1]: the bucket, a hash of `level` (beside all leases), `at`, `amount`, `unit`, and for each replica
 * `l:<replica>` = tokens : end : holding : account. ARGV: see `argumentsOf`.
 *
 * The account makes it safe to repeat: what is charged is the difference to the account that is stored, so an answer that
 * was lost, and a server that fell back to an older state, are made up for by the next call.
 * The writes begin with HSET: where it is refused (no memory, read-only) nothing has changed.
 */
const SCRIPT = redisScript(`
local amount, unit = tonumber(ARGV[1]), tonumber(ARGV[2])
local mine, holding = 'l:' .. ARGV[3], ARGV[4]
local used, base = tonumber(ARGV[5]), tonumber(ARGV[6])
local want, inUse, leaseMs = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local maxDebt, keepMs = tonumber(ARGV[12]), tonumber(ARGV[13])
local function text(number) return string.format('%.17g', number) end

local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local level, at, oldAmount, oldUnit
local back, held, ended = 0, 0, {}
local stored = redis.call('HGETALL', KEYS[1])
for i = 1, #stored, 2 do
  local field, value = stored[i], stored[i + 1]
  if field == 'level' then level = tonumber(value)
  elseif field == 'at' then at = tonumber(value)
  elseif field == 'amount' then oldAmount = tonumber(value)
  elseif field == 'unit' then oldUnit = tonumber(value)
  else
    local tokens, ends, of, account = string.match(value, '^(.-):(.-):(.-):(.*)$')
    tokens, ends = tonumber(tokens), tonumber(ends)
    if field == mine then
      back = back + tokens
      if of == holding then base = tonumber(account) end
    elseif ends <= now or ends > now + 2 * leaseMs then
      back = back + tokens
      ended[#ended + 1] = field
    else
      held = held + tokens
    end
  end
end

if level == nil then
  oldAmount, oldUnit = amount, unit
  if ARGV[10] == '' then
    level, at = amount, now
  else
    level, at = math.min(amount, tonumber(ARGV[10])), tonumber(ARGV[11])
  end
end
local room = oldAmount - held - back
if now > at and level < room then level = math.min(room, level + (now - at) * oldAmount / oldUnit) end
if amount ~= oldAmount or unit ~= oldUnit then
  if level + 1e-6 >= room then level = amount - held - back
  else level = math.min(level, amount - held - back) end
end
level = math.max(-maxDebt, math.min(amount - held, level + back - (used - base)))

local answer = {}
for i = 14, #ARGV do
  local charged = string.sub(ARGV[i], 1, 1) == 'c'
  local hits = tonumber(charged and string.sub(ARGV[i], 2) or ARGV[i])
  local granted
  if hits > 0 then
    granted = level + 1e-6 >= hits
    if granted then
      level, used = level - hits, used + hits
    elseif charged then
      level, used = math.max(-maxDebt, level - hits), used + hits
    end
  else
    level, used = math.min(amount - held, level - hits), used + hits
    granted = level + 1e-6 >= 1
  end
  answer[#answer + 1] = granted and 1 or 0
  answer[#answer + 1] = text(level)
end

local lease = math.max(inUse, math.min(want, math.floor(level + 1e-6)), 0)
level = level - lease
redis.call('HSET', KEYS[1], 'level', text(level), 'at', text(now), 'amount', text(amount), 'unit', text(unit),
  mine, text(lease) .. ':' .. text(now + leaseMs) .. ':' .. holding .. ':' .. text(used))
if #ended > 0 then redis.call('HDEL', KEYS[1], unpack(ended)) end
local full = unit
if amount > 0 then full = (amount - level) * unit / amount end
redis.call('PEXPIRE', KEYS[1], string.format('%d', math.min(keepMs, math.ceil(full) + 2 * leaseMs)))
return { text(lease), text(level), text(held), text(now), text(used), answer }
`);

/** A key that Redis answers with an error is left alone for this long. */
const MUTED_MS = 1_000;
/** Demands decided in one call of the script, so that it stays short. */
const BATCH = 256;
/** Reports sent in one tick. */
const REPORTS = 5_000;
const CLOSE_MS = 500;
const LONGEST_KEY = 256;
const LONE_SURROGATE = /\p{Surrogate}/u;

interface Entry {
  readonly id: string;
  readonly redisKey: string;
  /** Of its key, among the servers. */
  readonly place: number;
  /** Number of this holding among all that this replica had. */
  readonly epoch: number;
  readonly holding: Holding;
  queue: Pending[];
  isScheduled: boolean;
  isAsking: boolean;
  mutedUntilMs: number;
}

interface Call {
  readonly taken: Taken[];
  waiting: number;
  readonly done: () => void;
}

interface Pending {
  readonly entry: Entry;
  readonly hits: number;
  readonly mode: TakeMode;
  readonly index: number;
  call: Call | undefined;
  isDecided: boolean;
}

type Reply = readonly [string, string, string, string, string, readonly (number | string)[]];

/** A key as it is named here and in Redis: short, and no two keys alike, also those that UTF-8 cannot tell apart. */
export const idOf = (key: string): string =>
  key.length > LONGEST_KEY || key.startsWith('#') || LONE_SURROGATE.test(key)
    ? `#${createHash('sha256').update(Buffer.from(key, 'utf16le')).digest('hex')}`
    : key;

/** Reconnects for ever and never throws: without Redis every decision is made alone. */
export function createRedisLeaseStore(options: RedisLeaseStoreOptions): RedisLeaseStore {
  const {
    keyPrefix = 'fairlane:',
    waitMs = 10,
    failureShare = 0.5,
    onEvent = () => undefined,
    now = () => performance.now(),
    replica = randomUUID(),
  } = options;
  if (!(failureShare > 0 && failureShare <= 1)) {
    throw new RangeError(`failureShare is ${failureShare}; it must be more than 0 and at most 1`);
  }

  const entries = new Map<string, Entry>();
  const unreported = new Set<Entry>();
  let sweep: Iterator<Entry> = entries.values();
  let epochs = 0;
  let isClosed = false;

  const servers = createRedisServers({
    target: options.redis,
    keyPrefix,
    onEvent,
    now,
    probe: (redisKey) => run(redisKey, [1, 1, replica, 0, 0, 0, 0, 0, LEASE_MS, '', '', 1, LEASE_MS]),
  });
  const { scripts } = servers;
  const canAsk = (entry: Entry, nowMs: number): boolean =>
    servers.isUp(entry.place) && nowMs >= entry.mutedUntilMs;

  const run = async (redisKey: string, args: readonly (string | number)[]): Promise<Reply> =>
    (await scripts.run(SCRIPT, redisKey, args)) as Reply;

  const entryOf = ({ key, limit }: BucketRequest, nowMs: number): Entry => {
    const id = idOf(key);
    let entry = entries.get(id);
    if (entry === undefined) {
      epochs += 1;
      const redisKey = `${keyPrefix}{${id}}`;
      entry = {
        id,
        redisKey,
        place: servers.placeOf(redisKey),
        epoch: epochs,
        holding: createHolding(limit, nowMs),
        queue: [],
        isScheduled: false,
        isAsking: false,
        mutedUntilMs: 0,
      };
      entries.set(id, entry);
    }
    return entry;
  };

  const note = (entry: Entry): void => {
    if (entry.holding.used === entry.holding.reported) unreported.delete(entry);
    else unreported.add(entry);
  };
  const settle = (pending: Pending, taken: Taken): void => {
    if (pending.isDecided) return;
    pending.isDecided = true;
    const { call } = pending;
    if (call === undefined) return;
    call.taken[pending.index] = taken;
    call.waiting -= 1;
    if (call.waiting === 0) call.done();
  };
  const settleAlone = (pending: Pending): void => {
    if (pending.isDecided) return;
    settle(pending, decideAlone(pending.entry.holding, failureShare, pending.hits, pending.mode, now()));
    note(pending.entry);
  };

  const argumentsOf = (entry: Entry, sent: Ask): (string | number)[] => {
    const { seed } = entry.holding;
    return [
      sent.amount,
      sent.unitMs,
      replica,
      entry.epoch,
      sent.used,
      sent.reported,
      sent.want,
      sent.inUse,
      LEASE_MS,
      seed === undefined ? '' : seed.level,
      seed === undefined ? '' : seed.atMs,
      entry.holding.maxDebt,
      entry.holding.keepMs,
    ];
  };

  const take = (entry: Entry, sent: Ask, batch: readonly Pending[], reply: Reply): void => {
    const [lease, level, heldByOthers, atMs, used, outcomes] = reply;
    let charged = 0;
    const granted: number[] = [];
    batch.forEach((pending, i) => {
      if (pending.isDecided) return;
      const isGranted = Number(outcomes[2 * i]) === 1;
      const { hits, mode } = pending;
      if (isGranted || mode !== 'take' || hits < 0) charged += hits;
      if (isGranted && hits > 0) granted.push(hits);
      settle(pending, takenAt(sent, isGranted, hits, Number(outcomes[2 * i + 1])));
    });
    const answer = {
      lease: Number(lease),
      level: Number(level),
      heldByOthers: Number(heldByOthers),
      atMs: Number(atMs),
      used: Number(used),
    };
    answered(entry.holding, sent, answer, { charged, granted }, now());
    note(entry);
  };

  /** Tells Redis what was used, has it decide what waits, and renews the lease. One at a time for each key. */
  const refresh = async (entry: Entry): Promise<void> => {
    if (entry.isAsking) return;
    entry.isAsking = true;
    const { holding } = entry;
    try {
      do {
        const batch = entry.queue.splice(0, BATCH).filter(({ isDecided }) => !isDecided);
        const sent = ask(holding, batch.length > 0, now());
        try {
          const reply = await run(entry.redisKey, [
            ...argumentsOf(entry, sent),
            ...batch.map(({ hits, mode }) => (hits > 0 && mode !== 'take' ? `c${hits}` : hits)),
          ]);
          take(entry, sent, batch, reply);
          servers.answered(entry.place);
        } catch (error) {
          if (servers.failed(entry.place, error)) entry.mutedUntilMs = now() + MUTED_MS;
          for (const pending of [...batch, ...entry.queue.splice(0)]) settleAlone(pending);
        }
        // Those who came meanwhile may be served by the lease, or know by now that nothing is there.
        entry.queue = entry.queue.filter((pending) => {
          if (pending.isDecided) return false;
          const taken = decide(holding, holding, pending.hits, pending.mode, now());
          if (taken === undefined) return true;
          settle(pending, taken);
          note(entry);
          return false;
        });
      } while (entry.queue.length > 0);
    } finally {
      entry.isAsking = false;
    }
  };

  const enqueue = (pending: Pending): void => {
    const { entry } = pending;
    entry.queue.push(pending);
    if (entry.isAsking || entry.isScheduled) return;
    entry.isScheduled = true;
    queueMicrotask(() => {
      entry.isScheduled = false;
      void refresh(entry);
    });
  };

  const awaitRedis = (taken: Taken[], waiting: readonly Pending[]): Promise<readonly Taken[]> =>
    new Promise((resolve) => {
      const timer = setTimeout(() => {
        // An answer that is in the socket already is read before this.
        setImmediate(() => {
          if (call.waiting === 0) return;
          for (const pending of waiting) {
            if (pending.isDecided) continue;
            servers.late(pending.entry.place);
            settleAlone(pending);
          }
        });
      }, waitMs);
      const call: Call = {
        taken,
        waiting: waiting.length,
        done: () => {
          clearTimeout(timer);
          resolve(taken);
        },
      };
      for (const pending of waiting) {
        pending.call = call;
        enqueue(pending);
      }
    });

  const report = (nowMs: number): void => {
    let sent = 0;
    for (const entry of unreported) {
      if (sent === REPORTS) break;
      if (entry.isAsking || !canAsk(entry, nowMs) || nowMs - entry.holding.answeredMs < REPORT_MS) continue;
      sent += 1;
      void refresh(entry);
    }
  };
  const forget = (nowMs: number): void => {
    for (let i = Math.max(1_000, entries.size / 50); i > 0; i -= 1) {
      const { value: entry, done } = sweep.next();
      if (done === true) {
        sweep = entries.values();
        return;
      }
      if (entry.isAsking || entry.queue.length > 0 || !isForgettable(entry.holding, nowMs)) continue;
      entries.delete(entry.id);
      unreported.delete(entry);
    }
  };
  const ticks = setInterval(() => {
    const nowMs = now();
    servers.tick(nowMs);
    report(nowMs);
    forget(nowMs);
  }, TICK_MS);
  ticks.unref();

  return {
    take(demands) {
      const nowMs = now();
      const taken: Taken[] = [];
      const waiting: Pending[] = [];
      demands.forEach((demand, index) => {
        const entry = entryOf(demand, nowMs);
        const { holding } = entry;
        const { hits, mode = 'take' } = demand;
        let outcome = decide(holding, demand.limit, hits, mode, nowMs);
        const mayAsk = !isClosed && canAsk(entry, nowMs);
        if (outcome === undefined && !mayAsk) outcome = decideAlone(holding, failureShare, hits, mode, nowMs);
        if (outcome === undefined) {
          waiting.push({ entry, hits, mode, index, call: undefined, isDecided: false });
          return;
        }
        taken[index] = outcome;
        note(entry);
        if (mayAsk && hits > 0 && !entry.isAsking && isLow(holding, nowMs)) void refresh(entry);
      });
      return waiting.length === 0 ? taken : awaitRedis(taken, waiting);
    },
    scripts,
    isUp: (redisKey) => !isClosed && servers.isUp(servers.placeOf(redisKey)),
    status() {
      let leased = 0;
      const nowMs = now();
      for (const { holding } of entries.values()) {
        if (nowMs < holding.leaseEndsMs) leased += holding.left;
      }
      return {
        connected: servers.isConnected(),
        leased,
        keys: entries.size,
        unreported: unreported.size,
        commands: scripts.commands(),
      };
    },
    /** Reports what was used and gives the leases back, as far as half a second allows. */
    async close() {
      if (isClosed) return;
      isClosed = true;
      clearInterval(ticks);
      const nowMs = now();
      const last: Promise<void>[] = [];
      for (const entry of entries.values()) {
        if (entry.holding.left === 0 && entry.holding.used === entry.holding.reported) continue;
        if (!canAsk(entry, nowMs)) continue;
        entry.holding.recent = 0;
        last.push(refresh(entry));
      }
      let timer: NodeJS.Timeout | undefined;
      const enough = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, CLOSE_MS);
      });
      await Promise.race([Promise.all(last), enough]);
      clearTimeout(timer);
      servers.close();
    },
  };
}
