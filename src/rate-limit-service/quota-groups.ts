/**
 * Limits in quota mode are grouped by the backend and model that their descriptor names. A group is over when one of its
 * limits is; a call is refused by quotas when all its groups are over: while one has room, Envoy can send the request there.
 * Source: envoyproxy/ratelimit, src/service/ratelimit.go, quotaGroupKey and passedBackendsList.
 */
import type { Descriptor } from './match.ts';
import type { Struct } from './struct.ts';

const BACKEND = 'backend_name';
const MODEL = 'model_name_override';

/** What a descriptor leads to; undefined when it names neither backend nor model. */
function backendOf({
  entries,
}: Descriptor): { readonly backend: string; readonly model: string } | undefined {
  let backend = '';
  let model = '';
  for (const { key, value } of entries) {
    if (key === BACKEND) backend = value;
    else if (key === MODEL) model = value;
  }
  return backend === '' && model === '' ? undefined : { backend, model };
}

/** Without a backend or model a descriptor is with those that have the same entries. */
function groupOf(descriptor: Descriptor): string {
  const found = backendOf(descriptor);
  return JSON.stringify(found ?? descriptor.entries.map(({ key, value }) => [key, value]));
}

export class QuotaGroups {
  /** Whether it is over, by group. */
  readonly #over = new Map<string, boolean>();
  /** By the place of the descriptor in its call. */
  readonly #groups = new Map<number, string>();

  /** Whether there are groups, and none has room. */
  get isOver(): boolean {
    for (const over of this.#over.values()) if (!over) return false;
    return this.#over.size > 0;
  }

  add(at: number, descriptor: Descriptor, over: boolean): void {
    const group = groupOf(descriptor);
    this.#groups.set(at, group);
    this.#over.set(group, over || this.#over.get(group) === true);
  }

  /** Whether the group of the descriptor at that place is over; false for one that is no quota's. */
  isExhausted(at: number): boolean {
    return this.#over.get(this.#groups.get(at) ?? '') === true;
  }
}

/** Each backend and model of the descriptors, once. */
export function backendsOf(descriptors: readonly Descriptor[]): readonly Struct[] {
  const backends = new Map<string, Struct>();
  for (const descriptor of descriptors) {
    const found = backendOf(descriptor);
    if (found === undefined) continue;
    const key = groupOf(descriptor);
    if (backends.has(key)) continue;
    const struct = [
      [BACKEND, found.backend],
      [MODEL, found.model],
    ] as const;
    backends.set(key, new Map(struct));
  }
  return [...backends.values()];
}
