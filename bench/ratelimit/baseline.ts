/**
 * What the comparison is against: a plain rate limit service that does what the reference service does, a fixed window in
 * Redis, one INCRBY and one EXPIRE a descriptor, on grpc-js. Arguments: port, Redis URL.
 */
import { fileURLToPath } from 'node:url';
import * as grpc from '@grpc/grpc-js';
import * as protoLoader from '@grpc/proto-loader';
import { Redis } from 'ioredis';
import { cpuWhenAsked } from './cpu.ts';

const [, , port = '0', url = ''] = process.argv;
const LIMIT = 1_000_000_000;
const UNIT_S = 60;

interface Wire {
  readonly domain?: string;
  readonly descriptors?: readonly {
    readonly entries?: readonly { readonly key: string; readonly value: string }[];
  }[];
  readonly hits_addend?: number;
}

const redis = new Redis(url);
const { 'envoy.service.ratelimit.v3.RateLimitService': service } = protoLoader.loadSync(
  'envoy/service/ratelimit/v3/rls.proto',
  {
    includeDirs: [fileURLToPath(new URL('../../proto/', import.meta.url))],
    keepCase: true,
    longs: Number,
    enums: Number,
    defaults: false,
    oneofs: true,
  },
);

const serve: grpc.handleUnaryCall<Wire, object> = ({ request }, reply) => {
  const seconds = Math.floor(Date.now() / 1_000);
  const start = seconds - (seconds % UNIT_S);
  const hits = Math.max(1, request.hits_addend ?? 0);
  const all = (request.descriptors ?? []).map(async ({ entries = [] }) => {
    const key = `${request.domain}_${entries.map((entry) => `${entry.key}_${entry.value}`).join('_')}_${start}`;
    // One round trip a call, as the reference service has it unless it is told to wait for others.
    const replies = await redis.pipeline().incrby(key, hits).expire(key, UNIT_S).exec();
    const count = Number(replies?.[0]?.[1]);
    return {
      code: count > LIMIT ? 2 : 1,
      current_limit: { requests_per_unit: LIMIT, unit: 2 },
      limit_remaining: Math.max(0, LIMIT - count),
      duration_until_reset: { seconds: UNIT_S - (seconds % UNIT_S) },
    };
  });
  Promise.all(all).then(
    (statuses) => reply(null, { overall_code: statuses.some(({ code }) => code === 2) ? 2 : 1, statuses }),
    (error: unknown) => reply({ code: grpc.status.UNKNOWN, details: String(error) }),
  );
};

const server = new grpc.Server();
server.addService(service as grpc.ServiceDefinition, { ShouldRateLimit: serve as grpc.UntypedHandleCall });
server.bindAsync(`127.0.0.1:${port}`, grpc.ServerCredentials.createInsecure(), (error, bound) => {
  if (error !== null) throw error;
  process.send?.({ kind: 'ready', port: bound });
});
cpuWhenAsked();
