/** The requests of one arm of the lab while they are answered, and the record of what became of them. */
import type { Request, TenantLoad } from './load.ts';
import { createQuantiles, type Quantiles, type RequestOutcome } from './outcome.ts';

/** Told of a request's tokens when its client sees them. */
export interface TokenObserver {
  onToken(one: VirtualRequest, last: boolean, cachedTokens: number, nowMs: number): void;
}

/** One request of the lab. Its times are the client's; `tokens` counts what the engine has made. */
export class VirtualRequest {
  readonly request: Request;
  readonly load: TenantLoad;
  /** Set by who sends it to the engine. */
  observer: TokenObserver | undefined;
  releasedMs: number | undefined;
  firstTokenMs: number | undefined;
  lastTokenMs = 0;
  tokens = 0;
  /** Its part of the engine's busy time, as Fairlane thinks; undefined: nobody asks. */
  gpuSeconds: number | undefined;

  constructor(request: Request, load: TenantLoad) {
    this.request = request;
    this.load = load;
  }
}

/** What an arm is measured by: the outcome of each request, and the times between tokens by tenant. */
export class ArmRecord {
  readonly outcomes: RequestOutcome[] = [];
  readonly itl: ReadonlyMap<string, Quantiles>;
  readonly refusedWhileIdle = { beyondReserve: 0, any: 0 };

  constructor(tenants: readonly TenantLoad[]) {
    this.itl = new Map(tenants.map(({ name }) => [name, createQuantiles()]));
  }

  /** Records that the client saw a token. */
  token(one: VirtualRequest, nowMs: number): void {
    if (one.firstTokenMs === undefined) one.firstTokenMs = nowMs;
    else this.itl.get(one.load.name)?.add(nowMs - one.lastTokenMs);
    one.lastTokenMs = nowMs;
  }

  end(one: VirtualRequest, outcome: RequestOutcome['outcome'], endedMs: number): void {
    const { id, tenant, atMs, promptTokens } = one.request;
    this.outcomes.push({
      id,
      tenant,
      atMs,
      outcome,
      promptTokens,
      outputTokens: one.tokens,
      endedMs,
      ...(one.gpuSeconds !== undefined && { gpuSeconds: one.gpuSeconds }),
      ...(one.releasedMs !== undefined && { releasedMs: one.releasedMs }),
      ...(one.firstTokenMs !== undefined && { firstTokenMs: one.firstTokenMs }),
      ...(one.firstTokenMs !== undefined &&
        one.tokens > 1 && { itlMs: (one.lastTokenMs - one.firstTokenMs) / (one.tokens - 1) }),
    });
  }
}
