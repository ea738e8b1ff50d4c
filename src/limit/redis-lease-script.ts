/**
 * The script of redis-lease-store.ts: settles one replica's account of a bucket, decides what waits, and renews its lease.
 *
 * KEYS[1]: the bucket, a hash of `level` (beside all leases), `at`, `amount`, `unit`, and for each replica
 * `l:<replica>` = tokens : end : holding : account. Replicas of other versions read and write the same hash, and fail on a
 * field that they do not know.
 *
 * Used is `amount − level − all leases`, with the amount that stands beside the level. It is what counts (used.ts): who comes
 * with another limit finds what was used, refilled so far by the limit of who wrote last, and writes it back with its own.
 * So replicas of which only some have a new configuration do not take anything from each other.
 *
 * The account makes it safe to repeat: what is charged is the difference to the account that is stored, so an answer that
 * was lost, and a server that fell back to an older state, are made up for by the next call.
 * The writes begin with HSET: where it is refused (no memory, read-only) nothing has changed.
 */
import { type Answer, type Ask, type Holding, LEASE_MS } from './lease.ts';
import { RedisScript } from './redis-scripts.ts';
import type { TakeMode } from './store.ts';

export const LEASE_SCRIPT = new RedisScript(
  {
    amount: 'number',
    unit: 'number',
    replica: 'text',
    /** Number of the holding among all that the replica had. */
    holding: 'text',
    /** The account as the replica has it, and as Redis was told it last. */
    used: 'number',
    base: 'number',
    /** Size of the next lease, and what of the present one may be granted meanwhile. */
    want: 'number',
    inUse: 'number',
    leaseMs: 'number',
    /** What was used of the bucket where Redis has lost it, and when: now, where nobody knows. */
    seedUsed: 'optional',
    seedAt: 'optional',
    maxDebt: 'number',
    keepMs: 'number',
  },
  // The rest: hits to decide on, in their order; `c` before those that are charged even if refused.
  `
local mine = 'l:' .. replica
local function text(number) return string.format('%.17g', number) end
-- As usedAfter and usedWith of used.ts.
local function usedAfter(spent, of, per, ms)
  local most = of + maxDebt
  if spent <= most then return math.max(0, spent - ms * of / per) end
  local fade = per * math.log(spent / most)
  if ms < fade then return spent * math.exp(-ms / per) end
  return math.max(0, most - (ms - fade) * of / per)
end
local function charged(level, hits)
  return math.min(math.max(level, level - hits), math.max(-maxDebt, level - hits))
end

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
  oldAmount, oldUnit, at = amount, unit, now
  level = amount
  if seedUsed ~= nil then level, at = amount - seedUsed, seedAt or now end
end
local spent = math.max(0, oldAmount - held - back - level)
if now > at then spent = usedAfter(spent, oldAmount, oldUnit, now - at) end
level = math.min(amount - held, charged(amount - held - spent, used - base))

local answer = {}
for i = rest, #ARGV do
  local isCharged = string.sub(ARGV[i], 1, 1) == 'c'
  local hits = tonumber(isCharged and string.sub(ARGV[i], 2) or ARGV[i])
  local granted
  if hits > 0 then
    granted = level + 1e-6 >= hits
    if granted then
      level, used = level - hits, used + hits
    elseif isCharged then
      level, used = charged(level, hits), used + hits
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
`,
);

/** Hits that wait for the decision. */
interface Hits {
  readonly hits: number;
  readonly mode: TakeMode;
}

export function leaseArguments(
  replica: string,
  epoch: number,
  { seed, maxDebt, keepMs }: Holding,
  sent: Ask,
  batch: readonly Hits[],
): readonly (string | number)[] {
  return LEASE_SCRIPT.argumentsOf(
    {
      amount: sent.amount,
      unit: sent.unitMs,
      replica,
      holding: String(epoch),
      used: sent.used,
      base: sent.reported,
      want: sent.want,
      inUse: sent.inUse,
      leaseMs: LEASE_MS,
      seedUsed: seed?.used,
      seedAt: seed?.atMs,
      maxDebt,
      keepMs,
    },
    batch.map(({ hits, mode }) => (hits > 0 && mode !== 'take' ? `c${hits}` : hits)),
  );
}

/** Of a bucket of one token that nobody uses: whether Redis lets the script write. */
export const probeArguments = (replica: string): readonly (string | number)[] =>
  LEASE_SCRIPT.argumentsOf({
    amount: 1,
    unit: 1,
    replica,
    holding: '0',
    used: 0,
    base: 0,
    want: 0,
    inUse: 0,
    leaseMs: LEASE_MS,
    seedUsed: undefined,
    seedAt: undefined,
    maxDebt: 1,
    keepMs: LEASE_MS,
  });

type Reply = readonly [string, string, string, string, string, readonly (number | string)[]];

export interface LeaseReply {
  readonly answer: Answer;
  /** Whether the hits at `i` were granted. */
  granted(i: number): boolean;
  /** Tokens left after them, beside the leases of others. */
  levelAfter(i: number): number;
}

export function readLeaseReply(reply: unknown): LeaseReply {
  const [lease, level, heldByOthers, atMs, used, outcomes] = reply as Reply;
  return {
    answer: {
      lease: Number(lease),
      level: Number(level),
      heldByOthers: Number(heldByOthers),
      atMs: Number(atMs),
      used: Number(used),
    },
    granted: (i) => Number(outcomes[2 * i]) === 1,
    levelAfter: (i) => Number(outcomes[2 * i + 1]),
  };
}
