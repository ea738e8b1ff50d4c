/** What tenants have in a pool and in all of them: the counts by which the dispatcher decides. Each has one owner, named here. */
import type { Limits } from '../config/config.ts';
import type { TenantCaps } from './types.ts';

/** What a tenant has in one pool. PoolQueue counts what is queued, the dispatcher what is in flight. */
export class TenantLoad {
  /** Requests. */
  queued = 0;
  /** Of the queued, those that came while the tenant was below its fair share. */
  queuedBelowFairShare = 0;
  /** Of the queued, those that wait for their adapter, and of these the ones that came in turn. */
  waitingForAdapter = 0;
  waitingForAdapterInTurn = 0;
  /** In flight. */
  sequences = 0;
}

/** Nothing, for looking at a tenant that is not there. */
export const NO_LOAD: Readonly<TenantLoad> = Object.freeze(new TenantLoad());

/** Requests of each tenant in the engines, over all pools, and how many it may have there. */
export class TenantConcurrency {
  private readonly limitsOf: (tenant: string) => Limits | undefined;
  private readonly caps: TenantCaps | undefined;
  private readonly mostInFlight: (tenant: string) => number;
  /** Requests. A tenant without any is not in it. */
  private readonly inFlight = new Map<string, number>();

  /**
   * @param limitsOf the tenant's limits now; undefined for a tenant that is no longer configured.
   * @param caps where replicas share maxConcurrent.
   * @param mostInFlight of a tenant, for now, whatever its limits say.
   */
  constructor(
    limitsOf: (tenant: string) => Limits | undefined,
    caps: TenantCaps | undefined,
    mostInFlight: (tenant: string) => number,
  ) {
    this.limitsOf = limitsOf;
    this.caps = caps;
    this.mostInFlight = mostInFlight;
  }

  weightOf(tenant: string): number {
    return this.limitsOf(tenant)?.weight ?? 1;
  }

  maxQueuedOf(tenant: string): number {
    return this.limitsOf(tenant)?.maxQueued ?? 0;
  }

  inFlightOf(tenant: string): number {
    return this.inFlight.get(tenant) ?? 0;
  }

  /** Tenants with requests in flight. */
  tenants(): Iterable<string> {
    return this.inFlight.keys();
  }

  /** Requests that the tenant may have in flight here now. */
  capOf(tenant: string, nowMs: number): number {
    const most = this.limitsOf(tenant)?.maxConcurrent ?? Number.POSITIVE_INFINITY;
    return Math.min(most, this.sharedCapsOf(tenant)?.limit(tenant, nowMs) ?? most, this.mostInFlight(tenant));
  }

  isAtCap(tenant: string, nowMs: number): boolean {
    return this.inFlightOf(tenant) >= this.capOf(tenant, nowMs);
  }

  /** What may be added to the cap when other replicas have answered. */
  comingOf(tenant: string, nowMs: number): number {
    return this.sharedCapsOf(tenant)?.coming(tenant, nowMs) ?? 0;
  }

  /** Whether a cap may fall without an event: where replicas share it, an allotment ends by itself. */
  capsMayEnd(): boolean {
    return this.caps !== undefined;
  }

  began(tenant: string): void {
    this.inFlight.set(tenant, this.inFlightOf(tenant) + 1);
  }

  ended(tenant: string): void {
    const rest = (this.inFlight.get(tenant) ?? 1) - 1;
    if (rest === 0) this.inFlight.delete(tenant);
    else this.inFlight.set(tenant, rest);
  }

  /** Tells those who divide the cap among replicas that the tenant uses or wants more or less of it. */
  usageChanged(tenant: string, nowMs: number): void {
    this.sharedCapsOf(tenant)?.usageChanged(tenant, nowMs);
  }

  /** Of a tenant with a cap. */
  private sharedCapsOf(tenant: string): TenantCaps | undefined {
    return this.caps !== undefined && this.limitsOf(tenant)?.maxConcurrent !== undefined
      ? this.caps
      : undefined;
  }
}
