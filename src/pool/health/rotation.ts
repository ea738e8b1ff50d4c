/**
 * Which endpoints of a pool a request may go to, by what requests showed: ejection (outlier.ts), the breaker of each model
 * (breaker.ts), and the ramp of one that has come back (slow-start.ts). The probes say who is healthy; this never takes in
 * what they do not.
 *
 * Without a failure it answers from one flag of the endpoint's and one of the breaker's.
 */
import { type BreakerConfig, createBreaker, DEFAULT_BREAKER } from './breaker.ts';
import { type AttemptResult, endpointSignOf, modelSignOf } from './outcome.ts';
import { type Change, createOutliers, DEFAULT_OUTLIER } from './outlier.ts';
import { DEFAULT_SLOW_START, rampedLimit, slowStartWeight } from './slow-start.ts';

/** An endpoint in the rotation. */
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
  /** For everybody; `open`: only trials go there. */
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

export interface Rotation {
  /** The seats of these endpoints; those that stay keep theirs. */
  reconfigure(urls: readonly string[], rampMs: number): void;
  statusOf(url: string): EndpointStatus;
  setHealthy(url: string, healthy: boolean, nowMs: number): void;
  /** It has loaded: what it did before does not count. */
  loaded(url: string): void;
  /** A `trial` is one request at a time, which began() announces. For healthy endpoints. */
  admits(seat: EndpointStatus, rider: RequestKey, nowMs: number): 'yes' | 'trial' | 'no';
  /** Whether a request that others could go instead of may be the trial: a quiet one only when nobody else was. */
  mayTry(seat: EndpointStatus, quiet: boolean, nowMs: number): boolean;
  /** Until a request that is not admitted may be; undefined: it is now. */
  retryMs(seat: EndpointStatus, rider: RequestKey, nowMs: number): number | undefined;
  began(seat: EndpointStatus, rider: RequestKey, nowMs: number): void;
  ended(seat: EndpointStatus, rider: RequestKey, ending: AttemptResult, nowMs: number): void;
  /** The part of a window that an endpoint may use. */
  ramped(seat: EndpointStatus, window: number, nowMs: number): number;
  /** Nobody is refused anything. */
  admitsEverything(): boolean;
  /** Models that are broken there. */
  broken(url: string, nowMs: number): readonly string[];
}

interface OwnStatus extends EndpointStatus {
  serves: boolean;
  ejected: boolean;
  healthy: boolean;
  wasHealthy: boolean;
  returnedMs: number | undefined;
  /** Since when a trial has been left to others. */
  offeredMs: number | undefined;
}

/** Where everything fails the endpoint is ejected, before one of its models is broken. */
const BREAKER: BreakerConfig = { ...DEFAULT_BREAKER, minFailures: DEFAULT_OUTLIER.consecutive + 1 };
/** A quiet request is the trial when none of another tenant has been for so long. */
const QUIET_PATIENCE_MS = 5_000;
/** An ejected endpoint says when it is over only by being asked. */
const EJECTED_RETRY_MS = 1_000;

const NO_EVENTS: RotationEvents = { changed: () => undefined, suspect: () => undefined };

export function createRotation({ changed, suspect }: RotationEvents = NO_EVENTS): Rotation {
  const outliers = createOutliers();
  const breaker = createBreaker(BREAKER);
  let seats = new Map<string, OwnStatus>();
  let slowStart = DEFAULT_SLOW_START;
  let ejected = 0;

  const refresh = (): void => {
    ejected = 0;
    let anyServes = false;
    for (const seat of seats.values()) {
      if (seat.ejected) ejected += 1;
      seat.serves = seat.healthy && !seat.ejected;
      anyServes ||= seat.serves;
    }
    if (!anyServes) for (const seat of seats.values()) seat.serves = seat.healthy;
  };

  const ownOf = ({ url }: EndpointStatus): OwnStatus | undefined => seats.get(url);

  /** With nobody else to carry the load there is nothing to ramp. */
  const isAlone = (seat: OwnStatus): boolean => {
    for (const other of seats.values()) {
      if (other !== seat && other.serves && other.returnedMs === undefined) return false;
    }
    return true;
  };
  const comesBack = (seat: OwnStatus, nowMs: number): void => {
    seat.returnedMs = isAlone(seat) ? undefined : nowMs;
  };

  const apply = (change: Change, nowMs: number): void => {
    const seat = seats.get(change.url);
    if (seat === undefined) return;
    seat.ejected = change.kind === 'ejected';
    seat.offeredMs = undefined;
    if (change.kind === 'returned') comesBack(seat, nowMs);
    refresh();
    changed(change);
  };

  const ownAdmits = (seat: EndpointStatus, { tenant }: RequestKey, nowMs: number): 'yes' | 'trial' | 'no' =>
    seat.serves ? 'yes' : outliers.admits(seat.url, tenant, nowMs);

  const tellModel = (
    seat: EndpointStatus,
    { model, tenant }: RequestKey,
    ending: AttemptResult,
    nowMs: number,
  ): void => {
    if (model === undefined) return;
    const sign = modelSignOf(ending);
    const key = { endpoint: seat.url, model };
    if (breaker.isCalm() && (sign === undefined || sign === 'success')) {
      breaker.observed(key, tenant, sign, nowMs);
      return;
    }
    const wasClosed = breaker.stateOf(key, nowMs) === 'closed';
    breaker.observed(key, tenant, sign, nowMs);
    const isClosed = breaker.stateOf(key, nowMs) === 'closed';
    if (wasClosed !== isClosed) changed({ kind: 'model', url: seat.url, model, open: !isClosed });
  };

  return {
    reconfigure(urls, rampMs) {
      slowStart = { ...DEFAULT_SLOW_START, rampMs };
      const before = seats;
      seats = new Map(
        urls.map((url) => [
          url,
          before.get(url) ?? {
            url,
            serves: false,
            ejected: false,
            healthy: false,
            wasHealthy: false,
            returnedMs: undefined,
            offeredMs: undefined,
          },
        ]),
      );
      for (const [url, seat] of before) {
        if (seats.has(url)) continue;
        seat.serves = false;
        breaker.forget(url);
      }
      outliers.reconfigure(urls, DEFAULT_OUTLIER);
      refresh();
    },
    statusOf(url) {
      const seat = seats.get(url);
      if (seat === undefined) throw new Error(`${url} is no endpoint of the pool`);
      return seat;
    },
    setHealthy(url, healthy, nowMs) {
      const seat = seats.get(url);
      if (seat === undefined || seat.healthy === healthy) return;
      seat.healthy = healthy;
      outliers.setHealthy(url, healthy);
      if (!healthy) breaker.forget(url);
      else if (seat.wasHealthy) comesBack(seat, nowMs);
      seat.wasHealthy ||= healthy;
      refresh();
    },
    loaded(url) {
      const seat = seats.get(url);
      if (seat === undefined) return;
      outliers.forgive(url);
      seat.ejected = false;
      refresh();
    },
    admits(seat, rider, nowMs) {
      if (ejected === 0 && breaker.isCalm()) return 'yes';
      const own = ownAdmits(seat, rider, nowMs);
      if (own === 'no' || rider.model === undefined || breaker.isCalm()) return own;
      const { kind } = breaker.permits({ endpoint: seat.url, model: rider.model }, rider.tenant, nowMs);
      if (kind === 'refuse') return 'no';
      return kind === 'trial' ? 'trial' : own;
    },
    mayTry(seat, quiet, nowMs) {
      const own = ownOf(seat);
      if (!quiet || own === undefined) return true;
      own.offeredMs ??= nowMs;
      return nowMs - own.offeredMs >= QUIET_PATIENCE_MS;
    },
    retryMs(seat, rider, nowMs) {
      if (ownAdmits(seat, rider, nowMs) === 'no') return EJECTED_RETRY_MS;
      if (rider.model === undefined) return undefined;
      const permission = breaker.permits({ endpoint: seat.url, model: rider.model }, rider.tenant, nowMs);
      return permission.kind === 'refuse' ? permission.retryMs : undefined;
    },
    began(seat, { model, tenant }, nowMs) {
      if (ejected === 0 && breaker.isCalm()) return;
      const own = ownOf(seat);
      if (own !== undefined) own.offeredMs = undefined;
      if (!seat.serves) outliers.began(seat.url, tenant, nowMs);
      if (model === undefined) return;
      const key = { endpoint: seat.url, model };
      breaker.began(key, tenant, breaker.permits(key, tenant, nowMs), nowMs);
    },
    ended(seat, rider, ending, nowMs) {
      if (!seats.has(seat.url)) return;
      const sign = endpointSignOf(ending);
      tellModel(seat, rider, ending, nowMs);
      const change = outliers.observed(seat.url, sign, rider.tenant, nowMs);
      if (change !== undefined) apply(change, nowMs);
      if (sign !== undefined && sign !== 'success') suspect(seat.url);
    },
    ramped(seat, window, nowMs) {
      const own = ownOf(seat);
      if (own?.returnedMs === undefined) return window;
      if (isAlone(own)) own.returnedMs = undefined;
      const weight = slowStartWeight(own.returnedMs, slowStart, nowMs);
      if (weight >= 1) own.returnedMs = undefined;
      return rampedLimit(window, weight);
    },
    admitsEverything: () => ejected === 0 && breaker.isCalm(),
    broken(url, nowMs) {
      if (breaker.isCalm()) return [];
      return breaker
        .open(nowMs)
        .filter(({ endpoint }) => endpoint === url)
        .map(({ model }) => model);
    },
  };
}
