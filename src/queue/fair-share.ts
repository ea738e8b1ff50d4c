/**
 * Who is quiet, and how many slots to keep free for them.
 *
 * A tenant is below its fair share while it holds no more slots, and has lately been served no more weighted tokens, than
 * its weight gives it among the tenants that are active. Such a tenant need not wait for its turn: it may pass the queue
 * and take a slot of the reserve.
 *
 * The reserve is a base stock: a quiet request takes a free slot, and the next request that ends puts it back. With quiet
 * requests arriving λ times a second and τ seconds between two ends, n taken slots have not been put back with
 * probability about (λτ)ⁿ, the stationary tail of an M/M/1 queue (Kleinrock, Queueing Systems I, 3.2). So
 * ln(p)/ln(λτ) slots, rounded up, leave a share p of the quiet requests without one.
 *
 * Invariants: the cost of a call does not grow with idle tenants; without quiet arrivals for ACTIVE_MS the reserve is 0.
 */

/** A tenant counts as active for so long after its last request. */
const ACTIVE_MS = 30_000;
/** Half-life of what is remembered of a tenant's service and of the rates. */
const HALF_LIFE_MS = 10_000;
/** Share of quiet requests that may find no free slot. */
const MISS_PROBABILITY = 0.01;
/** Largest part of the window that is kept free; one slot always may be, of a window that is not tiny. */
const MAX_RESERVED_PART = 1 / 16;
const MIN_WINDOW = 4;

interface Active {
  weight: number;
  lastMs: number;
  /** Weighted tokens, fading; as of servedAtMs. */
  served: number;
  servedAtMs: number;
}

export interface FairShare {
  /** A request arrived: its tenant is active from now on. */
  arrived(tenant: string, weight: number, nowMs: number): void;
  /** Adds to (negative: corrects) what the tenant has been served. */
  served(tenant: string, cost: number, nowMs: number): void;
  /**
   * True if the tenant would hold at most its share of `window` with `slots`, and has not been served more. False while it
   * is the only one that is active: there is nobody to be protected from.
   */
  isBelow(tenant: string, slots: number, window: number, nowMs: number): boolean;
  /** The same if a request of it arrived now. Changes nothing. */
  wouldBeBelow(tenant: string, weight: number, slots: number, window: number, nowMs: number): boolean;
  /** A request of a tenant below its share, with nothing else waiting, arrived while others were. */
  quietArrived(tenant: string, nowMs: number): void;
  /** The tenant has requests waiting for their turn: nothing is kept free for it. */
  backlogged(tenant: string): void;
  slotFreed(nowMs: number): void;
  /**
   * Slots to keep free of a window.
   *
   * @param configured so many while anybody quiet is active, or `auto`.
   */
  reserve(window: number, configured: number | 'auto', nowMs: number): number;
}

const fade = (value: number, fromMs: number, toMs: number): number =>
  toMs <= fromMs ? value : value * 2 ** ((fromMs - toMs) / HALF_LIFE_MS);

/** Events a millisecond, fading. */
function createRate() {
  let count = 0;
  let atMs = 0;
  let sinceMs: number | undefined;
  return {
    add(nowMs: number): void {
      sinceMs ??= nowMs;
      count = fade(count, atMs, nowMs) + 1;
      atMs = Math.max(atMs, nowMs);
    },
    /** Unbiased also while young: a fading count of a constant rate r is r · (1 - 2^(-t/h)) · h / ln 2. */
    perMs(nowMs: number): number {
      if (sinceMs === undefined) return 0;
      const seen = 1 - 2 ** (-Math.max(1, nowMs - sinceMs) / HALF_LIFE_MS);
      return (fade(count, atMs, nowMs) * Math.LN2) / (HALF_LIFE_MS * seen);
    },
  };
}

export function createFairShare(): FairShare {
  /** In the order of their last activity. */
  const active = new Map<string, Active>();
  const quiet = new Map<string, number>();
  let weights = 0;
  let total = 0;
  let totalAtMs = 0;
  let quietRate = createRate();
  const freedRate = createRate();

  const forgetIdle = (nowMs: number): void => {
    for (const [tenant, one] of active) {
      if (nowMs - one.lastMs < ACTIVE_MS) break;
      active.delete(tenant);
      weights -= one.weight;
    }
    if (active.size === 0) weights = 0;
    for (const [tenant, lastMs] of quiet) {
      if (nowMs - lastMs < ACTIVE_MS) break;
      quiet.delete(tenant);
      if (quiet.size === 0) quietRate = createRate();
    }
  };
  const totalAt = (nowMs: number): number => {
    total = fade(total, totalAtMs, nowMs);
    totalAtMs = Math.max(totalAtMs, nowMs);
    return total;
  };
  const servedAt = (one: Active, nowMs: number): number => {
    one.served = fade(one.served, one.servedAtMs, nowMs);
    one.servedAtMs = Math.max(one.servedAtMs, nowMs);
    return one.served;
  };

  return {
    arrived(tenant, weight, nowMs) {
      forgetIdle(nowMs);
      const known = active.get(tenant);
      if (known === undefined) {
        active.set(tenant, { weight, lastMs: nowMs, served: 0, servedAtMs: nowMs });
        weights += weight;
        return;
      }
      active.delete(tenant);
      weights += weight - known.weight;
      known.weight = weight;
      known.lastMs = nowMs;
      active.set(tenant, known);
    },
    served(tenant, cost, nowMs) {
      total = Math.max(0, totalAt(nowMs) + cost);
      const one = active.get(tenant);
      if (one !== undefined) one.served = Math.max(0, servedAt(one, nowMs) + cost);
    },
    isBelow(tenant, slots, window, nowMs) {
      const one = active.get(tenant);
      if (one === undefined || active.size === 1) return false;
      const part = one.weight / weights;
      return slots <= Math.max(1, window * part) && servedAt(one, nowMs) <= totalAt(nowMs) * part;
    },
    wouldBeBelow(tenant, weight, slots, window, nowMs) {
      let others = 0;
      for (const [name, one] of active) {
        if (name !== tenant && nowMs - one.lastMs < ACTIVE_MS) others += one.weight;
      }
      const one = active.get(tenant);
      const known = one !== undefined && nowMs - one.lastMs < ACTIVE_MS ? one : undefined;
      const part = weight / (others + weight);
      const served = known === undefined ? 0 : fade(known.served, known.servedAtMs, nowMs);
      return (
        others > 0 && slots <= Math.max(1, window * part) && served <= fade(total, totalAtMs, nowMs) * part
      );
    },
    quietArrived(tenant, nowMs) {
      quiet.delete(tenant);
      quiet.set(tenant, nowMs);
      quietRate.add(nowMs);
    },
    backlogged(tenant) {
      if (quiet.delete(tenant) && quiet.size === 0) quietRate = createRate();
    },
    slotFreed(nowMs) {
      freedRate.add(nowMs);
    },
    reserve(window, configured, nowMs) {
      forgetIdle(nowMs);
      if (quiet.size === 0) return 0;
      if (configured !== 'auto') return Math.min(configured, window - 1);
      if (window < MIN_WINDOW) return 0;
      const most = Math.max(1, Math.floor(window * MAX_RESERVED_PART));
      const freed = freedRate.perMs(nowMs);
      const load = freed === 0 ? 0 : quietRate.perMs(nowMs) / freed;
      if (load >= 1) return most;
      return Math.min(most, Math.max(1, Math.ceil(Math.log(MISS_PROBABILITY) / Math.log(load))));
    },
  };
}
