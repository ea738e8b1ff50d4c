/** Pieces of Envoy configuration that more than one file needs. */
import type { HostPort } from '../config/config.ts';

export type Json = string | number | boolean | null | readonly Json[] | JsonMap;
export interface JsonMap {
  readonly [key: string]: Json;
}

/** Far above any number of requests in flight: nothing but the queue may hold a request back. */
export const NO_LIMIT = 1_000_000;

export const type = (name: string): { readonly '@type': string } => ({
  '@type': `type.googleapis.com/${name}`,
});

export const duration = (ms: number): string => `${ms / 1_000}s`;

export const socketAddress = ({ host, port }: HostPort): JsonMap => ({
  socket_address: { address: host, port_value: port },
});

export const noLimits: JsonMap = {
  thresholds: ['DEFAULT', 'HIGH'].map((priority) => ({
    priority,
    max_connections: NO_LIMIT,
    max_pending_requests: NO_LIMIT,
    max_requests: NO_LIMIT,
    max_retries: NO_LIMIT,
  })),
};
