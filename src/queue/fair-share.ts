/**
 * Who is below its fair share: such a tenant need not wait for its turn. Its request passes the queue and may take a slot of
 * the headroom (headroom.ts). In prose it is a "quiet tenant".
 *
 * Unit of fairness: the tenant; both slots (sequences in flight) and service (weighted tokens, fading: fading-sum.ts).
 * Formula: with p = weight ÷ weights of all tenants that are active,
 *
 *     below  ⇔  slots ≤ max(1, p · concurrency limit)  and  served ≤ p · served to all  and  another tenant is active
 *
 * where `slots` counts the request that asks. It is generalised processor sharing's share of each of the two resources
 * (A. Parekh and R. Gallager, "A Generalized Processor Sharing Approach to Flow Control in Integrated Services Networks",
 * IEEE/ACM Transactions on Networking 1(3), 1993, section II), looked at when a request arrives. Another rule is another
 * `isBelowFairShare`; PoolQueue.isBelowFairShare refuses beforehand whoever has something waiting in turn.
 *
 * Invariants: the cost of a call does not grow with idle tenants; `isBelow` changes nothing, so what is explained is what
 * an offer then meets.
 */
import { FadingSum } from './fading-sum.ts';

/** A tenant counts as active for so long after its last request. */
export const ACTIVE_MS = 30_000;

/** How a tenant stands among those that are active, itself included, if a request of it arrives. */
interface Standing {
  /** Its part of the weights, more than 0, at most 1. */
  readonly part: number;
  /** Other tenants that are active. */
  readonly others: number;
  /** Sequences that it would hold, those of the request included. */
  readonly slots: number;
  /** Sequences that the pool may have in flight. */
  readonly concurrencyLimit: number;
  /** Weighted tokens, fading. */
  readonly served: number;
  readonly servedToAll: number;
}

/** The rule. One slot is always within the share; a tenant that is alone has nobody to be protected from. */
function isBelowFairShare({ part, others, slots, concurrencyLimit, served, servedToAll }: Standing): boolean {
  return others > 0 && slots <= Math.max(1, concurrencyLimit * part) && served <= servedToAll * part;
}

/** A tenant that has lately sent a request. */
class ActiveTenant {
  weight: number;
  lastMs: number;
  readonly served: FadingSum;

  constructor(weight: number, nowMs: number) {
    this.weight = weight;
    this.lastMs = nowMs;
    this.served = new FadingSum(nowMs);
  }
}

/** The tenants that are active in one pool, and what they were served. */
export class FairShare {
  /** In the order of their last activity. */
  private readonly active = new Map<string, ActiveTenant>();
  /** Of all that are in `active`. */
  private weights = 0;
  private readonly servedToAll = new FadingSum(0);

  /** Notes a request: its tenant is active from now on. */
  arrived(tenant: string, weight: number, nowMs: number): void {
    this.forgetIdle(nowMs);
    const known = this.active.get(tenant);
    if (known === undefined) {
      this.active.set(tenant, new ActiveTenant(weight, nowMs));
      this.weights += weight;
      return;
    }
    this.active.delete(tenant);
    this.weights += weight - known.weight;
    known.weight = weight;
    known.lastMs = nowMs;
    this.active.set(tenant, known);
  }

  /** Adds to (negative: corrects) what the tenant has been served, in weighted tokens. */
  served(tenant: string, cost: number, nowMs: number): void {
    this.servedToAll.add(cost, nowMs);
    this.active.get(tenant)?.served.add(cost, nowMs);
  }

  /**
   * Says whether a request of the tenant that arrives now finds it below its fair share. Changes nothing.
   *
   * @param slots sequences that the tenant would hold then.
   */
  isBelow(tenant: string, weight: number, slots: number, concurrencyLimit: number, nowMs: number): boolean {
    let { weights } = this;
    let others = this.active.size;
    for (const one of this.active.values()) {
      if (nowMs - one.lastMs < ACTIVE_MS) break;
      weights -= one.weight;
      others -= 1;
    }
    if (others === 0) weights = 0;
    const one = this.active.get(tenant);
    const known = one !== undefined && nowMs - one.lastMs < ACTIVE_MS ? one : undefined;
    if (known !== undefined) others -= 1;
    weights += known === undefined ? weight : weight - known.weight;
    return isBelowFairShare({
      part: weight / weights,
      others,
      slots,
      concurrencyLimit,
      served: known?.served.at(nowMs) ?? 0,
      servedToAll: this.servedToAll.at(nowMs),
    });
  }

  private forgetIdle(nowMs: number): void {
    for (const [tenant, one] of this.active) {
      if (nowMs - one.lastMs < ACTIVE_MS) break;
      this.active.delete(tenant);
      this.weights -= one.weight;
    }
    if (this.active.size === 0) this.weights = 0;
  }
}
