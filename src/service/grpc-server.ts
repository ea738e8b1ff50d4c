/** The gRPC server: ext_proc, the rate limit service and grpc.health.v1 on a Unix socket or a TCP port. */
import { lstatSync, unlinkSync } from 'node:fs';
import { connect } from 'node:net';
import type { Config, ServiceAddress } from '../config/config.ts';
import { messageOf } from '../domain/text-of.ts';
import { requireSafeWay } from '../files/fs-own.ts';
import { createHealth } from '../grpc/health.ts';
import { type Http2GrpcServer, startHttp2GrpcServer } from '../grpc/http2-grpc-server.ts';
import type { ServerTls } from '../grpc/http2-listener.ts';
import { createSelfSigned } from '../grpc/self-signed.ts';
import type { GrpcService } from '../grpc/service.ts';

export interface GrpcServer {
  /** As bound: with the real port where 0 was asked for. */
  readonly address: ServiceAddress;
  setServing(serving: boolean): void;
  /** Shows another certificate to new connections. Undefined: none is configured, so the one of the start stays. */
  setTls(tls: ServerTls | undefined): void;
  /** Waits for open streams until the deadline, then cuts what is left. */
  close(deadlineMs: number): Promise<void>;
}

/** Empty for the server as a whole; the other as Envoy's own clients ask for it. */
const HEALTH_SERVICES = [
  '',
  'envoy.service.ext_proc.v3.ExternalProcessor',
  'envoy.service.ratelimit.v3.RateLimitService',
  // As probes of the reference rate limit service ask for it.
  'ratelimit',
  // As the charts of endpoint pickers have it in their probes: the last one where there is one replica, for both of them.
  'readiness',
  'inference-extension',
];
/** A process that drains is not to be killed for it. */
const LIVENESS_SERVICES = ['liveness'];
/** Room around the largest body for the rest of its message. */
const MESSAGE_OVERHEAD_BYTES = 1024 * 1024;

/** @throws when something is at the path that is no socket, or another process serves it. @returns whether a socket is. */
async function isLeftSocket(path: string): Promise<boolean> {
  let isSocket: boolean;
  try {
    isSocket = lstatSync(path).isSocket();
  } catch {
    return false;
  }
  if (!isSocket)
    throw new Error(`service.address: ${path} exists and is no socket; remove it or choose another path`);
  const isServed = await new Promise<boolean>((resolve) => {
    const probe = connect(path);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', () => resolve(false));
  });
  if (isServed)
    throw new Error(
      `service.address: another process serves ${path}; stop it or choose another envoy.directory`,
    );
  return true;
}

/**
 * Looks whether a Unix socket can be had, and changes nothing. Of a TCP port only binding tells.
 *
 * @throws when it cannot.
 */
export async function requireFreeAddress(address: ServiceAddress): Promise<void> {
  if (address.kind === 'unix') await isLeftSocket(address.path);
}

/**
 * For its owner only from the moment it is there: whoever may open the socket may pass for Envoy, and so for any tenant.
 *
 * @param listen binds before its first wait.
 */
function forOwnerOnly(listen: () => Promise<Http2GrpcServer>): Promise<Http2GrpcServer> {
  const before = process.umask(0o177);
  try {
    return listen();
  } finally {
    process.umask(before);
  }
}

/** Who may move the socket away may answer in its place, and reads what Envoy asks. */
function requireSafeSocket(path: string): void {
  try {
    requireSafeWay(path);
  } catch (error) {
    const reason = messageOf(error);
    throw new Error(
      `service.address: cannot use ${path}: ${reason}; choose a folder that this user, and nobody else, may write to`,
      { cause: error },
    );
  }
}

/** What the server shows. */
export interface ShownTls extends ServerTls {
  /** It was made for this start: connections in plain text may ask for everything, too. */
  readonly isOwn: boolean;
}

const OWN_NAME = 'fairlane';

/**
 * Gateways speak TLS to a picker, and look at no certificate, unless they are told otherwise. Those that were told to speak none are
 * understood too, where no certificate is configured. Undefined: no TLS.
 */
export function shownTlsOf({
  picker,
  service: { tls },
}: Pick<Config, 'picker' | 'service'>): ShownTls | undefined {
  if (tls !== undefined) return { ...tls, isOwn: false };
  return picker && { ...createSelfSigned(OWN_NAME, Date.now()), isOwn: true };
}

export async function startGrpcServer(
  address: ServiceAddress,
  services: readonly GrpcService[],
  maxBodyBytes: number,
  tls?: ShownTls,
): Promise<GrpcServer> {
  const health = createHealth(HEALTH_SERVICES, LIVENESS_SERVICES);
  if (address.kind === 'unix') {
    requireSafeSocket(address.path);
    // One that a dead process left.
    if (await isLeftSocket(address.path)) unlinkSync(address.path);
  }
  const start = (): Promise<Http2GrpcServer> =>
    startHttp2GrpcServer({
      listen: address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port },
      services: [...services, health.service],
      ...(tls !== undefined && { tls }),
      // Kubernetes asks for health without TLS.
      ...(tls?.isOwn === false && { openly: [health.service] }),
      maxMessageBytes: maxBodyBytes + MESSAGE_OVERHEAD_BYTES,
    });
  const server = await (address.kind === 'unix' ? forOwnerOnly(start) : start()).catch((error: unknown) => {
    const target = address.kind === 'unix' ? address.path : `${address.host}:${address.port}`;
    throw new Error(`service.address: cannot listen on ${target}: ${String(error)}`, { cause: error });
  });

  return {
    address: address.kind === 'unix' ? address : { ...address, port: server.port },
    setServing: health.setServing,
    setTls(next) {
      if (tls?.isOwn === false && next !== undefined) server.setTls(next);
    },
    // The socket goes with the server.
    close: (deadlineMs) => server.close(deadlineMs),
  };
}
