/**
 * Decides whose fault failures are. A failure that a request can provoke is held against the place where it happened only
 * when tenants agree: each tenant is one vote, however many requests it sends.
 *
 * A tenant's vote is `failing` when at least `failureShare` of its outcomes in the window failed. Then:
 * - two failing tenants or more, and at least `failureShare` of all votes: the place is to blame;
 * - one failing tenant, and nobody else was here in the window: nobody contradicts it, and it alone is affected;
 * - anything else: the tenant is to blame.
 */
import { SlidingCounts } from './sliding-counts.ts';

export interface VoteConfig {
  /** Outcomes older than this are forgotten. */
  readonly windowMs: number;
  /** Part of a tenant's outcomes, and of the tenants, that has to fail. 0 to 1. */
  readonly failureShare: number;
  /** Tenants that are remembered; of more, who was here last. */
  readonly maxTenants: number;
}

type Verdict =
  /** Several tenants fail: the endpoint, or the model there, is to blame. */
  | { readonly kind: 'place' }
  /** Nobody but this one was here, and it fails. */
  | { readonly kind: 'alone'; readonly tenant: string }
  | { readonly kind: 'fine' };

interface Voter {
  readonly counts: SlidingCounts;
  lastMs: number;
  lastFailed: boolean;
}

/** Coarser than an endpoint's own window: there is one for each tenant. */
const BUCKETS = 5;

export class TenantVotes {
  readonly #config: VoteConfig;
  /** In the order of their latest outcomes. */
  readonly #voters = new Map<string, Voter>();

  constructor(config: VoteConfig) {
    this.#config = config;
  }

  add(tenant: string, failed: boolean, nowMs: number): void {
    const voter = this.#voters.get(tenant) ?? {
      counts: new SlidingCounts(this.#config.windowMs, BUCKETS),
      lastMs: nowMs,
      lastFailed: failed,
    };
    this.#voters.delete(tenant);
    this.#voters.set(tenant, voter);
    voter.counts.add(failed, nowMs);
    voter.lastMs = nowMs;
    voter.lastFailed = failed;
    this.#forgetOld(nowMs);
  }

  verdict(nowMs: number): Verdict {
    this.#forgetOld(nowMs);
    const { failureShare } = this.#config;
    let votes = 0;
    let failing = 0;
    let who = '';
    for (const [tenant, { counts }] of this.#voters) {
      const { succeeded, failed } = counts.sum(nowMs);
      if (succeeded + failed === 0) continue;
      votes += 1;
      if (failed === 0 || failed < failureShare * (succeeded + failed)) continue;
      failing += 1;
      who = tenant;
    }
    if (failing >= 2 && failing >= failureShare * votes) return { kind: 'place' };
    if (failing === 1 && votes === 1) return { kind: 'alone', tenant: who };
    return { kind: 'fine' };
  }

  /** Outcomes in the window, of all tenants. */
  total(nowMs: number): { readonly succeeded: number; readonly failed: number } {
    let succeeded = 0;
    let failed = 0;
    for (const { counts } of this.#voters.values()) {
      const sum = counts.sum(nowMs);
      succeeded += sum.succeeded;
      failed += sum.failed;
    }
    return { succeeded, failed };
  }

  /** Gives the time of the tenant's latest outcome if that was a success. */
  succeededAtMs(tenant: string): number | undefined {
    const voter = this.#voters.get(tenant);
    return voter === undefined || voter.lastFailed ? undefined : voter.lastMs;
  }

  /** Tenants that are remembered. */
  size(): number {
    return this.#voters.size;
  }

  /** Starts the counting again. Whose latest outcome was a success is still known. */
  clear(): void {
    for (const { counts } of this.#voters.values()) counts.clear();
  }

  #forgetOld(nowMs: number): void {
    const { windowMs, maxTenants } = this.#config;
    for (const [tenant, voter] of this.#voters) {
      if (nowMs - voter.lastMs < windowMs && this.#voters.size <= maxTenants) return;
      this.#voters.delete(tenant);
    }
  }
}
