/**
 * A hash of texts in Redis that replicas change together, and the list of its changes: the length of the list is the hash's version. It
 * knows nothing of what the texts say. Both keys have one slot.
 */
import { RedisScript, type RedisScripts, redisErrorText } from './redis-scripts.ts';
import type { SharedHash } from './shared-hash.ts';

export interface RedisTenantsOptions {
  readonly scripts: RedisScripts;
  readonly isUp: (redisKey: string) => boolean;
  readonly keyPrefix: string;
  readonly maxWaitMs: number;
}

const LOG = `local log = KEYS[1] .. ':audit'`;
const VERSION = new RedisScript({ unused: 'text' }, `${LOG}\nreturn redis.call('LLEN', log)`);
const READ = new RedisScript(
  { unused: 'text' },
  `${LOG}\nreturn {redis.call('LLEN', log), redis.call('HGETALL', KEYS[1])}`,
);
/** After the named ones: `puts` times a field and its text, then fields to remove. */
const WRITE = new RedisScript(
  { base: 'number', puts: 'number', change: 'text' },
  `
${LOG}
local length = redis.call('LLEN', log)
if length ~= base then return redis.call('LINDEX', log, base) == change and 1 or 0 end
for i = 0, puts - 1 do redis.call('HSET', KEYS[1], ARGV[rest + 2 * i], ARGV[rest + 2 * i + 1]) end
for i = rest + 2 * puts, #ARGV do redis.call('HDEL', KEYS[1], ARGV[i]) end
redis.call('RPUSH', log, change)
return 1
`,
);
const NOTE = new RedisScript(
  { unused: 'text' },
  `for i = rest, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end\nreturn 1`,
);
const CHANGES = new RedisScript(
  { from: 'number', to: 'number' },
  `${LOG}\nreturn redis.call('LRANGE', log, from, to)`,
);

export function createRedisTenants({ scripts, isUp, keyPrefix, maxWaitMs }: RedisTenantsOptions): SharedHash {
  const key = `${keyPrefix}{tenants}`;
  const run = async (
    script: { readonly text: string; readonly sha: string },
    args: readonly (string | number)[],
  ): Promise<unknown> => {
    if (!isUp(key)) throw new Error('Redis is away');
    let limit: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      limit = setTimeout(() => reject(new Error(`Redis has not answered within ${maxWaitMs} ms`)), maxWaitMs);
    });
    try {
      return await Promise.race([scripts.run(script, key, args), late]);
    } catch (error) {
      // Errors of ioredis carry the command, and with it what is in it.
      // oxlint-disable-next-line preserve-caught-error -- it would bring that along
      throw new Error(redisErrorText(error));
    } finally {
      clearTimeout(limit);
    }
  };
  return {
    version: async () => Number(await run(VERSION, VERSION.argumentsOf({ unused: '' }))),
    async read() {
      const [version, flat] = listOf(await run(READ, READ.argumentsOf({ unused: '' })));
      return { version: Number(version), fields: pairsOf(listOf(flat)) };
    },
    async write(base, put, removed, change) {
      const args = WRITE.argumentsOf({ base, puts: put.size, change }, [...[...put].flat(), ...removed]);
      return Number(await run(WRITE, args)) === 1;
    },
    async note(fields) {
      if (fields.size > 0) await run(NOTE, NOTE.argumentsOf({ unused: '' }, [...fields].flat()));
    },
    changes: async (from, to) =>
      listOf(await run(CHANGES, CHANGES.argumentsOf({ from, to }))).map((one) => String(one)),
  };
}

const listOf = (reply: unknown): readonly unknown[] => (Array.isArray(reply) ? (reply as unknown[]) : []);

function pairsOf(flat: readonly unknown[]): ReadonlyMap<string, string> {
  const pairs = new Map<string, string>();
  for (let i = 0; i + 1 < flat.length; i += 2) pairs.set(String(flat[i]), String(flat[i + 1]));
  return pairs;
}
