/**
 * What replicas learn of requests, together, in Redis: one small hash for each row of the predictor, which expires a month
 * after its last use. Nothing waits for it.
 */
import { idOf } from './key-id.ts';
import { RedisScript, type RedisScripts } from './redis-scripts.ts';

/** What was learned of a row, as the predictor gives it out. */
interface Change {
  readonly key: string;
  readonly samples: number;
  readonly sums: readonly number[];
}

interface LearnedRows<C extends Change> {
  takeChanges(most: number): readonly C[];
  merge(change: C, sums: readonly number[]): void;
  restore(change: C): void;
}

export interface RedisLearnedOptions<C extends Change> {
  readonly scripts: RedisScripts;
  readonly isUp: (redisKey: string) => boolean;
  readonly keyPrefix: string;
  readonly rows: LearnedRows<C>;
  /** Part of a sum that a later sample leaves of it. */
  readonly decay: number;
}

export interface RedisLearned {
  /** Tells what was learned last, as far as half a second allows. */
  close(): Promise<void>;
}

/**
 * KEYS[1]: a hash of sums by their place, 1 to `count`. The rest of the arguments: as many sums of the change. Sums that are
 * none count as 0.
 */
const SCRIPT = new RedisScript(
  {
    /** What is left of the sums after the samples of the change. */
    fade: 'number',
    /** Time after which they are forgotten. */
    lifeMs: 'text',
    count: 'number',
  },
  `
local sums, known, changed = {}, {}, false
local stored = redis.call('HGETALL', KEYS[1])
for i = 1, #stored, 2 do known[stored[i]] = tonumber(stored[i + 1]) end
for i = 1, count do
  local sum = known[tostring(i)]
  if sum == nil or sum ~= sum or sum < 0 or sum > 1e15 then sum = 0 end
  local more = tonumber(ARGV[rest + i - 1])
  if fade < 1 then sum, changed = sum * fade + more, true end
  sums[i] = string.format('%.17g', sum)
end
if changed then
  for i = 1, count do redis.call('HSET', KEYS[1], i, sums[i]) end
end
redis.call('PEXPIRE', KEYS[1], lifeMs)
return sums
`,
);

const ROUND_MS = 500;
/** Rows told in a round: two rounds a second. */
const ROWS = 100;
const KEEP_MS = 30 * 24 * 3_600_000;
const CLOSE_MS = 500;

const readSums = (reply: unknown): readonly number[] | undefined => {
  if (!Array.isArray(reply)) return undefined;
  const sums = reply.map(Number);
  return sums.every(Number.isFinite) ? sums : undefined;
};

export function startRedisLearned<C extends Change>({
  scripts,
  isUp,
  keyPrefix,
  rows,
  decay,
}: RedisLearnedOptions<C>): RedisLearned {
  const keyOf = (key: string): string => `${keyPrefix}{${idOf(key)}}`;
  /** The last round is not answered: nothing is piled up on a Redis that is slow. */
  let telling: Promise<void> | undefined;

  const tell = async (change: C): Promise<void> => {
    const key = keyOf(change.key);
    if (!isUp(key)) {
      rows.restore(change);
      return;
    }
    const { samples, sums } = change;
    try {
      const args = SCRIPT.argumentsOf(
        { fade: decay ** samples, lifeMs: String(KEEP_MS), count: sums.length },
        sums,
      );
      const reply = await scripts.run(SCRIPT, key, args);
      const all = readSums(reply);
      if (all !== undefined) rows.merge(change, all);
    } catch {
      // It may have arrived: told twice, it weighs a little more.
      rows.restore(change);
    }
  };
  const round = async (): Promise<void> => {
    await Promise.all(rows.takeChanges(ROWS).map(tell));
    telling = undefined;
  };

  const timer = setInterval(() => {
    telling ??= round();
  }, ROUND_MS);
  timer.unref();

  return {
    async close() {
      clearInterval(timer);
      let limit: NodeJS.Timeout | undefined;
      const enough = new Promise<void>((resolve) => {
        limit = setTimeout(resolve, CLOSE_MS);
      });
      const last = async (): Promise<void> => {
        await telling;
        await round();
      };
      await Promise.race([last(), enough]);
      clearTimeout(limit);
    },
  };
}
