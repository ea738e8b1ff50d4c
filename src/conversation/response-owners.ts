/**
 * Whose the responses are that engines store, and where: an id is taken when it passes in an answer, and asked for by what follows.
 *
 * Invariants: the first owner of an id keeps it until it is forgotten; nobody learns from an answer whether another owns an id;
 * what is kept is bounded, and a tenant that makes many pushes out its own before anybody's who has less. What a new id
 * costs does not grow with the tenants.
 */
import { isResponseId } from '../domain/routes.ts';

export interface ResponseOwner {
  readonly tenant: string;
  readonly pool: string;
  /** `ip:port` of the engine that stores it. */
  readonly endpoint: string;
  /** That made it. */
  readonly model: string;
  /** The name by which its tenant asked for that. */
  readonly asked: string;
  /** Tokens of the conversation up to here, as far as they are known: what a follow-up adds to its prompt. */
  readonly tokens: number;
}

export interface OwnerBounds {
  /** Of all tenants. */
  readonly maxIds: number;
  readonly maxIdsPerTenant: number;
  readonly lifeMs: number;
}

/** Some 260 bytes an id: 13 MB in all. */
export const OWNER_BOUNDS: OwnerBounds = {
  maxIds: 50_000,
  maxIdsPerTenant: 10_000,
  lifeMs: 24 * 3_600_000,
};
/** Expired ones that a new one takes away: more than come. */
const SWEPT = 4;

interface Known {
  owner: ResponseOwner;
  readonly untilMs: number;
}

const isSame = (one: ResponseOwner, other: ResponseOwner): boolean =>
  one.tenant === other.tenant && one.pool === other.pool && one.endpoint === other.endpoint;

export class ResponseOwners {
  private readonly bounds: OwnerBounds;
  /** In the order in which they came, which is the order in which they expire. */
  private readonly known = new Map<string, Known>();
  /** By tenant, in the same order; nobody without ids is in it. */
  private readonly ofTenants = new Map<string, Set<string>>();
  /** Tenants by how many ids they have, of 1 to `most`; there is one of `most`. */
  private readonly bySize = new Map<number, Set<string>>();
  private most = 0;

  constructor(bounds: OwnerBounds = OWNER_BOUNDS) {
    this.bounds = bounds;
  }

  size(): number {
    return this.known.size;
  }

  sizeOf(tenant: string): number {
    return this.ofTenants.get(tenant)?.size ?? 0;
  }

  /**
   * An answer carries this id. Of one that is its own already, the tokens are taken over.
   *
   * @returns false: it is no id, or another's.
   */
  remember(id: string, owner: ResponseOwner, nowMs: number): boolean {
    if (!isResponseId(id)) return false;
    this.sweep(nowMs);
    const known = this.at(id, nowMs);
    if (known !== undefined) {
      if (!isSame(known.owner, owner)) return false;
      known.owner = owner;
      return true;
    }
    this.makeRoomFor(owner.tenant);
    this.known.set(id, { owner, untilMs: nowMs + this.bounds.lifeMs });
    const ids = this.ofTenants.get(owner.tenant);
    if (ids === undefined) this.ofTenants.set(owner.tenant, new Set([id]));
    else ids.add(id);
    const size = this.sizeOf(owner.tenant);
    this.resized(owner.tenant, size - 1, size);
    return true;
  }

  /** Undefined: nobody's, or another's. */
  find(tenant: string, id: string, nowMs: number): ResponseOwner | undefined {
    const owner = this.at(id, nowMs)?.owner;
    return owner?.tenant === tenant ? owner : undefined;
  }

  /** It was deleted, or is another's after all. */
  forget(tenant: string, id: string): void {
    if (this.known.get(id)?.owner.tenant === tenant) this.remove(id);
  }

  private at(id: string, nowMs: number): Known | undefined {
    const known = this.known.get(id);
    if (known === undefined || known.untilMs > nowMs) return known;
    this.remove(id);
    return undefined;
  }

  private remove(id: string): void {
    const tenant = this.known.get(id)?.owner.tenant ?? '';
    this.known.delete(id);
    const ids = this.ofTenants.get(tenant);
    if (ids?.delete(id) !== true) return;
    if (ids.size === 0) this.ofTenants.delete(tenant);
    this.resized(tenant, ids.size + 1, ids.size);
  }

  private sweep(nowMs: number): void {
    let left = SWEPT;
    for (const [id, { untilMs }] of this.known) {
      if (untilMs > nowMs || left === 0) return;
      left -= 1;
      this.remove(id);
    }
  }

  private makeRoomFor(tenant: string): void {
    const { maxIds, maxIdsPerTenant } = this.bounds;
    if (this.sizeOf(tenant) >= maxIdsPerTenant) this.removeOldestOf(tenant);
    else if (this.known.size >= maxIds) this.removeOldestOf(this.largest(tenant));
  }

  /** The tenant itself, where nobody has more. */
  private largest(tenant: string): string {
    if (this.sizeOf(tenant) === this.most) return tenant;
    const [first = tenant] = this.bySize.get(this.most) ?? [];
    return first;
  }

  /** A tenant has one more or less than before. */
  private resized(tenant: string, before: number, now: number): void {
    const alike = this.bySize.get(before);
    alike?.delete(tenant);
    if (alike?.size === 0) this.bySize.delete(before);
    const others = this.bySize.get(now);
    if (others !== undefined) others.add(tenant);
    else if (now > 0) this.bySize.set(now, new Set([tenant]));
    if (now > this.most || !this.bySize.has(this.most)) this.most = now;
  }

  private removeOldestOf(tenant: string): void {
    const [oldest] = this.ofTenants.get(tenant) ?? [];
    if (oldest !== undefined) this.remove(oldest);
  }
}
