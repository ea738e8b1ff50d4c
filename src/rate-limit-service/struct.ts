/**
 * google.protobuf.Struct as data. Maps, and not objects: keys are files' and requests' own, `__proto__` among them.
 */
export type StructValue = null | boolean | number | string | readonly StructValue[] | Struct;
export type Struct = ReadonlyMap<string, StructValue>;

/** Files are checked for their depth elsewhere; what is deeper than this is left out all the same. */
const MAX_DEPTH = 64;

function valueOf(value: unknown, depth: number): StructValue {
  if (typeof value === 'boolean' || typeof value === 'string') return value;
  // A Struct on its way to JSON has no other numbers.
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value);
  if (typeof value === 'bigint') return Number(value);
  if (typeof value !== 'object' || value === null || depth > MAX_DEPTH) return null;
  if (Array.isArray(value)) return value.map((item) => valueOf(item, depth + 1));
  // `!!binary`: a string of its bytes, as the reference has it.
  if (value instanceof Uint8Array) return Buffer.from(value).toString('utf8');
  if (value instanceof Date) return value.toISOString();
  return structOfEntries(value, depth);
}

function structOfEntries(mapping: object, depth: number): Struct {
  const entries: Iterable<readonly [unknown, unknown]> =
    mapping instanceof Map ? mapping : Object.entries(mapping);
  const struct = new Map<string, StructValue>();
  for (const [key, value] of entries) struct.set(String(key), valueOf(value, depth + 1));
  return struct;
}

/** A mapping as YAML has it. Undefined for what is none, and for an empty one. */
export function structOf(value: unknown): Struct | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
  const struct = structOfEntries(value, 0);
  return struct.size === 0 ? undefined : struct;
}

export const isStruct = (value: StructValue | undefined): value is Struct => value instanceof Map;

/** Both: what is in `first` stays, and mappings that both have are merged. Neither is changed. */
export function merged(first: Struct, second: Struct): Struct {
  const struct = new Map(first);
  for (const [key, value] of second) {
    const before = first.get(key);
    if (before === undefined) struct.set(key, value);
    else if (isStruct(before) && isStruct(value)) struct.set(key, merged(before, value));
  }
  return struct;
}

/** As proto3 JSON has it: an object without a prototype. */
export function jsonOf(value: StructValue): unknown {
  if (isStruct(value)) {
    const object: Record<string, unknown> = Object.create(null) as Record<string, unknown>;
    for (const [key, item] of value) object[key] = jsonOf(item);
    return object;
  }
  return Array.isArray(value) ? value.map(jsonOf) : value;
}
