/**
 * What an answer says of its call to Envoy, which keeps it under `envoy.filters.http.ratelimit`.
 * Source: envoyproxy/ratelimit, src/service/ratelimit.go, ratelimitToMetadata; the names are its own.
 */
import type { Descriptor } from './match.ts';
import { backendsOf, type QuotaGroups } from './quota-groups.ts';
import { merged, type Struct, type StructValue } from './struct.ts';
import { UNIT_NAMES } from './units.ts';

export interface MetadataCall {
  readonly domain: string;
  readonly descriptors: readonly Descriptor[];
  readonly hits: number;
}

/** protobuf's text format, which leaves defaults out. */
function overrideText({ requestsPerUnit, unit }: NonNullable<Descriptor['override']>): string {
  const fields = [];
  if (requestsPerUnit > 0) fields.push(`requests_per_unit:${requestsPerUnit}`);
  if (unit > 0) fields.push(`unit:${UNIT_NAMES[unit] ?? unit}`);
  return fields.join(' ');
}

function descriptorStruct({ entries, override, hits }: Descriptor): Struct {
  const struct = new Map<string, StructValue>();
  struct.set(
    'entries',
    entries.map(({ key, value }) => `${key}=${value}`),
  );
  if (override !== undefined) struct.set('limit', overrideText(override));
  if (hits !== undefined) struct.set('hitsAddend', hits);
  return struct;
}

/**
 * @param passed descriptors whose limit, if they have one, has room, in their order.
 * @param metadataOf of the limit of a descriptor.
 */
export function dynamicMetadata(
  { domain, descriptors, hits }: MetadataCall,
  passed: readonly number[],
  metadataOf: (at: number) => Struct | undefined,
  quotas: QuotaGroups | undefined,
): Struct {
  const struct = new Map<string, StructValue>();
  struct.set('domain', domain);
  struct.set('descriptors', descriptors.map(descriptorStruct));
  if (hits !== 0) struct.set('hitsAddend', hits);
  const available = passed.filter((at) => quotas?.isExhausted(at) !== true);
  let metadata: Struct | undefined;
  for (const at of available) {
    const one = metadataOf(at);
    if (one !== undefined) metadata = metadata === undefined ? one : merged(metadata, one);
  }
  if (metadata !== undefined) struct.set('metadata', metadata);
  if (quotas !== undefined) {
    const backends = backendsOf(available.flatMap((at) => descriptors[at] ?? []));
    if (backends.length > 0) struct.set('passedBackends', backends);
  }
  return struct;
}
