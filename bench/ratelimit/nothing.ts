/**
 * A rate limit service that decides nothing, on Fairlane's gRPC server: what the load generator and HTTP/2 take by themselves.
 * Arguments: port.
 */
import { encodeRateLimitAnswer } from '../../src/rate-limit-service/codec.ts';
import { startGrpcServer } from '../../src/service/grpc-server.ts';
import { cpuWhenAsked } from './cpu.ts';

const [, , port = '0'] = process.argv;
const server = await startGrpcServer(
  { kind: 'tcp', host: '127.0.0.1', port: Number(port) },
  [
    {
      name: 'envoy.service.ratelimit.v3.RateLimitService',
      methods: {
        ShouldRateLimit: {
          kind: 'unary',
          handle: () =>
            encodeRateLimitAnswer({
              over: false,
              statuses: [],
              headers: [],
              requestHeaders: [],
              metadata: undefined,
            }),
        },
      },
    },
  ],
  1_000_000,
);
process.send?.({ kind: 'ready', port: server.address.kind === 'tcp' ? server.address.port : 0 });
cpuWhenAsked();
