/** What redis-lease-script.ts does, in memory and on a virtual clock: a server that any number of holdings share. */
import { type Answer, type Ask, LEASE_MS } from '../../src/limit/lease.ts';
import type { StoredLimit } from '../../src/limit/store.ts';
import { TOLERANCE, usedAfter, usedWith } from '../../src/limit/used.ts';

interface Lease {
  readonly tokens: number;
  readonly endsMs: number;
  /** As the server was told last. */
  readonly account: number;
}

export class LeaseServer {
  /** Beside what leases hold. */
  used = 0;
  private limit: StoredLimit | undefined = undefined;
  private atMs = 0;
  private readonly leases = new Map<string, Lease>();

  /** @param hits decided on all there is, in their order. */
  call(
    replica: string,
    sent: Ask,
    maxDebt: number,
    hits: readonly number[],
    nowMs: number,
  ): { readonly answer: Answer; readonly granted: readonly boolean[] } {
    const limit = { amount: sent.amount, unitMs: sent.unitMs, maxDebt };
    const before = this.limit ?? limit;
    let base = sent.reported;
    let held = 0;
    for (const [name, lease] of this.leases) {
      if (name === replica) base = lease.account;
      else if (lease.endsMs <= nowMs) this.leases.delete(name);
      else held += lease.tokens;
    }
    this.used = usedAfter(this.used, { ...before, maxDebt }, nowMs - this.atMs);
    this.used = Math.max(0, usedWith(this.used + held, sent.used - base, limit) - held);
    let account = sent.used;
    const room = limit.amount - held;
    const granted = hits.map((one) => {
      const isGranted = one <= 0 || room - this.used + TOLERANCE >= one;
      if (isGranted) {
        this.used = Math.max(0, this.used + one);
        account += one;
      }
      return isGranted;
    });
    const level = room - this.used;
    const lease = Math.max(sent.inUse, Math.min(sent.want, Math.floor(level + TOLERANCE)), 0);
    this.leases.set(replica, { tokens: lease, endsMs: nowMs + LEASE_MS, account });
    this.limit = limit;
    this.atMs = Math.max(this.atMs, nowMs);
    return {
      answer: { lease, level: level - lease, heldByOthers: held, atMs: nowMs, used: account },
      granted,
    };
  }
}
