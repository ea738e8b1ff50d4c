/** The gRPC server: ext_proc, the rate limit service and grpc.health.v1 on a Unix socket or a TCP port. */
import { chmodSync, lstatSync, unlinkSync } from 'node:fs';
import { connect } from 'node:net';
import * as grpc from '@grpc/grpc-js';
import { HealthImplementation } from 'grpc-health-check';
import type { ServiceAddress } from '../config/config.ts';

/** A service that shares the port. */
interface GrpcService {
  readonly definition: grpc.ServiceDefinition;
  readonly implementation: grpc.UntypedServiceImplementation;
}

export interface GrpcServer {
  /** As bound: with the real port where 0 was asked for. */
  readonly address: ServiceAddress;
  setServing(serving: boolean): void;
  /** Waits for open streams until the deadline, then cuts what is left. */
  close(deadlineMs: number): Promise<void>;
}

/** Empty for the server as a whole; the other as Envoy's own clients ask for it. */
const HEALTH_SERVICES = [
  '',
  'envoy.service.ext_proc.v3.ExternalProcessor',
  'envoy.service.ratelimit.v3.RateLimitService',
];
/** A stream per HTTP request in flight: far above what any Envoy holds. */
const MAX_STREAMS = 1_000_000;
/** Room around the largest body for the rest of its message. */
const MESSAGE_OVERHEAD_BYTES = 1024 * 1024;

/** Removes a socket that a dead process left; refuses to take one that is in use. */
async function clearStaleSocket(path: string): Promise<void> {
  let isSocket: boolean;
  try {
    isSocket = lstatSync(path).isSocket();
  } catch {
    return;
  }
  if (!isSocket)
    throw new Error(`service.address: ${path} exists and is no socket; remove it or choose another path`);
  const inUse = await new Promise<boolean>((resolve) => {
    const probe = connect(path);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', () => resolve(false));
  });
  if (inUse)
    throw new Error(
      `service.address: another process serves ${path}; stop it or choose another envoy.directory`,
    );
  unlinkSync(path);
}

export async function startGrpcServer(
  address: ServiceAddress,
  services: readonly GrpcService[],
  maxBodyBytes: number,
): Promise<GrpcServer> {
  const server = new grpc.Server({
    'grpc.max_receive_message_length': maxBodyBytes + MESSAGE_OVERHEAD_BYTES,
    'grpc.max_send_message_length': -1,
    'grpc.max_concurrent_streams': MAX_STREAMS,
  });
  for (const { definition, implementation } of services) {
    server.addService(definition, implementation);
  }
  const health = new HealthImplementation();
  health.addToServer(server);
  const setServing = (serving: boolean): void => {
    for (const service of HEALTH_SERVICES) health.setStatus(service, serving ? 'SERVING' : 'NOT_SERVING');
  };
  setServing(true);

  if (address.kind === 'unix') await clearStaleSocket(address.path);
  const host =
    address.kind === 'tcp' && address.host.includes(':')
      ? `[${address.host}]`
      : address.kind === 'tcp'
        ? address.host
        : '';
  const target = address.kind === 'unix' ? `unix:${address.path}` : `${host}:${address.port}`;
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(target, grpc.ServerCredentials.createInsecure(), (error, bound) => {
      if (error === null) resolve(bound);
      else reject(new Error(`service.address: cannot listen on ${target}: ${error.message}`));
    });
  });
  // Whoever may open the socket may pass for Envoy, and so for any tenant.
  if (address.kind === 'unix') chmodSync(address.path, 0o600);

  return {
    address: address.kind === 'unix' ? address : { ...address, port },
    setServing,
    async close(deadlineMs) {
      const closed = new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
      const timer = setTimeout(() => server.forceShutdown(), deadlineMs);
      await closed;
      clearTimeout(timer);
      if (address.kind === 'unix') {
        try {
          unlinkSync(address.path);
        } catch {
          // grpc-js has removed it already.
        }
      }
    },
  };
}
