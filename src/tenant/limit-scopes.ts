/**
 * The limits of a tenant's keys and models, beside its own. Each has buckets of its own in the tenant's store, as a tenant has:
 * `tenant:NAME:key:ID:…` and `tenant:NAME:model:MODEL:…`. They are made when they are first asked for.
 */
import type { Limits } from '../config/config.ts';
import type { LimitScope } from '../domain/limit-scope.ts';
import type { StoredBucket } from '../limit/memory-store.ts';
import { LimitChain, type LimitPart } from './limit-chain.ts';
import type { CreateScope, RequestLimits, Scopes, TenantLimits } from './tenant-limits.ts';

interface ScopePart extends LimitPart {
  readonly scope: LimitScope;
  readonly limits: TenantLimits;
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
    become(this.#keys, byKey);
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

  restoreMonths(stored: ReadonlyMap<string, StoredBucket>): void {
    for (const { limits } of this.#all()) limits.restoreMonth(stored);
  }

  /** Of all that are configured. */
  *#all(): Iterable<ScopePart> {
    for (const id of this.#byKey.keys()) yield* partsOf(this.#key(id));
    for (const name of this.#byModel.keys()) yield* partsOf(this.#model(name));
  }

  #key(id: string): ScopePart | undefined {
    return this.#part(this.#keys, this.#byKey, id, `key:${id}`, () => ({ kind: 'key' }));
  }

  #model(model: string): ScopePart | undefined {
    return this.#part(this.#models, this.#byModel, model, `model:${model}`, () => ({ kind: 'model', model }));
  }

  #part(
    made: Map<string, ScopePart>,
    configured: ByName,
    name: string,
    bucketName: string,
    scope: () => LimitScope,
  ): ScopePart | undefined {
    const limits = configured.get(name);
    if (limits === undefined) return undefined;
    const known = made.get(name);
    if (known !== undefined) return known;
    const part = { scope: scope(), limits: this.#create(bucketName, limits) };
    made.set(name, part);
    return part;
  }
}

const partsOf = (part: ScopePart | undefined): readonly ScopePart[] => (part === undefined ? [] : [part]);

function become(made: Map<string, ScopePart>, configured: ByName): void {
  for (const [name, { limits }] of made) {
    const next = configured.get(name);
    if (next === undefined) made.delete(name);
    else limits.reconfigure(next);
  }
}
