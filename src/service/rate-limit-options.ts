/** How calls of the rate limit service are decided, however they come. */
import type { Config } from '../config/config.ts';
import type { LimitStore } from '../limit/store.ts';
import { type CallProblem, type CountedHit, decide } from '../rate-limit-service/decide.ts';
import type { RateLimitServiceOptions } from '../rate-limit-service/grpc-rate-limit.ts';
import type { Metrics } from '../telemetry/prom-metrics.ts';
import type { LimitFiles } from './limit-files.ts';
import type { Tell } from './pool-context.ts';

interface RateLimitParts {
  readonly limits: LimitFiles;
  readonly store: LimitStore;
  readonly metrics: Metrics;
  readonly config: () => Config;
  readonly now: () => number;
  readonly tell: Tell;
}

export function rateLimitOptions(parts: RateLimitParts): RateLimitServiceOptions {
  const { limits, store, metrics, config, now, tell } = parts;
  const onHit = (hit: CountedHit): void => metrics.rateLimitHit(hit);
  const onProblem = (problem: CallProblem): void => metrics.rateLimitProblem(problem);
  return {
    decide: (call) =>
      decide(
        call,
        { domains: limits.domains, store, settings: config().rateLimit, onHit, onProblem, unixMs: Date.now },
        now(),
      ),
    onError: (detail) => tell({ kind: 'stream-failed', detail }),
  };
}
