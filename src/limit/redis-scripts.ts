/** Scripts that run in Redis: their arguments by name, and how they are run, by their hash or by their text. */
import { createHash } from 'node:crypto';
import type { Cluster, Redis } from 'ioredis';

/** What an argument is: here, and as the script's local variable of the same name. */
interface ArgumentKinds {
  text: string;
  number: number;
  /** `nil` when undefined. */
  optional: number | undefined;
  /** A boolean there too. */
  flag: boolean;
}
type ArgumentKind = keyof ArgumentKinds;
type ArgumentSpec = Readonly<Record<string, ArgumentKind>>;
type ArgumentsOf<S extends ArgumentSpec> = { readonly [N in keyof S]: ArgumentKinds[S[N]] };

/** How the place `at` of ARGV is read, for each kind. */
const READ: Readonly<Record<ArgumentKind, (at: number) => string>> = {
  text: (at) => `ARGV[${at}]`,
  number: (at) => `tonumber(ARGV[${at}])`,
  optional: (at) => `tonumber(ARGV[${at}])`,
  flag: (at) => `ARGV[${at}] == '1'`,
};

const written = (value: string | number | boolean | undefined): string | number => {
  if (value === undefined) return '';
  return typeof value === 'boolean' ? Number(value) : value;
};

interface ScriptText {
  readonly text: string;
  readonly sha: string;
}

/**
 * A script whose arguments have names. The order of the names is their places in ARGV, said here and nowhere else: both the
 * script's local variables and the arguments of a call are made from it.
 *
 * KEYS[1] is the only key. Arguments beside the named ones begin at ARGV[rest].
 */
export class RedisScript<S extends ArgumentSpec> implements ScriptText {
  readonly text: string;
  readonly sha: string;
  private readonly names: readonly (keyof S & string)[];

  constructor(spec: S, body: string) {
    this.names = Object.keys(spec);
    const reads = Object.values(spec).map((kind, i) => READ[kind](i + 1));
    const locals = `local ${this.names.join(', ')} = ${reads.join(', ')}`;
    this.text = `${locals}\nlocal rest = ${this.names.length + 1}\n${body}`;
    this.sha = createHash('sha1').update(this.text).digest('hex');
  }

  /** What a call sends, as ARGV. */
  argumentsOf(values: ArgumentsOf<S>, rest: readonly (string | number)[] = []): (string | number)[] {
    const args = this.names.map((name) => written(values[name]));
    args.push(...rest);
    return args;
  }
}

export interface RedisScripts {
  /**
   * Rejects with Redis's error, or the socket's; it is not bounded in time.
   *
   * @param key the only key that the script uses.
   */
  run(script: ScriptText, key: string, args: readonly (string | number)[]): Promise<unknown>;
  /** Commands sent since the start. */
  commands(): number;
}

/** The message alone: errors of ioredis carry the command, and with it the key. */
export function redisErrorText(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown error';
  const code = 'code' in error && typeof error.code === 'string' ? error.code : error.name;
  return (error.message === '' ? code : error.message).slice(0, 200);
}

/** Sends a script's hash, and its text where Redis does not know it. */
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
