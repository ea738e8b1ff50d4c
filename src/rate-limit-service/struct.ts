/**
 * google.protobuf.Struct as data. Maps, and not objects: keys are files' and requests' own, `__proto__` among them.
 */
export type StructValue = null | boolean | number | string | readonly StructValue[] | Struct;
export type Struct = ReadonlyMap<string, StructValue>;

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
