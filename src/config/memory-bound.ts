/**
 * What one tenant can make Envoy and Fairlane hold, from the configuration. docs/explanation/threat-model.md has the formula in words;
 * `npm run prove -- memory` holds it against what is measured.
 */
import type { Config, Limits } from './config.ts';

const KiB = 1024;
const MiB = 1024 ** 2;

/** What `maxConcurrent: unlimited` counts as, for each endpoint, unless its concurrency limit is larger. */
const UNLIMITED_PER_ENDPOINT = 256;
/** Exchanges whose end is under way: a client that sends its next request at once is not refused. */
const ENDING = 8;

/** Envoy with nothing to do and two workers, and what of that is no heap. */
const ENVOY_IDLE = 70 * MiB;
const ENVOY_NO_HEAP = 58 * MiB;
/** A body is in Envoy twice and more while it is written to Fairlane, or to an engine that may have to get it again. */
const ENVOY_COPIES = 2.5;
/** Part of the bytes that a tenant may hold that may wait for room besides: Envoy has them once. */
const WAITING_PART = 0.5;
/** Of an exchange: its headers and state, and both of its connections. */
const ENVOY_EXCHANGE = 48 * KiB;
/** Of a connection whose answer has ended and is not read, without its buffers. */
const ENVOY_CONNECTION = 28 * KiB;
/** HTTP/2 has no smaller window. */
const STREAM_WINDOW = 64 * KiB;

const FAIRLANE_IDLE = 105 * MiB;
/** What came, and for a moment what is made of it; Node.js frees it later. */
const FAIRLANE_COPIES = 1.25;
/** Of an exchange: its state, and the ends of an answer in one piece, where its usage is. */
const FAIRLANE_EXCHANGE = 120 * KiB;

/** Part of Envoy's heap that one tenant can fill: others are served meanwhile. */
const ONE_TENANTS_PART = 7 / 8;
const HEAP_STEP = 16 * MiB;
const LEAST_HEAP = 224 * MiB;

/** Exchanges that a tenant may have open: in its uploads, in the queue, in the engines and with clients that read. */
export function maxOpenOf(limits: Limits, config: Pick<Config, 'pools'>): number {
  const { maxQueued, maxConcurrent = unlimitedOpen(config) } = limits;
  // While a slot is idle the queue of a tenant may be twice as long; one with a limit is never far from that.
  const more = limits.maxConcurrent === undefined ? ENDING : Math.max(ENDING, maxQueued);
  return maxConcurrent + maxQueued + more;
}

/** Bytes of bodies that may wait for room: of one body at least. */
export const maxWaitingOf = (heldBytes: number, { envoy }: Pick<Config, 'envoy'>): number =>
  Math.min(heldBytes, Math.max(heldBytes * WAITING_PART, envoy.maxBodyBytes));

const unlimitedOpen = ({ pools }: Pick<Config, 'pools'>): number =>
  [...pools.values()].reduce((sum, { endpoints, concurrencyLimit }) => {
    const limit = concurrencyLimit === 'auto' ? 0 : concurrencyLimit;
    return sum + endpoints.length * Math.max(UNLIMITED_PER_ENDPOINT, limit);
  }, 0);

/** Time that a body of this size may take to come. */
export function uploadMs({ uploads }: Config['envoy'], bytes: number): number {
  return uploads.graceMs + Math.ceil((bytes / uploads.minBytesPerSecond) * 1_000);
}

export interface MemoryBound {
  /** Of the tenant that can hold most. */
  readonly tenant: string;
  /** Bytes that are resident. */
  readonly envoy: number;
  readonly fairlane: number;
}

interface Parts {
  readonly envoy: number;
  readonly fairlane: number;
}

function partsOf(limits: Limits, config: Config): Parts {
  const open = maxOpenOf(limits, config);
  const held = limits.maxHeldBytes ?? open * config.envoy.maxBodyBytes;
  const buffer = config.envoy.connectionBufferBytes;
  const waiting = maxWaitingOf(held, config);
  const exchange = ENVOY_EXCHANGE + buffer + Math.max(buffer, STREAM_WINDOW);
  return {
    envoy: Math.ceil(ENVOY_IDLE + ENVOY_COPIES * held + waiting + open * exchange),
    fairlane: Math.ceil(FAIRLANE_IDLE + FAIRLANE_COPIES * held + open * FAIRLANE_EXCHANGE),
  };
}

/** Tenants that are configured, and those that tokens may name. */
const everybody = ({ tenants, jwt }: Config): readonly (readonly [name: string, limits: Limits])[] => [
  ...[...tenants.values()].map(({ name, limits }) => [name, limits] as const),
  ...[...(jwt?.visitors?.limits ?? [])].map(([tier, limits]) => [`of tier ${tier}`, limits] as const),
];

/** Of what each tenant alone can hold, the most. */
export function memoryBoundOf(config: Config): MemoryBound {
  const all = everybody(config).map(([tenant, limits]) => ({ tenant, ...partsOf(limits, config) }));
  const most = all.reduce((a, b) => (b.envoy + b.fairlane > a.envoy + a.fairlane ? b : a), {
    tenant: '',
    envoy: ENVOY_IDLE,
    fairlane: FAIRLANE_IDLE,
  });
  // Ended answers that nobody reads are on connections, of which nobody knows whose they are.
  const { maxConnections, connectionBufferBytes, maxHeapBytes } = config.envoy;
  const connections = maxConnections * (ENVOY_CONNECTION + 2 * connectionBufferBytes);
  return { ...most, envoy: Math.min(most.envoy + connections, ENVOY_NO_HEAP + maxHeapBytes) };
}

/** A heap for Envoy in which one tenant can hold all that it can, and others have room. */
export function heapFor(config: Config): number {
  const most = everybody(config).reduce((sum, [, limits]) => Math.max(sum, partsOf(limits, config).envoy), 0);
  const heap = (most - ENVOY_NO_HEAP) / ONE_TENANTS_PART;
  return Math.max(LEAST_HEAP, Math.ceil(heap / HEAP_STEP) * HEAP_STEP);
}
