/**
 * Passive outlier ejection: an endpoint leaves the rotation by what requests through it showed, before a probe says so.
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
 * one from them: a trial that failed bars its tenant from the next ones, and only a second tenant's ejects again.
 *
 * Invariants: at most `maxEjectedShare` of the endpoints is ejected at once; as long as any endpoint is healthy by its
 * probes, at least one of those serves (panic: if all of them are ejected, ejection is not heard).
 */
import type { EndpointSign } from './outcome.ts';
import { createSlidingCounts, type SlidingCounts } from './sliding-counts.ts';
import { createTenantVotes, type TenantVotes } from './tenant-votes.ts';

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
  /** A trial that says nothing for so long is no longer waited for. */
  readonly trialMs: number;
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
  trialMs: 10_000,
};

interface OutlierState {
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

export interface Outliers {
  /** The pool's endpoints; those that stay keep their state. */
  reconfigure(urls: readonly string[], config: OutlierConfig): void;
  /** By its probes: for the rule that one always serves. */
  setHealthy(url: string, healthy: boolean): void;
  /**
   * May a request go there, as far as this knows? A `trial` is one request at a time, which began() announces. Whether the
   * probes say so too is for the caller to see.
   */
  admits(url: string, tenant: string, nowMs: number): 'yes' | 'trial' | 'no';
  /** A request has gone there. */
  began(url: string, tenant: string, nowMs: number): void;
  /** What a request showed. `undefined` says nothing, but ends a trial. */
  observed(url: string, sign: EndpointSign | undefined, tenant: string, nowMs: number): Change | undefined;
  /** It is loading, or was restarted: what it did before does not count. */
  forgive(url: string): void;
  list(nowMs: number): readonly OutlierState[];
}

interface Member {
  readonly url: string;
  healthy: boolean;
  /** Of failures of any kind. */
  counts: SlidingCounts;
  votes: TenantVotes;
  inARow: number;
  /** Whose failure the first of them was, and how many were others'. */
  streakOf: string;
  othersInARow: number;
  connectInARow: number;
  /** Undefined: it serves. */
  ejectedUntilMs: number | undefined;
  reason: string;
  repeats: number;
  /** Since when it serves, or the last doubling was taken back. */
  calmSinceMs: number;
  /** The last one that was not answered. */
  trial: { readonly tenant: string; readonly untilMs: number } | undefined;
  returning: number;
  /** Whose trial failed, or said nothing, and until when it tries no more. One is enough: a second one that fails ejects. */
  barred: { readonly tenant: string; readonly failed: boolean; readonly untilMs: number } | undefined;
}

/** Two tenants cannot both be the cause; more say no more. */
const MAX_TENANTS = 64;
const MAX_DOUBLINGS = 30;
/** Who used the pool so lately may be back, or have a long answer under way. */
const COMPANY_MS = 600_000;
/** Failures of a streak that each of two tenants has to have. */
const MIN_OF_EACH = 2;

export function createOutliers(): Outliers {
  let config = DEFAULT_OUTLIER;
  let members: readonly Member[] = [];
  /** Whose request ended last in the pool, and when the last one of any other did. */
  const latest = { tenant: '', atMs: Number.NEGATIVE_INFINITY };
  let companyMs = Number.NEGATIVE_INFINITY;
  const memberOf = (url: string): Member | undefined => members.find((member) => member.url === url);

  const votesFor = ({ windowMs, failureShare }: OutlierConfig): TenantVotes =>
    createTenantVotes({ windowMs, failureShare, maxTenants: MAX_TENANTS });

  const reset = (member: Member): void => {
    member.counts.clear();
    member.votes.clear();
    member.inARow = 0;
    member.othersInARow = 0;
    member.connectInARow = 0;
    member.trial = undefined;
    member.returning = 0;
    member.barred = undefined;
  };

  const isAllOut = (): boolean =>
    members.every((member) => !member.healthy || member.ejectedUntilMs !== undefined);

  /** Half-open ones count: they do not carry load yet. */
  const mayEject = (member: Member): boolean => {
    const others = members.filter((other) => other !== member);
    if (!others.some((other) => other.healthy && other.ejectedUntilMs === undefined)) return false;
    const ejected = others.filter((other) => other.ejectedUntilMs !== undefined).length;
    return ejected + 1 <= Math.max(1, Math.floor(config.maxEjectedShare * members.length));
  };

  const decay = (member: Member, nowMs: number): void => {
    const steps = Math.floor((nowMs - member.calmSinceMs) / config.decayMs);
    if (steps <= 0) return;
    member.repeats = Math.max(0, member.repeats - steps);
    member.calmSinceMs += steps * config.decayMs;
  };

  const nextEjectionMs = ({ repeats }: Member): number =>
    Math.min(config.maxEjectionMs, config.baseEjectionMs * 2 ** Math.min(MAX_DOUBLINGS, repeats));

  const eject = (member: Member, reason: string, nowMs: number): Change => {
    const forMs = nextEjectionMs(member);
    // Beyond the maximum more doublings would only make the way back longer.
    if (forMs < config.maxEjectionMs) member.repeats += 1;
    reset(member);
    member.ejectedUntilMs = nowMs + forMs;
    member.reason = reason;
    return { kind: 'ejected', url: member.url, forMs, reason };
  };

  const reasonToEject = (member: Member, nowMs: number): string | undefined => {
    if (member.connectInARow >= config.consecutive)
      return `${member.connectInARow} connections in a row failed`;
    // Who is to blame is asked only when there is enough to blame for: it costs a look at every tenant.
    const isStreak = member.inARow >= config.consecutive;
    const { succeeded, failed } = member.counts.sum(nowMs);
    const isShare =
      succeeded + failed >= config.minRequests && failed >= config.failureShare * (succeeded + failed);
    if (!isStreak && !isShare) return undefined;
    const isAlone = nowMs - companyMs >= COMPANY_MS;
    // Nobody succeeded since, so what went well before does not matter.
    const isAgreed = member.othersInARow >= MIN_OF_EACH && member.inARow - member.othersInARow >= MIN_OF_EACH;
    if (isStreak && (isAlone || isAgreed)) return `${member.inARow} requests in a row failed`;
    const { kind } = member.votes.verdict(nowMs);
    if (kind === 'fine' || (kind === 'alone' && !isAlone)) return undefined;
    return `${failed} of ${succeeded + failed} requests failed`;
  };

  const observedInTrial = (
    member: Member,
    sign: EndpointSign,
    tenant: string,
    nowMs: number,
  ): Change | undefined => {
    if (sign !== 'success') {
      const { barred } = member;
      const isAgreed = barred?.failed === true && barred.tenant !== tenant;
      if (sign === 'connect-failure' || isAgreed) return eject(member, 'a trial failed', nowMs);
      member.returning = 0;
      member.barred = { tenant, failed: true, untilMs: nowMs + nextEjectionMs(member) };
      return undefined;
    }
    member.returning += 1;
    if (member.returning < config.successesToReturn) return undefined;
    member.ejectedUntilMs = undefined;
    member.calmSinceMs = nowMs;
    reset(member);
    return { kind: 'returned', url: member.url };
  };

  return {
    reconfigure(urls, next) {
      const isSame = next.windowMs === config.windowMs && next.failureShare === config.failureShare;
      config = next;
      members = [...new Set(urls)].map((url) => {
        const known = memberOf(url);
        if (known !== undefined) {
          if (!isSame) {
            known.counts = createSlidingCounts(next.windowMs);
            known.votes = votesFor(next);
          }
          return known;
        }
        return {
          url,
          healthy: false,
          counts: createSlidingCounts(next.windowMs),
          votes: votesFor(next),
          inARow: 0,
          streakOf: '',
          othersInARow: 0,
          connectInARow: 0,
          ejectedUntilMs: undefined,
          reason: '',
          repeats: 0,
          calmSinceMs: Number.NEGATIVE_INFINITY,
          trial: undefined,
          returning: 0,
          barred: undefined,
        };
      });
    },
    setHealthy(url, healthy) {
      const member = memberOf(url);
      if (member !== undefined) member.healthy = healthy;
    },
    admits(url, tenant, nowMs) {
      const member = memberOf(url);
      if (member === undefined) return 'no';
      if (member.ejectedUntilMs === undefined || (member.healthy && isAllOut())) return 'yes';
      if (nowMs < member.ejectedUntilMs) return 'no';
      // Whose trial never ended lets others try.
      const restMs = member.trial?.tenant === tenant ? config.trialMs : 0;
      if (member.trial !== undefined && nowMs < member.trial.untilMs + restMs) return 'no';
      if (member.barred?.tenant === tenant && nowMs < member.barred.untilMs) return 'no';
      return 'trial';
    },
    began(url, tenant, nowMs) {
      const member = memberOf(url);
      if (member?.ejectedUntilMs === undefined || nowMs < member.ejectedUntilMs) return;
      member.trial = { tenant, untilMs: nowMs + config.trialMs };
    },
    observed(url, sign, tenant, nowMs) {
      if (tenant !== latest.tenant) {
        companyMs = latest.atMs;
        latest.tenant = tenant;
      }
      latest.atMs = nowMs;
      const member = memberOf(url);
      if (member === undefined) return undefined;
      const { ejectedUntilMs } = member;
      if (ejectedUntilMs !== undefined) {
        // What went there before the ejection, or in a panic, is not a trial.
        if (nowMs < ejectedUntilMs) return undefined;
        if (member.trial?.tenant === tenant) member.trial = undefined;
        if (sign !== undefined) return observedInTrial(member, sign, tenant, nowMs);
        if (member.barred?.failed !== true) {
          member.barred = { tenant, failed: false, untilMs: nowMs + config.trialMs };
        }
        return undefined;
      }
      if (sign === undefined) return undefined;
      if (member.calmSinceMs === Number.NEGATIVE_INFINITY) member.calmSinceMs = nowMs;
      decay(member, nowMs);
      const failed = sign !== 'success';
      member.counts.add(failed, nowMs);
      member.votes.add(tenant, failed, nowMs);
      if (!failed || member.inARow === 0) {
        member.streakOf = tenant;
        member.othersInARow = 0;
      } else if (member.streakOf !== tenant) member.othersInARow += 1;
      member.inARow = failed ? member.inARow + 1 : 0;
      member.connectInARow = sign === 'connect-failure' ? member.connectInARow + 1 : 0;
      if (!failed) return undefined;
      const reason = reasonToEject(member, nowMs);
      return reason === undefined || !mayEject(member) ? undefined : eject(member, reason, nowMs);
    },
    forgive(url) {
      const member = memberOf(url);
      if (member === undefined) return;
      reset(member);
      member.ejectedUntilMs = undefined;
      member.repeats = 0;
      member.calmSinceMs = Number.NEGATIVE_INFINITY;
    },
    list: (nowMs) =>
      members.map(({ url, ejectedUntilMs, repeats, reason }) => {
        if (ejectedUntilMs === undefined) return { url, state: 'serving', repeats };
        return nowMs < ejectedUntilMs
          ? { url, state: 'ejected', untilMs: ejectedUntilMs, repeats, reason }
          : { url, state: 'half-open', repeats, reason };
      }),
  };
}
