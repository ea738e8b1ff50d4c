/**
 * Whose fault is it? A failure that a request can provoke is held against the place where it happened only when tenants
 * agree: each tenant is one vote, however many requests it sends.
 *
 * A tenant's vote is `failing` when at least `failureShare` of its outcomes in the window failed. Then:
 * - two failing tenants or more, and at least `failureShare` of all votes: the place is to blame;
 * - one failing tenant, and nobody else was here in the window: nobody contradicts it, and it alone is affected;
 * - anything else: the tenant is to blame.
 */
import { createSlidingCounts, type SlidingCounts } from './sliding-counts.ts';

export interface VoteConfig {
  /** Outcomes older than this are forgotten. */
  readonly windowMs: number;
  /** Part of a tenant's outcomes, and of the tenants, that has to fail. 0 to 1. */
  readonly failureShare: number;
  /** Tenants that are remembered; of more, who was here last. */
  readonly maxTenants: number;
}

type Verdict =
  /** Tenants that disagree with one another fail. */
  | { readonly kind: 'place' }
  /** Nobody but this one was here, and it fails. */
  | { readonly kind: 'alone'; readonly tenant: string }
  | { readonly kind: 'fine' };

export interface TenantVotes {
  add(tenant: string, failed: boolean, nowMs: number): void;
  verdict(nowMs: number): Verdict;
  /** Outcomes in the window, of all tenants. */
  total(nowMs: number): { readonly succeeded: number; readonly failed: number };
  /** When the tenant's latest outcome was a success: its time. */
  succeededAtMs(tenant: string): number | undefined;
  /** Tenants that are remembered. */
  size(): number;
  /** Starts the counting again. Whose latest outcome was a success is still known. */
  clear(): void;
}

interface Voter {
  readonly counts: SlidingCounts;
  lastMs: number;
  lastFailed: boolean;
}

/** Coarser than an endpoint's own window: there is one for each tenant. */
const BUCKETS = 5;

export function createTenantVotes({ windowMs, failureShare, maxTenants }: VoteConfig): TenantVotes {
  /** In the order of their latest outcomes. */
  const voters = new Map<string, Voter>();

  const forgetOld = (nowMs: number): void => {
    for (const [tenant, voter] of voters) {
      if (nowMs - voter.lastMs < windowMs && voters.size <= maxTenants) return;
      voters.delete(tenant);
    }
  };

  return {
    add(tenant, failed, nowMs) {
      const voter = voters.get(tenant) ?? {
        counts: createSlidingCounts(windowMs, BUCKETS),
        lastMs: nowMs,
        lastFailed: failed,
      };
      voters.delete(tenant);
      voters.set(tenant, voter);
      voter.counts.add(failed, nowMs);
      voter.lastMs = nowMs;
      voter.lastFailed = failed;
      forgetOld(nowMs);
    },
    verdict(nowMs) {
      forgetOld(nowMs);
      let votes = 0;
      let failing = 0;
      let who = '';
      for (const [tenant, { counts }] of voters) {
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
    },
    total(nowMs) {
      let succeeded = 0;
      let failed = 0;
      for (const { counts } of voters.values()) {
        const sum = counts.sum(nowMs);
        succeeded += sum.succeeded;
        failed += sum.failed;
      }
      return { succeeded, failed };
    },
    succeededAtMs(tenant) {
      const voter = voters.get(tenant);
      return voter === undefined || voter.lastFailed ? undefined : voter.lastMs;
    },
    size: () => voters.size,
    clear() {
      for (const { counts } of voters.values()) counts.clear();
    },
  };
}
