/**
 * Whose the ids are that replicas have seen in answers, in Redis: a hash for each with one field, the owner, whose value is the tokens.
 * It expires. Telling is not waited for; asking is, for as long as any decision waits for Redis.
 */
import { createHash } from 'node:crypto';
import { RedisScript, type RedisScripts } from './redis-scripts.ts';

export interface RedisOwnersOptions {
  readonly scripts: RedisScripts;
  readonly isUp: (redisKey: string) => boolean;
  readonly keyPrefix: string;
  readonly maxWaitMs: number;
}

export interface RedisOwners {
  tell(id: string, owner: string, tokens: number, lifeMs: number): Promise<string | undefined>;
  ask(id: string): Promise<{ readonly owner: string; readonly tokens: number } | 'unknown' | 'unsure'>;
  forget(id: string, owner: string): void;
}

/** Gives what was there of another owner; false: it is this one's. */
const TELL = new RedisScript(
  { tokens: 'text', owner: 'text', lifeMs: 'text' },
  `
local stored = redis.call('HGETALL', KEYS[1])
if stored[1] and stored[1] ~= owner then return stored[1] end
redis.call('HSET', KEYS[1], owner, tokens)
redis.call('PEXPIRE', KEYS[1], lifeMs)
return false
`,
);
const ASK = new RedisScript({ unused: 'text' }, `return redis.call('HGETALL', KEYS[1])`);
const FORGET = new RedisScript({ owner: 'text' }, `return redis.call('HDEL', KEYS[1], owner)`);

/** Told and not answered: what comes beyond is not told, so that nothing is piled up on a Redis that is slow. */
const MOST_TOLD = 1_000;

export function createRedisOwners({ scripts, isUp, keyPrefix, maxWaitMs }: RedisOwnersOptions): RedisOwners {
  // Ids are an engine's words: their hash has a length and no characters of its own.
  const keyOf = (id: string): string =>
    `${keyPrefix}{response:${createHash('sha256').update(id).digest('hex')}}`;
  let open = 0;

  const run = async (
    script: typeof TELL | typeof ASK | typeof FORGET,
    key: string,
    args: readonly (string | number)[],
  ): Promise<unknown> => {
    open += 1;
    try {
      return await scripts.run(script, key, args);
    } finally {
      open -= 1;
    }
  };

  return {
    async tell(id, owner, tokens, lifeMs) {
      const key = keyOf(id);
      if (!isUp(key) || open >= MOST_TOLD) return undefined;
      const args = TELL.argumentsOf({
        tokens: String(Math.max(0, Math.round(tokens))),
        owner,
        lifeMs: String(lifeMs),
      });
      try {
        const other = await run(TELL, key, args);
        return typeof other === 'string' ? other : undefined;
      } catch {
        // This replica knows it.
        return undefined;
      }
    },
    async ask(id) {
      const key = keyOf(id);
      if (!isUp(key)) return 'unsure';
      let limit: NodeJS.Timeout | undefined;
      const late = new Promise<'late'>((resolve) => {
        limit = setTimeout(() => resolve('late'), maxWaitMs);
      });
      try {
        const reply = await Promise.race([run(ASK, key, ASK.argumentsOf({ unused: '' })), late]);
        if (reply === 'late') return 'unsure';
        const [owner, tokens] = Array.isArray(reply) ? (reply as unknown[]) : [];
        return typeof owner === 'string' ? { owner, tokens: Number(tokens) } : 'unknown';
      } catch {
        return 'unsure';
      } finally {
        clearTimeout(limit);
      }
    },
    forget(id, owner) {
      const key = keyOf(id);
      if (!isUp(key) || open >= MOST_TOLD) return;
      run(FORGET, key, FORGET.argumentsOf({ owner })).catch(() => undefined);
    },
  };
}
