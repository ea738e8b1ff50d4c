/**
 * Several limits that a request is within at once: of its tenant, of its key, and of its model. They are asked in turn, the narrowest
 * first, so that what a narrow one refuses never was taken from a wider one.
 *
 * Invariants: all grant it, or nothing is taken: what the others granted is given back. What is reserved is settled in each.
 */
import type { LimitScope } from '../domain/limit-scope.ts';
import type { BucketView } from './bucket.ts';
import type {
  BudgetView,
  RequestLimits,
  ReservationResult,
  TakeRequest,
  WouldReserve,
} from './request-limits.ts';
import type { Reservation } from './reservation.ts';

export interface LimitPart {
  readonly limits: RequestLimits;
  /** Undefined: the tenant's own. */
  readonly scope: LimitScope | undefined;
}

const TAKEN: TakeRequest = { kind: 'taken' };

/** What each of several limits has reserved for one request. */
class ChainReservation implements Reservation {
  readonly tokens: number;
  private readonly parts: readonly Reservation[];

  constructor(tokens: number, parts: readonly Reservation[]) {
    this.tokens = tokens;
    this.parts = parts;
  }

  charge(...used: Parameters<Reservation['charge']>): void {
    for (const part of this.parts) part.charge(...used);
  }

  settle(...used: Parameters<Reservation['settle']>): void {
    for (const part of this.parts) part.settle(...used);
  }
}

export class LimitChain implements RequestLimits {
  /** The tenant's own, which knows the others. */
  private readonly own: RequestLimits;
  /** The narrowest first. */
  private readonly parts: readonly LimitPart[];

  /** @param narrow limits within the tenant's own, the narrowest first. */
  constructor(own: RequestLimits, narrow: readonly LimitPart[]) {
    this.own = own;
    this.parts = [...narrow, { limits: own, scope: undefined }];
  }

  /** One limit by itself, whose refusals name it. */
  static alone(part: LimitPart): LimitChain {
    const chain = new LimitChain(part.limits, []);
    return Object.assign(chain, { parts: [part] });
  }

  takeRequest(nowMs: number): TakeRequest | Promise<TakeRequest> {
    return this.takeFrom(0, nowMs);
  }

  returnRequest(nowMs: number): void {
    for (const { limits } of this.parts) limits.returnRequest(nowMs);
  }

  reserveTokens(
    ...asked: Parameters<RequestLimits['reserveTokens']>
  ): ReturnType<RequestLimits['reserveTokens']> {
    // What waiting cannot mend is told first, whoever says it.
    for (const { limits, scope } of this.parts) {
      const would = limits.wouldReserve(...asked);
      if (would.kind === 'never') return named(would, scope);
    }
    return this.reserveFrom([], asked);
  }

  requests(nowMs: number): BucketView | undefined {
    return this.tightest((limits) => limits.requests(nowMs));
  }

  tokens(nowMs: number): BucketView | undefined {
    return this.tightest((limits) => limits.tokens(nowMs));
  }

  month(nowMs: number): BucketView | undefined {
    return this.tightest((limits) => limits.month(nowMs));
  }

  budget(nowMs: number): BudgetView | undefined {
    // One that only warns keeps nobody from going on.
    const hard = this.tightest((limits) => {
      const view = limits.budget(nowMs);
      return view?.isSoft === true ? undefined : view;
    });
    return hard ?? this.tightest((limits) => limits.budget(nowMs));
  }

  wouldTakeRequest(nowMs: number): TakeRequest {
    for (const { limits, scope } of this.parts) {
      const would = limits.wouldTakeRequest(nowMs);
      if (would.kind !== 'taken') return named(would, scope);
    }
    return TAKEN;
  }

  wouldReserve(...asked: Parameters<RequestLimits['wouldReserve']>): WouldReserve {
    let first: WouldReserve = { kind: 'fits' };
    for (const { limits, scope } of this.parts) {
      const would = limits.wouldReserve(...asked);
      if (would.kind === 'never') return named(would, scope);
      if (would.kind !== 'fits' && first.kind === 'fits') first = named(would, scope);
    }
    return first;
  }

  within(keyId: string | undefined, model: string | undefined): RequestLimits {
    return this.own.within(keyId, model);
  }

  ofModel(model: string): RequestLimits | undefined {
    return this.own.ofModel(model);
  }

  /** @param first of those that are still to be asked. */
  private takeFrom(first: number, nowMs: number): TakeRequest | Promise<TakeRequest> {
    for (let i = first; i < this.parts.length; i += 1) {
      const taken = this.parts[i]?.limits.takeRequest(nowMs) ?? TAKEN;
      if (taken instanceof Promise) {
        return taken.then((late) =>
          late.kind === 'taken' ? this.takeFrom(i + 1, nowMs) : this.refused(i, late, nowMs),
        );
      }
      if (taken.kind !== 'taken') return this.refused(i, taken, nowMs);
    }
    return TAKEN;
  }

  private refused(at: number, refusal: Exclude<TakeRequest, { kind: 'taken' }>, nowMs: number): TakeRequest {
    for (let i = 0; i < at; i += 1) this.parts[i]?.limits.returnRequest(nowMs);
    return named(refusal, this.parts[at]?.scope);
  }

  /** @param reserved by those that were asked. */
  private reserveFrom(
    reserved: readonly Reservation[],
    asked: Parameters<RequestLimits['reserveTokens']>,
  ): ReservationResult | Promise<ReservationResult> {
    const part = this.parts[reserved.length];
    if (part === undefined)
      return { kind: 'reserved', reservation: new ChainReservation(asked[0], reserved) };
    const result = part.limits.reserveTokens(...asked);
    const next = (known: ReservationResult): ReservationResult | Promise<ReservationResult> => {
      if (known.kind === 'reserved') return this.reserveFrom([...reserved, known.reservation], asked);
      new ChainReservation(0, reserved).settle(0, asked[1]);
      return named(known, part.scope);
    };
    return result instanceof Promise ? result.then(next) : next(result);
  }

  /** Of what each shows, the one with least left; of equals, the one that takes longest. */
  private tightest<V extends BucketView>(viewOf: (limits: RequestLimits) => V | undefined): V | undefined {
    let tightest: V | undefined;
    for (const { limits } of this.parts) {
      const view = viewOf(limits);
      if (view !== undefined && (tightest === undefined || isTighter(view, tightest))) tightest = view;
    }
    return tightest;
  }
}

const isTighter = (one: BucketView, other: BucketView): boolean =>
  one.remaining < other.remaining || (one.remaining === other.remaining && one.resetMs > other.resetMs);

/** With whose limit it was. */
const named = <T extends object>(refusal: T, scope: LimitScope | undefined): T =>
  scope === undefined ? refusal : { ...refusal, scope };
