/** How large a body may be, and how many of them a tenant may hold, where the configuration does not say. */
import type { WrittenConfig } from './schema/schema.ts';

const MiB = 1024 ** 2;
export const DEFAULT_MAX_BODY_BYTES = 32 * MiB;
/** Most bodies of clients that send them in chunks are far smaller; a tenant has a dozen of these at once. */
const DEFAULT_UNSIZED_BYTES = 8 * MiB;
/** Bodies of the largest size at once. */
const HELD_BODIES = 6;
const LEAST_HELD_BYTES = 48 * MiB;
/** Three bodies of the default size: more of them at once is memory that few need. */
const DEFAULT_HELD_BYTES = 96 * MiB;

/** A bound on bytes that was written for smaller bodies keeps its meaning: the default is never above it. */
export function maxBodyBytesOf({ envoy, queue, tiers, tenants }: WrittenConfig): number {
  const limits = [...Object.values(tiers), ...Object.values(tenants).map((tenant) => tenant.limits)];
  return (
    envoy.maxBodySize ??
    Math.min(
      DEFAULT_MAX_BODY_BYTES,
      queue.maxQueuedSize,
      ...limits.map(({ maxHeldSize = DEFAULT_MAX_BODY_BYTES }) => maxHeldSize),
    )
  );
}

/** Of a body that does not say how long it is: so much is held for each, however short it is. Where a largest size is written, it is meant for these too. */
export const maxUnsizedBodyBytesOf = (written: WrittenConfig): number =>
  Math.min(
    written.envoy.maxUnsizedBodySize ?? written.envoy.maxBodySize ?? DEFAULT_UNSIZED_BYTES,
    maxBodyBytesOf(written),
  );

/** Of a tenant. */
export const maxHeldBytesOf = ({ envoy: { maxBodySize } }: WrittenConfig): number =>
  maxBodySize === undefined ? DEFAULT_HELD_BYTES : Math.max(LEAST_HELD_BYTES, HELD_BODIES * maxBodySize);
