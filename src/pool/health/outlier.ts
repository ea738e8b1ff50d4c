/**
 * Ejects outliers passively: an endpoint leaves the rotation by what requests through it showed, before a probe says so.
 *
 *   serving ──(failures)──▶ ejected ──(its time)──▶ half-open ──(successes)──▶ serving
 *                              ▲                        │
 *                              └───────(a failure)──────┘
 *
 * Two tests, as in Envoy's outlier detection: failures in a row, and the share of failures in a sliding window with a minimum
 * volume. Each ejection lasts twice as long as the one before; a time without one takes a doubling back.
 *
 * Failures that a request can provoke count by tenants: of a streak two tenants have to be a part, of a share the tenants'
 * votes decide (tenant-votes.ts). One tenant never ejects an endpoint while another uses the pool, and cannot keep an ejected
 * one from them: a half-open probe that failed bars its tenant from the next ones, and only a second tenant's ejects again.
 *
 * Invariants: at most `maxEjectedShare` of the endpoints is ejected at once; as long as any endpoint is healthy by its
 * probes, at least one of those serves (panic: if all of them are ejected, ejection is not heard).
 */
import type { EndpointSign } from './outcome.ts';
import { SlidingCounts } from './sliding-counts.ts';
import { TenantVotes } from './tenant-votes.ts';

export interface OutlierConfig {
  /** Failures in a row. */
  readonly consecutive: number;
  readonly windowMs: number;
  /** Outcomes in the window below which no share is taken. */
  readonly minRequests: number;
  /** 0 to 1. */
  readonly failureShare: number;
  /** Of a first ejection. */
  readonly baseEjectionMs: number;
  readonly maxEjectionMs: number;
  /** Time in the rotation that takes one doubling back. */
  readonly decayMs: number;
  /** Part of the pool's endpoints, 0 to 1; one of several may always be ejected. */
  readonly maxEjectedShare: number;
  /** Successes in half-open after which the endpoint serves again. */
  readonly successesToReturn: number;
  /** A half-open probe that says nothing for so long is no longer waited for. */
  readonly probeTimeoutMs: number;
}

export const DEFAULT_OUTLIER: OutlierConfig = {
  consecutive: 5,
  windowMs: 10_000,
  minRequests: 20,
  failureShare: 0.5,
  baseEjectionMs: 5_000,
  maxEjectionMs: 300_000,
  decayMs: 60_000,
  maxEjectedShare: 0.5,
  successesToReturn: 2,
  probeTimeoutMs: 10_000,
};

interface OutlierReport {
  readonly url: string;
  readonly state: 'serving' | 'ejected' | 'half-open';
  /** Of an ejected one. */
  readonly untilMs?: number;
  /** Doublings that the next ejection starts with. */
  readonly repeats: number;
  readonly reason?: string;
}

export type Change =
  | { readonly kind: 'ejected'; readonly url: string; readonly forMs: number; readonly reason: string }
  | { readonly kind: 'returned'; readonly url: string };

/** Two tenants cannot both be the cause; more say no more. */
const MAX_TENANTS = 64;
const MAX_DOUBLINGS = 30;
/** Who used the pool so lately may be back, or have a long answer under way. */
const COMPANY_MS = 600_000;
/** Failures of a streak that each of two tenants has to have. */
const MIN_OF_EACH = 2;

const votesFor = ({ windowMs, failureShare }: OutlierConfig): TenantVotes =>
  new TenantVotes({ windowMs, failureShare, maxTenants: MAX_TENANTS });

/** What the requests through one endpoint showed. */
class OutlierRecord {
  readonly url: string;
  healthy = false;

  // Outcomes.
  /** Of failures of any kind. */
  #counts: SlidingCounts;
  #votes: TenantVotes;

  // Failures in a row.
  #inARow = 0;
  /** Whose failure the first of them was, and how many were others'. */
  #streakOf = '';
  #othersInARow = 0;
  #connectInARow = 0;

  // Ejection.
  /** Undefined: it serves. Before that time: ejected. After it: half-open. */
  #ejectedUntilMs: number | undefined;
  #reason = '';
  #repeats = 0;
  /** Since when it serves, or the last doubling was taken back. */
  #calmSinceMs = Number.NEGATIVE_INFINITY;

  // Half-open.
  /** The last probe that was not answered. */
  #probe: { readonly tenant: string; readonly untilMs: number } | undefined;
  /** Successful probes. */
  #succeeded = 0;
  /** Whose probe failed, or said nothing, and until when it tries no more. One is enough: a second one that fails ejects. */
  #barred: { readonly tenant: string; readonly failed: boolean; readonly untilMs: number } | undefined;

  constructor(url: string, config: OutlierConfig) {
    this.url = url;
    this.#counts = new SlidingCounts(config.windowMs);
    this.#votes = votesFor(config);
  }

  get isOut(): boolean {
    return this.#ejectedUntilMs !== undefined;
  }

  isEjected(nowMs: number): boolean {
    return this.#ejectedUntilMs !== undefined && nowMs < this.#ejectedUntilMs;
  }

  /** Begins to count anew, with other windows. */
  recount(config: OutlierConfig): void {
    this.#counts = new SlidingCounts(config.windowMs);
    this.#votes = votesFor(config);
  }

  mayProbe(tenant: string, { probeTimeoutMs }: OutlierConfig, nowMs: number): boolean {
    // Whose probe never ended lets others try.
    const restMs = this.#probe?.tenant === tenant ? probeTimeoutMs : 0;
    if (this.#probe !== undefined && nowMs < this.#probe.untilMs + restMs) return false;
    return this.#barred?.tenant !== tenant || nowMs >= this.#barred.untilMs;
  }

  beginProbe(tenant: string, { probeTimeoutMs }: OutlierConfig, nowMs: number): void {
    this.#probe = { tenant, untilMs: nowMs + probeTimeoutMs };
  }

  /** Counts an outcome while it serves. */
  count(sign: EndpointSign, tenant: string, { decayMs }: OutlierConfig, nowMs: number): void {
    if (this.#calmSinceMs === Number.NEGATIVE_INFINITY) this.#calmSinceMs = nowMs;
    this.#decay(decayMs, nowMs);
    const failed = sign !== 'success';
    this.#counts.add(failed, nowMs);
    this.#votes.add(tenant, failed, nowMs);
    if (!failed || this.#inARow === 0) {
      this.#streakOf = tenant;
      this.#othersInARow = 0;
    } else if (this.#streakOf !== tenant) this.#othersInARow += 1;
    this.#inARow = failed ? this.#inARow + 1 : 0;
    this.#connectInARow = sign === 'connect-failure' ? this.#connectInARow + 1 : 0;
  }

  /** @param isAlone no other tenant uses the pool: nobody contradicts its failures. */
  reasonToEject(
    { consecutive, minRequests, failureShare }: OutlierConfig,
    isAlone: boolean,
    nowMs: number,
  ): string | undefined {
    if (this.#connectInARow >= consecutive) return `${this.#connectInARow} connections in a row failed`;
    // Who is to blame is asked only when there is enough to blame for: it costs a look at every tenant.
    const isStreak = this.#inARow >= consecutive;
    const { succeeded, failed } = this.#counts.sum(nowMs);
    const isShare = succeeded + failed >= minRequests && failed >= failureShare * (succeeded + failed);
    if (!isStreak && !isShare) return undefined;
    // Nobody succeeded since, so what went well before does not matter.
    const isAgreed = this.#othersInARow >= MIN_OF_EACH && this.#inARow - this.#othersInARow >= MIN_OF_EACH;
    if (isStreak && (isAlone || isAgreed)) return `${this.#inARow} requests in a row failed`;
    const { kind } = this.#votes.verdict(nowMs);
    if (kind === 'fine' || (kind === 'alone' && !isAlone)) return undefined;
    return `${failed} of ${succeeded + failed} requests failed`;
  }

  eject(reason: string, config: OutlierConfig, nowMs: number): Change {
    const forMs = this.#nextEjectionMs(config);
    // Beyond the maximum more doublings would only make the way back longer.
    if (forMs < config.maxEjectionMs) this.#repeats += 1;
    this.#reset();
    this.#ejectedUntilMs = nowMs + forMs;
    this.#reason = reason;
    return { kind: 'ejected', url: this.url, forMs, reason };
  }

  /** Hears how a request ended that went there while it was half-open. */
  observeProbe(
    sign: EndpointSign | undefined,
    tenant: string,
    config: OutlierConfig,
    nowMs: number,
  ): Change | undefined {
    if (this.#probe?.tenant === tenant) this.#probe = undefined;
    if (sign === undefined) {
      if (this.#barred?.failed !== true) {
        this.#barred = { tenant, failed: false, untilMs: nowMs + config.probeTimeoutMs };
      }
      return undefined;
    }
    if (sign !== 'success') {
      const isAgreed = this.#barred?.failed === true && this.#barred.tenant !== tenant;
      if (sign === 'connect-failure' || isAgreed)
        return this.eject('a half-open probe failed', config, nowMs);
      this.#succeeded = 0;
      this.#barred = { tenant, failed: true, untilMs: nowMs + this.#nextEjectionMs(config) };
      return undefined;
    }
    this.#succeeded += 1;
    if (this.#succeeded < config.successesToReturn) return undefined;
    this.#ejectedUntilMs = undefined;
    this.#calmSinceMs = nowMs;
    this.#reset();
    return { kind: 'returned', url: this.url };
  }

  forgive(): void {
    this.#reset();
    this.#ejectedUntilMs = undefined;
    this.#repeats = 0;
    this.#calmSinceMs = Number.NEGATIVE_INFINITY;
  }

  report(nowMs: number): OutlierReport {
    const [url, untilMs, repeats, reason] = [this.url, this.#ejectedUntilMs, this.#repeats, this.#reason];
    if (untilMs === undefined) return { url, state: 'serving', repeats };
    return nowMs < untilMs
      ? { url, state: 'ejected', untilMs, repeats, reason }
      : { url, state: 'half-open', repeats, reason };
  }

  #reset(): void {
    this.#counts.clear();
    this.#votes.clear();
    this.#inARow = 0;
    this.#othersInARow = 0;
    this.#connectInARow = 0;
    this.#probe = undefined;
    this.#succeeded = 0;
    this.#barred = undefined;
  }

  /** Takes a doubling back for each `decayMs` in the rotation. */
  #decay(decayMs: number, nowMs: number): void {
    const steps = Math.floor((nowMs - this.#calmSinceMs) / decayMs);
    if (steps <= 0) return;
    this.#repeats = Math.max(0, this.#repeats - steps);
    this.#calmSinceMs += steps * decayMs;
  }

  #nextEjectionMs({ baseEjectionMs, maxEjectionMs }: OutlierConfig): number {
    return Math.min(maxEjectionMs, baseEjectionMs * 2 ** Math.min(MAX_DOUBLINGS, this.#repeats));
  }
}

export class Outliers {
  #config = DEFAULT_OUTLIER;
  #records: readonly OutlierRecord[] = [];
  /** Whose request ended last in the pool, and when. */
  #latestTenant = '';
  #latestMs = Number.NEGATIVE_INFINITY;
  /** When the last request of any other tenant ended. */
  #companyMs = Number.NEGATIVE_INFINITY;

  /** Replaces the pool's endpoints; those that stay keep their state. */
  reconfigure(urls: readonly string[], next: OutlierConfig): void {
    const before = this.#config;
    const isSame = next.windowMs === before.windowMs && next.failureShare === before.failureShare;
    this.#config = next;
    this.#records = [...new Set(urls)].map((url) => {
      const known = this.#recordOf(url);
      if (known === undefined) return new OutlierRecord(url, next);
      if (!isSame) known.recount(next);
      return known;
    });
  }

  /** Hears from the probes who is healthy: for the rule that one always serves. */
  setHealthy(url: string, healthy: boolean): void {
    const record = this.#recordOf(url);
    if (record !== undefined) record.healthy = healthy;
  }

  /**
   * Whether a request may go there, as far as this knows. `half-open`: as the one probe, which began() announces. Whether
   * the health probes say so too is for the caller to see.
   */
  admits(url: string, tenant: string, nowMs: number): 'yes' | 'half-open' | 'no' {
    const record = this.#recordOf(url);
    if (record === undefined) return 'no';
    if (!record.isOut || (record.healthy && this.#isAllOut())) return 'yes';
    if (record.isEjected(nowMs)) return 'no';
    return record.mayProbe(tenant, this.#config, nowMs) ? 'half-open' : 'no';
  }

  /** A request has gone there. */
  began(url: string, tenant: string, nowMs: number): void {
    const record = this.#recordOf(url);
    if (record?.isOut === true && !record.isEjected(nowMs)) record.beginProbe(tenant, this.#config, nowMs);
  }

  /** Hears what a request showed. `undefined` says nothing, but ends a half-open probe. */
  observed(url: string, sign: EndpointSign | undefined, tenant: string, nowMs: number): Change | undefined {
    if (tenant !== this.#latestTenant) {
      this.#companyMs = this.#latestMs;
      this.#latestTenant = tenant;
    }
    this.#latestMs = nowMs;
    const record = this.#recordOf(url);
    if (record === undefined) return undefined;
    // What went there before the ejection, or in a panic, is not a probe.
    if (record.isEjected(nowMs)) return undefined;
    if (record.isOut) return record.observeProbe(sign, tenant, this.#config, nowMs);
    if (sign === undefined) return undefined;
    record.count(sign, tenant, this.#config, nowMs);
    if (sign === 'success') return undefined;
    const isAlone = nowMs - this.#companyMs >= COMPANY_MS;
    const reason = record.reasonToEject(this.#config, isAlone, nowMs);
    if (reason === undefined || !this.#mayEject(record)) return undefined;
    return record.eject(reason, this.#config, nowMs);
  }

  /** It is loading, or was restarted: what it did before does not count. */
  forgive(url: string): void {
    this.#recordOf(url)?.forgive();
  }

  list(nowMs: number): readonly OutlierReport[] {
    return this.#records.map((record) => record.report(nowMs));
  }

  #recordOf(url: string): OutlierRecord | undefined {
    return this.#records.find((record) => record.url === url);
  }

  #isAllOut(): boolean {
    return this.#records.every((record) => !record.healthy || record.isOut);
  }

  /** Half-open ones count: they do not carry load yet. */
  #mayEject(record: OutlierRecord): boolean {
    const others = this.#records.filter((other) => other !== record);
    if (!others.some((other) => other.healthy && !other.isOut)) return false;
    const ejected = others.filter((other) => other.isOut).length;
    return ejected + 1 <= Math.max(1, Math.floor(this.#config.maxEjectedShare * this.#records.length));
  }
}
