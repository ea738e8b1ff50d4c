/** Metrics of limits: hits of the rate limit service, the Redis that replicas share, and what they divide among them. */
import { Counter, type Registry } from 'prom-client';
import { knownCounter, rowCounter, rowGauge } from './prom-row-gauge.ts';

export interface RedisStatus {
  readonly connected: boolean;
  readonly leased: number;
  readonly commands: number;
}

/** By the label that dashboards know. */
const SHARED_KINDS = { concurrency: 'concurrency', window: 'concurrency-limit' } as const;
const SHARED_ENTRIES = Object.entries(SHARED_KINDS);

/** Of a capacity that replicas divide: what there is, and what this one may use. */
export type SharedTotals = (kind: (typeof SHARED_KINDS)[keyof typeof SHARED_KINDS]) => {
  readonly capacity: number;
  readonly held: number;
};

/** What the rate limit service counts. */
export interface RateLimitHit {
  readonly domain: string;
  readonly metricKey: string;
  readonly hits: number;
  readonly outcome: 'within' | 'over' | 'shadow';
  /** Of the hits, those near the limit. */
  readonly near: number;
}

/** What is wrong with a call of the rate limit service. */
export type RateLimitProblem = (typeof PROBLEMS)[number];
const PROBLEMS = ['invalid_call', 'unknown_domain', 'override_unit'] as const;

/** Keys with values of requests in them (detailed_metric, value_to_metric) are counted apart up to so many. */
const MAX_RATE_LIMIT_KEYS = 2_000;

export interface LimitMetrics {
  hit(hit: RateLimitHit): void;
  problem(problem: RateLimitProblem): void;
  /** Counts a load of the rate limit files. */
  loaded(result: 'applied' | 'refused'): void;
  watchRedis(status: () => RedisStatus): void;
  watchShared(totals: SharedTotals): void;
}

export function limitMetrics(registry: Registry): LimitMetrics {
  const hits = new Counter({
    name: 'fairlane_ratelimit_hits_total',
    help: 'Hits of the rate limit service by the descriptor that matched (`other` after 2,000 keys), by outcome: within, over, or shadow (over, and let through).',
    labelNames: ['domain', 'key', 'outcome'],
    registers: [registry],
  });
  const nearHits = new Counter({
    name: 'fairlane_ratelimit_near_limit_hits_total',
    help: 'Hits that came when more than `rateLimit.nearLimitRatio` of the limit was used, up to the limit, by the descriptor that matched.',
    labelNames: ['domain', 'key'],
    registers: [registry],
  });
  const problems = knownCounter(registry, {
    name: 'fairlane_ratelimit_problems_total',
    help: 'What is wrong with calls of the rate limit service. problem is invalid_call (no domain, or no descriptor: an error), unknown_domain (no limit applies) or override_unit (a descriptor’s own limit has no unit that there is, and does not count).',
    labels: ['problem'],
    known: () => PROBLEMS.map((problem) => ({ problem })),
  });
  const loads = knownCounter(registry, {
    name: 'fairlane_ratelimit_reloads_total',
    help: 'Loads of the rate limit files, by result: applied or refused.',
    labels: ['result'],
    known: () => [{ result: 'applied' }, { result: 'refused' }],
  });
  const keys = new Set<string>();
  return {
    hit({ domain, metricKey, hits: count, outcome, near }) {
      const isKnown = keys.has(metricKey) || keys.size < MAX_RATE_LIMIT_KEYS;
      if (isKnown) keys.add(metricKey);
      const key = isKnown ? metricKey : 'other';
      hits.inc({ domain, key, outcome }, count);
      if (near > 0) nearHits.inc({ domain, key }, near);
    },
    problem: (problem) => problems.inc({ problem }),
    loaded: (result) => loads.inc({ result }),
    // Nobody is to look for a Redis that there is not.
    watchRedis: (status) => redisMetrics(registry, status),
    watchShared: (totals) => sharedGauges(registry, totals),
  };
}

function redisMetrics(registry: Registry, status: () => RedisStatus): void {
  const gauge = (name: string, help: string, value: (status: RedisStatus) => number): void =>
    rowGauge(registry, {
      name,
      help,
      labels: [],
      rows: () => [[{}, value(status())]],
    });
  gauge('fairlane_redis_connected', '1 while Redis answers; 0: limits are decided alone.', ({ connected }) =>
    connected ? 1 : 0,
  );
  gauge(
    'fairlane_redis_leased_tokens',
    'Tokens in the leases of this replica: what may be granted too much if it died now.',
    ({ leased }) => leased,
  );
  rowCounter(registry, {
    name: 'fairlane_redis_commands_total',
    was: 'fairlane_redis_commands',
    help: 'Commands sent to Redis since the start.',
    labels: [],
    rows: () => [[{}, status().commands]],
  });
}

function sharedGauges(registry: Registry, totals: SharedTotals): void {
  const gauge = (name: string, help: string, value: 'capacity' | 'held'): void =>
    rowGauge(registry, {
      name,
      help,
      labels: ['kind'],
      *rows() {
        for (const [kind, capacity] of SHARED_ENTRIES) yield [{ kind }, totals(capacity)[value]];
      },
    });
  gauge(
    'fairlane_shared_capacity',
    'What replicas divide among them and this one has requests for. kind is concurrency (maxConcurrent of such tenants) or window (concurrency limits of such endpoints).',
    'capacity',
  );
  gauge(
    'fairlane_shared_capacity_held',
    'What this replica may use of fairlane_shared_capacity at the moment.',
    'held',
  );
}
