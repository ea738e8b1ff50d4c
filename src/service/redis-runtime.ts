/** What replicas share in Redis over one connection: levels of limits, parts of capacities, what was learned, and owners of responses. */
import type { RedisConfig } from '../config/config.ts';
import { createRedisAllotments, type RedisAllotments } from '../limit/redis-allotments.ts';
import { type RedisLearned, startRedisLearned } from '../limit/redis-learned.ts';
import { createRedisLeaseStore, type RedisLeaseStore } from '../limit/redis-lease-store.ts';
import { createRedisOwners, type RedisOwners } from '../limit/redis-owners.ts';
import type { RedisTarget } from '../limit/redis-servers.ts';
import type { ServiceEvent } from '../telemetry/telemetry.ts';
import { createSharedPredictor, DECAY, type SharedPredictor } from '../usage/predictor.ts';

/** A Redis that is there answers sooner. */
const FIRST_ANSWER_MS = 250;
const FIRST_ANSWER_LOOK_MS = 5;

export function openRedis(
  { target, username, password, tls, keyPrefix, maxWaitMs, failureShare }: RedisConfig,
  now: () => number,
  tell: (event: ServiceEvent) => void,
): RedisLeaseStore {
  const options = {
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
    ...(tls !== undefined && { tls }),
  };
  const redis: RedisTarget =
    target.kind === 'url'
      ? { url: target.url, options }
      : target.kind === 'sentinel'
        ? { options: { ...options, ...sentinelOptions(target) } }
        : { nodes: target.nodes, options: { redisOptions: options } };
  return createRedisLeaseStore({
    redis,
    keyPrefix,
    waitMs: maxWaitMs,
    failureShare,
    now,
    onEvent: (event) =>
      tell({
        kind: 'redis',
        connected: event.kind === 'connected',
        ...(event.kind === 'lost' && { reason: event.reason }),
      }),
  });
}

/** ioredis asks the sentinels with nothing of the primary's. */
const sentinelOptions = ({
  sentinels,
  name,
  username,
  password,
}: Extract<RedisConfig['target'], { kind: 'sentinel' }>) => ({
  sentinels: [...sentinels],
  name,
  ...(username !== undefined && { sentinelUsername: username }),
  ...(password !== undefined && { sentinelPassword: password }),
});

export class RedisRuntime {
  readonly store: RedisLeaseStore;
  readonly allotments: RedisAllotments;
  readonly predictor: SharedPredictor;
  readonly owners: RedisOwners;
  readonly #learned: RedisLearned;
  readonly #now: () => number;

  /** Connects in the background, and for ever: a Redis that is away keeps nobody from starting. */
  constructor(config: RedisConfig, now: () => number, tell: (event: ServiceEvent) => void) {
    const { keyPrefix, maxWaitMs, failureShare } = config;
    const store = openRedis(config, now, tell);
    const { scripts } = store;
    const isUp = (redisKey: string): boolean => store.isUp(redisKey);
    this.#now = now;
    this.store = store;
    this.allotments = createRedisAllotments({ scripts, isUp, keyPrefix, maxWaitMs, failureShare, now });
    this.predictor = createSharedPredictor();
    this.owners = createRedisOwners({ scripts, isUp, keyPrefix, maxWaitMs });
    this.#learned = startRedisLearned({ scripts, isUp, keyPrefix, rows: this.predictor, decay: DECAY });
  }

  isConnected(): boolean {
    return this.store.status().connected;
  }

  /** A moment for its first answer: who begins without it grants its share of every limit beside what others hold. */
  async firstAnswer(): Promise<void> {
    const giveUpMs = this.#now() + FIRST_ANSWER_MS;
    while (!this.isConnected() && this.#now() < giveUpMs) {
      await new Promise((resolve) => setTimeout(resolve, FIRST_ANSWER_LOOK_MS));
    }
  }

  /** Tells Redis what it does not know yet and gives back what is held, as far as a second allows. */
  async close(): Promise<void> {
    await Promise.all([this.allotments.close(), this.#learned.close()]);
    await this.store.close();
  }
}
