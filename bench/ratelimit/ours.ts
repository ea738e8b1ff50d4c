/** Fairlane's rate limit service alone, as `fairlane serve` has it. Arguments: port, limits folder, Redis URL or nothing. */

import { createMemoryStore } from '../../src/limit/memory-store.ts';
import { createRedisLeaseStore } from '../../src/limit/redis-lease-store.ts';
import { decide } from '../../src/rate-limit-service/decide.ts';
import { readLimits } from '../../src/rate-limit-service/fs-limits.ts';
import { createRateLimitGrpcService } from '../../src/rate-limit-service/grpc-rate-limit.ts';
import { startGrpcServer } from '../../src/service/grpc-server.ts';
import { createMetrics } from '../../src/telemetry/prom-metrics.ts';
import { CALL_SETTINGS } from '../../tests/support/call-settings.ts';
import { cpuWhenAsked } from './cpu.ts';

const [, , port = '0', directory = '', redisUrl = ''] = process.argv;
const loaded = readLimits({ directory, mergeDomains: false });
if (loaded.kind === 'bad') throw new Error(loaded.problem);
const { domains } = loaded;
const redis = redisUrl === '' ? undefined : createRedisLeaseStore({ redis: redisUrl });
const store = redis ?? createMemoryStore();
const metrics = createMetrics({
  occupancy: () => [],
  pools: () => [],
  adapters: () => [],
  openStreams: () => 0,
  rollouts: () => [],
  activeTenants: () => [],
  reloads: () => ({ sinceMs: 0, refused: false }),
});
const rateLimit = createRateLimitGrpcService({
  decide: (call) =>
    decide(
      call,
      {
        domains,
        store,
        settings: CALL_SETTINGS,
        onHit: metrics.rateLimitHit,
        onProblem: metrics.rateLimitProblem,
        unixMs: Date.now,
      },
      performance.now(),
    ),
  onError: (detail) => console.error(detail),
});
const server = await startGrpcServer(
  { kind: 'tcp', host: '127.0.0.1', port: Number(port) },
  [rateLimit],
  1_000_000,
);
process.send?.({ kind: 'ready', port: server.address.kind === 'tcp' ? server.address.port : 0 });
cpuWhenAsked(() => redis?.status().commands ?? 0);
