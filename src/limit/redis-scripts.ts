/** Runs scripts by their hash, and sends the text where Redis does not know it. */
import { createHash } from 'node:crypto';
import type { Cluster, Redis } from 'ioredis';

export interface RedisScript {
  readonly text: string;
  readonly sha: string;
}

export const redisScript = (text: string): RedisScript => ({
  text,
  sha: createHash('sha1').update(text).digest('hex'),
});

export interface RedisScripts {
  /** Rejects with Redis's error, or the socket's; it is not bounded in time. @param key the only key that the script uses. */
  run(script: RedisScript, key: string, args: readonly (string | number)[]): Promise<unknown>;
  /** Commands sent since the start. */
  commands(): number;
}

/** The message alone: errors of ioredis carry the command, and with it the key. */
export function redisErrorText(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown error';
  const code = 'code' in error && typeof error.code === 'string' ? error.code : error.name;
  return (error.message === '' ? code : error.message).slice(0, 200);
}

export function createRedisScripts(client: Redis | Cluster): RedisScripts {
  let commands = 0;
  return {
    async run(script, key, args) {
      commands += 1;
      try {
        return await client.call('EVALSHA', [script.sha, 1, key, ...args]);
      } catch (error) {
        if (!redisErrorText(error).startsWith('NOSCRIPT')) throw error;
        commands += 1;
        return await client.call('EVAL', [script.text, 1, key, ...args]);
      }
    },
    commands: () => commands,
  };
}
