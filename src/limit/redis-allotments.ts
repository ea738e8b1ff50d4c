/**
 * The account of allotments (allotments.ts) in Redis: what replicas hold of a capacity, one hash for each. It expires by
 * itself, and so does the allotment of a replica that died.
 */
import { randomUUID } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { atMost } from '../domain/at-most.ts';
import type { EngineUse } from '../domain/engine-use.ts';
import { ALLOTMENT_MS, type AllotmentAnswer, type AllotmentRequest, SETTLE_MS } from './allotment.ts';
import { type AllotmentKind, type Allotments, createAllotments } from './allotments.ts';
import { idOf } from './key-id.ts';
import { RedisScript, type RedisScripts } from './redis-scripts.ts';

export interface RedisAllotmentsOptions {
  readonly scripts: RedisScripts;
  readonly isUp: (redisKey: string) => boolean;
  readonly keyPrefix: string;
  /** The longest that a request waits for an answer, in milliseconds. */
  readonly maxWaitMs: number;
  /** Part of a capacity that this replica uses while it hears of no other one. */
  readonly failureShare: number;
  /** Milliseconds of a clock that never goes back. */
  readonly now?: () => number;
  /** Name of this replica, of no other one and of no earlier run. */
  readonly replica?: string;
}

export interface RedisAllotments extends Omit<Allotments, 'tick' | 'close'> {
  /** Of a tenant's requests in the engines. */
  keyOfTenant(tenant: string): string;
  /** Of an endpoint's sequences. */
  keyOfEndpoint(pool: string, url: string): string;
  /** Gives everything back, as far as half a second allows. */
  close(): Promise<void>;
}

/**
 * KEYS[1]: a hash of `<replica>` = held : inUse : want : capacity : ends : number, and `!`, until when nobody gets more.
 * `+<replica>` = what its requests had of the engine (domain/engine-use.ts) : when it said so. Apart, because a replica of an
 * earlier version removes fields that it does not know.
 *
 * Fair parts are max-min: the smallest wants first, each at most an equal part of what is left. With less than one for
 * each, who goes without changes every second. What nobody wants is divided equally too where that is asked for, and one
 * part is left for a replica that begins: it does not have to wait for the others then.
 */
const SCRIPT = new RedisScript(
  {
    replica: 'text',
    number: 'number',
    keep: 'number',
    claimed: 'number',
    want: 'number',
    mySize: 'number',
    lifeMs: 'number',
    /** What nobody wants is divided too. */
    divides: 'flag',
    settleMs: 'number',
    /** As in its field, without the time; empty: it does not say. */
    engine: 'text',
  },
  `
local me = replica
local function text(value) return string.format('%.0f', value) end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local mine, frozen
local capacity, count, othersUse, othersHeld = mySize, 0, 0, 0
local names, ended = { { name = me, want = want } }, {}
local engines, decoding, pendingMs, sequenceMs, promptMs, promptTokens = {}, 0, 0, 0, 0, 0
local stored = redis.call('HGETALL', KEYS[1])
for i = 1, #stored, 2 do
  local field, value = stored[i], stored[i + 1]
  if field == '!' then
    frozen = tonumber(value)
    if frozen == nil or frozen <= now or frozen > now + settleMs then
      frozen = nil
      ended[#ended + 1] = field
    end
  elseif string.sub(field, 1, 1) == '+' then
    engines[string.sub(field, 2)] = value
  else
    local held, used, wanted, size, ends, call = string.match(value, '^(%d+):(%d+):(%d+):(%d+):(%d+):(%d+)$')
    ends = tonumber(ends)
    if ends == nil or ends <= now or ends > now + 2 * lifeMs then
      ended[#ended + 1] = field
    elseif field == me then
      if tonumber(call) >= number then return {} end
      mine = tonumber(held)
    else
      count = count + 1
      names[#names + 1] = { name = field, want = tonumber(wanted) }
      othersUse, othersHeld = othersUse + tonumber(used), othersHeld + tonumber(held)
      capacity = math.max(capacity, tonumber(size))
    end
  end
end
local telling = 0
for i = 2, #names do
  local value = engines[names[i].name] or ''
  engines[names[i].name] = nil
  local d, w, s, p, t, at = string.match(value, '^(%d+):(%d+):(%d+):(%d+):(%d+):(%d+)$')
  if at ~= nil then
    telling = telling + 1
    decoding, pendingMs = decoding + tonumber(d), pendingMs + tonumber(w)
    sequenceMs = sequenceMs + tonumber(s) + tonumber(d) * math.max(0, now - tonumber(at))
    promptMs, promptTokens = promptMs + tonumber(p), promptTokens + tonumber(t)
  end
end
if telling < count or count == 0 then decoding, telling = 0, -1 end
if want == 0 and keep == 0 or engine == '' then
  if engines[me] then ended[#ended + 1] = '+' .. me end
else
  redis.call('HSET', KEYS[1], '+' .. me, engine .. ':' .. text(now))
end
engines[me] = nil
for name in pairs(engines) do ended[#ended + 1] = '+' .. name end

local held, fair = 0, 0
if want == 0 and keep == 0 then
  ended[#ended + 1] = me
else
  local replicas = #names
  table.sort(names, function(a, b) return a.name < b.name end)
  local turn = 0
  if capacity < replicas then turn = math.floor(now / lifeMs) end
  for i, one in ipairs(names) do one.rank = (i - 1 + turn) % replicas end
  table.sort(names, function(a, b)
    if a.want ~= b.want then return a.want < b.want end
    return a.rank < b.rank
  end)
  local left = capacity
  for i, one in ipairs(names) do
    local part = math.min(one.want, math.floor(left / (replicas - i + 1)))
    left = left - part
    if one.name == me then fair = part end
  end
  if divides then fair = fair + math.floor(left / (replicas + 1)) end
  local more = math.min(fair, capacity - othersHeld)
  if mine == nil and keep > 0 then
    frozen = now + settleMs
    redis.call('HSET', KEYS[1], '!', text(frozen))
  end
  if frozen then more = math.min(more, mine or 0) end
  held = math.max(keep, more)
  redis.call('HSET', KEYS[1], me, table.concat({ text(held), text(math.min(held, claimed)), text(want), text(mySize),
    text(now + lifeMs), text(number) }, ':'))
  redis.call('PEXPIRE', KEYS[1], 2 * lifeMs)
end
if frozen then
  for i = #ended, 1, -1 do
    if ended[i] == '!' then table.remove(ended, i) end
  end
end
if #ended > 0 then redis.call('HDEL', KEYS[1], unpack(ended)) end
local answer = { held, fair, capacity, count, othersUse, othersHeld }
if telling >= 0 then
  for _, sum in ipairs({ decoding, pendingMs, sequenceMs, promptMs, promptTokens }) do answer[#answer + 1] = sum end
end
return answer
`,
);

const TICK_MS = 10;
const CLOSE_MS = 500;

const isCount = (value: unknown): value is number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;

/** Undefined for a call that came too late, and for what is no answer. */
function readAnswer(reply: unknown): AllotmentAnswer | undefined {
  if (!Array.isArray(reply) || !(reply.length === 6 || reply.length === 11) || !reply.every(isCount)) {
    return undefined;
  }
  const [held = 0, fair = 0, capacity = 0, count = 0, inUse = 0, heldByOthers = 0, ...sums] = reply;
  const others = { count, inUse, held: heldByOthers };
  if (sums.length === 0) return { held, fair, capacity, others };
  const [decoding = 0, pendingMs = 0, sequenceMs = 0, promptMs = 0, promptTokens = 0] = sums;
  const engine = { decoding, pendingMs, sequenceMs, promptMs, promptTokens };
  return { held, fair, capacity, others: { ...others, engine } };
}

const textOf = ({ decoding, pendingMs, sequenceMs, promptMs, promptTokens }: EngineUse): string =>
  [decoding, pendingMs, sequenceMs, promptMs, promptTokens].join(':');

/** Makes one call. @param replica its name: of no other one and of no earlier run. */
export async function askAccount(
  scripts: RedisScripts,
  replica: string,
  key: string,
  kind: AllotmentKind,
  { number, keep, claimed, want, capacity, engine }: AllotmentRequest,
): Promise<AllotmentAnswer | undefined> {
  const args = SCRIPT.argumentsOf({
    replica,
    number,
    keep,
    claimed,
    want,
    mySize: capacity,
    lifeMs: ALLOTMENT_MS,
    divides: kind === 'concurrency-limit',
    settleMs: SETTLE_MS,
    engine: engine === undefined ? '' : textOf(engine),
  });
  return readAnswer(await scripts.run(SCRIPT, key, args));
}

/** Never throws, and waits for nothing. */
export function createRedisAllotments({
  scripts,
  isUp,
  keyPrefix,
  maxWaitMs,
  failureShare,
  now = () => performance.now(),
  replica = randomUUID(),
}: RedisAllotmentsOptions): RedisAllotments {
  let ticks: NodeJS.Timeout | undefined;
  const underWay = new Set<Promise<void>>();

  const allotments = createAllotments({
    failureShare,
    maxWaitMs,
    isUp,
    send(key, kind, sent, done) {
      const call = askAccount(scripts, replica, key, kind, sent)
        .catch(() => undefined)
        .then((answer) => done(answer, now()))
        .finally(() => underWay.delete(call));
      underWay.add(call);
    },
    onActive() {
      ticks ??= setInterval(() => {
        allotments.tick(now());
        if (allotments.active() > 0) return;
        clearInterval(ticks);
        ticks = undefined;
      }, TICK_MS).unref();
    },
  });

  return {
    hold: (key, kind, owner) => allotments.hold(key, kind, owner),
    active: () => allotments.active(),
    totals: (kind, nowMs) => allotments.totals(kind, nowMs),
    keyOfTenant: (tenant) => `${keyPrefix}{${idOf(`c:${tenant}`)}}`,
    keyOfEndpoint: (pool, url) => `${keyPrefix}{${idOf(`w:${pool}:${url}`)}}`,
    async close() {
      clearInterval(ticks);
      ticks = undefined;
      allotments.close(now());
      await atMost(CLOSE_MS, Promise.all(underWay));
    },
  };
}
