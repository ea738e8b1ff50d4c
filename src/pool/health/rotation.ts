/**
 * Decides which endpoints of a pool a request may go to, by what requests showed: ejection (outlier.ts), the circuit breaker
 * of each model (breaker.ts), and the ramp of one that has come back (slow-start.ts). The probes say who is healthy; this
 * never takes in what they do not.
 *
 * Without a failure it answers from one flag of the endpoint's and one of the breaker's. Questions change nothing.
 */
import { Breaker, type BreakerConfig, DEFAULT_BREAKER } from './breaker.ts';
import { type AttemptResult, endpointSignOf, modelSignOf } from './outcome.ts';
import { type Change, DEFAULT_OUTLIER, Outliers } from './outlier.ts';
import { DEFAULT_SLOW_START, rampedLimit, slowStartWeight } from './slow-start.ts';

/** An endpoint in the rotation. Read by others, written here alone. */
export interface EndpointStatus {
  readonly url: string;
  /** Healthy and not ejected, or the best there is. */
  readonly serves: boolean;
  readonly ejected: boolean;
  /** When it came back, while it takes less than it could; undefined: nothing is to be ramped. */
  readonly returnedMs: number | undefined;
}

export type RotationChange =
  | Change
  /** For everybody; `open`: only half-open probes go there. */
  | { readonly kind: 'model'; readonly url: string; readonly model: string; readonly open: boolean };

export interface RotationEvents {
  readonly changed: (change: RotationChange) => void;
  /** A request failed there for a reason that a probe may show sooner. */
  readonly suspect: (url: string) => void;
}

/** Who goes, and for which model; without a model no breaker is asked. */
export interface RequestKey {
  readonly model: string | undefined;
  readonly tenant: string;
}

/** Whether an endpoint takes a request. `half-open`: as its one probe, which began() announces. */
export type Admission = 'yes' | 'half-open' | 'no';

interface OwnStatus extends EndpointStatus {
  serves: boolean;
  ejected: boolean;
  healthy: boolean;
  wasHealthy: boolean;
  returnedMs: number | undefined;
  /** Since when a half-open probe has been left to others. */
  offeredMs: number | undefined;
}

/** Where everything fails the endpoint is ejected, before one of its models is broken. */
const BREAKER: BreakerConfig = { ...DEFAULT_BREAKER, minFailures: DEFAULT_OUTLIER.consecutive + 1 };
/** A request of a tenant below its fair share is the probe when none of another tenant has been for so long. */
const PROBE_PATIENCE_MS = 5_000;
/** An ejected endpoint says when it is over only by being asked. */
const EJECTED_RETRY_MS = 1_000;

const NO_EVENTS: RotationEvents = { changed: () => undefined, suspect: () => undefined };

const newStatus = (url: string): OwnStatus => ({
  url,
  serves: false,
  ejected: false,
  healthy: false,
  wasHealthy: false,
  returnedMs: undefined,
  offeredMs: undefined,
});

export class Rotation {
  readonly #events: RotationEvents;
  readonly #outliers = new Outliers();
  readonly #breaker = new Breaker(BREAKER);
  #statuses = new Map<string, OwnStatus>();
  #slowStart = DEFAULT_SLOW_START;
  #ejected = 0;
  /** Latest time that was heard of. */
  #latestMs = Number.NEGATIVE_INFINITY;

  constructor(events: RotationEvents = NO_EVENTS) {
    this.#events = events;
  }

  // What the rotation is of.

  /** Replaces the endpoints; those that stay keep their status. */
  reconfigure(urls: readonly string[], rampMs: number): void {
    this.#slowStart = { ...DEFAULT_SLOW_START, rampMs };
    const before = this.#statuses;
    this.#statuses = new Map(urls.map((url) => [url, before.get(url) ?? newStatus(url)]));
    for (const [url, status] of before) {
      if (this.#statuses.has(url)) continue;
      status.serves = false;
      this.#breaker.forget(url);
    }
    this.#outliers.reconfigure(urls, DEFAULT_OUTLIER);
    this.#refresh();
  }

  /** Throws for an endpoint that is not in the pool. */
  statusOf(url: string): EndpointStatus {
    const status = this.#statuses.get(url);
    if (status === undefined) throw new Error(`${url} is no endpoint of the pool`);
    return status;
  }

  setHealthy(url: string, healthy: boolean, nowMs: number): void {
    this.#latestMs = nowMs;
    const status = this.#statuses.get(url);
    if (status === undefined || status.healthy === healthy) return;
    status.healthy = healthy;
    this.#outliers.setHealthy(url, healthy);
    if (!healthy) this.#breaker.forget(url);
    else if (status.wasHealthy) this.#comesBack(status, nowMs);
    status.wasHealthy ||= healthy;
    this.#refresh();
  }

  /** Its engine has loaded: what it did before does not count. */
  loaded(url: string): void {
    const status = this.#statuses.get(url);
    if (status === undefined) return;
    this.#outliers.forgive(url);
    status.ejected = false;
    this.#refresh();
  }

  // Questions.

  /** Nobody is refused anything. */
  admitsEverything(): boolean {
    return this.#ejected === 0 && this.#breaker.permitsEverything();
  }

  /** For endpoints that are healthy by their probes. */
  admits(status: EndpointStatus, key: RequestKey, nowMs: number): Admission {
    if (this.admitsEverything()) return 'yes';
    const own = this.#outlierAdmits(status, key, nowMs);
    if (own === 'no' || key.model === undefined || this.#breaker.permitsEverything()) return own;
    const { kind } = this.#breaker.permits({ endpoint: status.url, model: key.model }, key.tenant, nowMs);
    if (kind === 'refuse') return 'no';
    return kind === 'probe' ? 'half-open' : own;
  }

  /**
   * Whether a request may be the half-open probe although another endpoint would take it: one of a tenant below its fair
   * share only when nobody else's was for a while.
   */
  mayProbe({ url }: EndpointStatus, belowFairShare: boolean, nowMs: number): boolean {
    const own = this.#statuses.get(url);
    return !belowFairShare || own === undefined || nowMs - (own.offeredMs ?? nowMs) >= PROBE_PATIENCE_MS;
  }

  /** Until a request that is not admitted may be, in ms; undefined: it is now. */
  retryMs(status: EndpointStatus, key: RequestKey, nowMs: number): number | undefined {
    if (this.#outlierAdmits(status, key, nowMs) === 'no') return EJECTED_RETRY_MS;
    if (key.model === undefined) return undefined;
    const permission = this.#breaker.permits({ endpoint: status.url, model: key.model }, key.tenant, nowMs);
    return permission.kind === 'refuse' ? permission.retryMs : undefined;
  }

  /** The part of a concurrency limit that an endpoint may use. */
  ramped({ returnedMs }: EndpointStatus, limit: number, nowMs: number): number {
    if (returnedMs === undefined) return limit;
    return rampedLimit(limit, slowStartWeight(returnedMs, this.#slowStart, nowMs));
  }

  /** It has come back and takes less than it could. */
  isRamping({ returnedMs }: EndpointStatus, nowMs: number): boolean {
    return returnedMs !== undefined && slowStartWeight(returnedMs, this.#slowStart, nowMs) < 1;
  }

  /** Models whose circuit is not closed there. */
  broken(url: string, nowMs: number): readonly string[] {
    if (this.#breaker.permitsEverything()) return [];
    return this.#breaker
      .open(nowMs)
      .filter(({ endpoint }) => endpoint === url)
      .map(({ model }) => model);
  }

  // What requests do.

  /** A half-open probe has been left to others. */
  offered({ url }: EndpointStatus, nowMs: number): void {
    const own = this.#statuses.get(url);
    if (own !== undefined) own.offeredMs ??= nowMs;
  }

  /** A request has gone there. */
  began(status: EndpointStatus, { model, tenant }: RequestKey, nowMs: number): void {
    this.#latestMs = nowMs;
    if (this.admitsEverything()) return;
    const own = this.#statuses.get(status.url);
    if (own !== undefined) own.offeredMs = undefined;
    if (!status.serves) this.#outliers.began(status.url, tenant, nowMs);
    if (model === undefined) return;
    const key = { endpoint: status.url, model };
    this.#breaker.began(key, tenant, this.#breaker.permits(key, tenant, nowMs), nowMs);
  }

  ended(status: EndpointStatus, key: RequestKey, result: AttemptResult, nowMs: number): void {
    this.#latestMs = nowMs;
    if (!this.#statuses.has(status.url)) return;
    const sign = endpointSignOf(result);
    this.#tellBreaker(status, key, result, nowMs);
    const change = this.#outliers.observed(status.url, sign, key.tenant, nowMs);
    if (change !== undefined) this.#apply(change, nowMs);
    if (sign !== undefined && sign !== 'success') this.#events.suspect(status.url);
  }

  #outlierAdmits(status: EndpointStatus, { tenant }: RequestKey, nowMs: number): Admission {
    return status.serves ? 'yes' : this.#outliers.admits(status.url, tenant, nowMs);
  }

  #tellBreaker(
    status: EndpointStatus,
    { model, tenant }: RequestKey,
    result: AttemptResult,
    nowMs: number,
  ): void {
    if (model === undefined) return;
    const breaker = this.#breaker;
    const sign = modelSignOf(result);
    const key = { endpoint: status.url, model };
    if (breaker.permitsEverything() && (sign === undefined || sign === 'success')) {
      breaker.observed(key, tenant, sign, nowMs);
      return;
    }
    const wasClosed = breaker.stateOf(key, nowMs) === 'closed';
    breaker.observed(key, tenant, sign, nowMs);
    const isClosed = breaker.stateOf(key, nowMs) === 'closed';
    if (wasClosed !== isClosed) {
      this.#events.changed({ kind: 'model', url: status.url, model, open: !isClosed });
    }
  }

  #apply(change: Change, nowMs: number): void {
    const status = this.#statuses.get(change.url);
    if (status === undefined) return;
    status.ejected = change.kind === 'ejected';
    status.offeredMs = undefined;
    if (change.kind === 'returned') this.#comesBack(status, nowMs);
    this.#refresh();
    this.#events.changed(change);
  }

  #refresh(): void {
    this.#ejected = 0;
    let anyServes = false;
    for (const status of this.#statuses.values()) {
      if (status.ejected) this.#ejected += 1;
      status.serves = status.healthy && !status.ejected;
      anyServes ||= status.serves;
    }
    if (!anyServes) for (const status of this.#statuses.values()) status.serves = status.healthy;
    for (const status of this.#statuses.values()) {
      if (status.returnedMs === undefined) continue;
      if (this.#isAlone(status) || !this.isRamping(status, this.#latestMs)) status.returnedMs = undefined;
    }
  }

  /** With nobody else to carry the load there is nothing to ramp. */
  #isAlone(status: OwnStatus): boolean {
    for (const other of this.#statuses.values()) {
      if (other !== status && other.serves && !this.isRamping(other, this.#latestMs)) return false;
    }
    return true;
  }

  #comesBack(status: OwnStatus, nowMs: number): void {
    status.returnedMs = this.#isAlone(status) ? undefined : nowMs;
  }
}
