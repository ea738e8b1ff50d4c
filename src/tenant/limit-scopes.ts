/**
 * The limits of a tenant's keys and models, beside its own. Each has buckets of its own in the tenant's store, as a tenant has:
 * `tenant:NAME:key:ID:…` and `tenant:NAME:model:MODEL:…`. They are made when they are first asked for.
 */
import type { Limits } from '../config/config.ts';
import type { LimitScope } from '../domain/limit-scope.ts';
import type { StoredBucket } from '../limit/memory-store.ts';
import { LimitChain, type LimitPart } from './limit-chain.ts';
import type { CreateScope, PartName, RequestLimits, Scopes, TenantLimits } from './tenant-limits.ts';

interface ScopePart extends LimitPart {
  readonly scope: LimitScope;
  readonly limits: TenantLimits;
  readonly bucketsName: string;
}

type ByName = ReadonlyMap<string, Limits>;

const NONE: ByName = new Map();

export class LimitScopes implements Scopes {
  readonly #create: CreateScope;
  #byKey: ByName = NONE;
  #byModel: ByName = NONE;
  readonly #keys = new Map<string, ScopePart>();
  readonly #models = new Map<string, ScopePart>();

  constructor(create: CreateScope) {
    this.#create = create;
  }

  /** Those that stay keep their levels, and so do those that come back: levels are the store's. */
  reconfigure({ byKey = NONE, byModel = NONE }: Limits): void {
    this.#byKey = byKey;
    this.#byModel = byModel;
    become(this.#keys, byBuckets(byKey));
    become(this.#models, byModel);
  }

  /** What a request is within; undefined: within the tenant's own alone. */
  chain(own: RequestLimits, keyId: string | undefined, model: string | undefined): LimitChain | undefined {
    const key = keyId === undefined ? undefined : this.#key(keyId);
    const ofModel = model === undefined ? undefined : this.#model(model);
    if (ofModel === undefined) return key && new LimitChain(own, [key]);
    return new LimitChain(own, key === undefined ? [ofModel] : [ofModel, key]);
  }

  ofModel(model: string): LimitChain | undefined {
    const part = this.#model(model);
    return part && LimitChain.alone(part);
  }

  /** Those that were asked for so far. */
  *made(): Iterable<TenantLimits> {
    for (const { limits } of this.#keys.values()) yield limits;
    for (const { limits } of this.#models.values()) yield limits;
  }

  look(nowMs: number): Promise<unknown> | undefined {
    const asked = [...this.#all()].flatMap(({ limits }) => limits.look(nowMs) ?? []);
    return asked.length === 0 ? undefined : Promise.all(asked);
  }

  /** Those of which nothing is stored are not made for it. */
  restoreMonths(stored: ReadonlyMap<string, StoredBucket>): void {
    for (const [made, parts] of [
      [this.#keys, this.#byKey],
      [this.#models, this.#byModel],
    ] as const) {
      for (const name of parts.keys()) {
        const before = made.size;
        const part = made === this.#keys ? this.#key(name) : this.#model(name);
        const isRestored = part?.limits.restoreMonth(stored) === true;
        if (!isRestored && made.size > before) made.delete(part?.bucketsName ?? '');
      }
    }
  }

  /** Of all that are configured. */
  *#all(): Iterable<ScopePart> {
    for (const id of this.#byKey.keys()) yield* partsOf(this.#key(id));
    for (const name of this.#byModel.keys()) yield* partsOf(this.#model(name));
  }

  #key(id: string): ScopePart | undefined {
    const limits = this.#byKey.get(id);
    if (limits === undefined) return undefined;
    const { bucketsOf = id } = limits;
    return (
      this.#keys.get(bucketsOf) ??
      this.#make(this.#keys, limits, { kind: 'key' }, { kind: 'key', name: bucketsOf })
    );
  }

  #model(model: string): ScopePart | undefined {
    const limits = this.#byModel.get(model);
    if (limits === undefined) return undefined;
    return (
      this.#models.get(model) ??
      this.#make(this.#models, limits, { kind: 'model', model }, { kind: 'model', name: model })
    );
  }

  #make(made: Map<string, ScopePart>, limits: Limits, scope: LimitScope, part: PartName): ScopePart {
    const one = { scope, limits: this.#create(part, limits), bucketsName: part.name };
    made.set(part.name, one);
    return one;
  }
}

/** By what their buckets are called. */
function byBuckets(byKey: ByName): ByName {
  const named = new Map<string, Limits>();
  for (const [id, limits] of byKey) named.set(limits.bucketsOf ?? id, limits);
  return named;
}

const partsOf = (part: ScopePart | undefined): readonly ScopePart[] => (part === undefined ? [] : [part]);

function become(made: Map<string, ScopePart>, configured: ByName): void {
  for (const [name, { limits }] of made) {
    const next = configured.get(name);
    if (next === undefined) made.delete(name);
    else limits.reconfigure(next);
  }
}
