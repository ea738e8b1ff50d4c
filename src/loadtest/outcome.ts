/** What became of the requests of one arm, and the figures that are made of it. */

export interface RequestOutcome {
  readonly id?: string;
  readonly tenant: string;
  readonly atMs: number;
  readonly outcome: 'completed' | 'refused' | 'failed';
  /** When it left for the engine; absent where that cannot be seen. */
  readonly releasedMs?: number;
  readonly firstTokenMs?: number;
  readonly endedMs?: number;
  readonly promptTokens: number;
  /** That came. */
  readonly outputTokens: number;
  /** Mean inter-token time of two tokens or more. */
  readonly itlMs?: number;
  /** Its part of the engine's busy time, as Fairlane thinks; absent where nobody asks. */
  readonly gpuSeconds?: number;
}

/** What was seen of the engine. */
export interface EngineUse {
  /** Part of the time in which a step ran. */
  readonly busy: number;
  /** Mean part of its sequences in use while it was busy. */
  readonly batch: number;
  /** Part of the time in which work waited for it, here or in a queue before it. */
  readonly backlogged: number;
}

export interface ArmOutcome {
  readonly arm: string;
  readonly durationMs: number;
  readonly requests: readonly RequestOutcome[];
  /** Times between two tokens, in ms, by tenant. */
  readonly itl: ReadonlyMap<string, Quantiles>;
  /**
   * Prompt tokens computed and output tokens made until the end of the arrivals, that were not thrown away.
   */
  readonly usefulTokens: number;
  readonly engine?: EngineUse;
  /** Refusals while a slot was idle: one that the headroom did not hold, and any. */
  readonly refusedWhileIdle?: { readonly beyondReserve: number; readonly any: number };
  readonly notes: readonly string[];
}

/** Quantiles of many values in little memory: a histogram whose buckets grow by 1 %. */
export interface Quantiles {
  add(value: number): void;
  /** Within 1 % of the value; undefined without any. */
  at(q: number): number | undefined;
  count(): number;
}

const GROWTH = Math.log(1.01);
const LEAST = 0.001;

export function createQuantiles(): Quantiles {
  const buckets: number[] = [];
  let count = 0;
  return {
    add(value) {
      const at = value <= LEAST ? 0 : Math.ceil(Math.log(value / LEAST) / GROWTH);
      buckets[at] = (buckets[at] ?? 0) + 1;
      count += 1;
    },
    at(q) {
      if (count === 0) return undefined;
      let left = Math.max(1, Math.ceil(q * count));
      for (let i = 0; i < buckets.length; i += 1) {
        left -= buckets[i] ?? 0;
        if (left <= 0) return LEAST * Math.exp(GROWTH * i);
      }
      return undefined;
    },
    count: () => count,
  };
}

/** The q-quantile of a sample, nearest rank; undefined without any. */
export function quantileOf(values: readonly number[], q: number): number | undefined {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(q * sorted.length) - 1))];
}

/**
 * Jain's fairness index of shares: 1 when all are equal, 1/n when one has everything.
 * R. Jain, D. Chiu, W. Hawe, "A Quantitative Measure of Fairness", DEC TR-301, 1984.
 */
export function jainIndex(shares: readonly number[]): number | undefined {
  const sum = shares.reduce((a, b) => a + b, 0);
  const squares = shares.reduce((a, b) => a + b * b, 0);
  return squares === 0 ? undefined : (sum * sum) / (shares.length * squares);
}

export interface Latency {
  readonly p50: number | undefined;
  readonly p90: number | undefined;
  readonly p99: number | undefined;
}

export interface TenantFigures {
  readonly tenant: string;
  readonly requests: number;
  readonly completed: number;
  readonly refused: number;
  readonly failed: number;
  /** From arrival to first token, in ms. */
  readonly ttftMs: Latency;
  readonly itlMs: Latency;
  /** Output tokens a second of requests that ended within the arrivals' time. */
  readonly tokensPerSecond: number;
  /** Requests a second that kept the scenario's limits; absent without limits. */
  readonly goodputPerSecond?: number;
}

export interface ArmFigures {
  readonly arm: string;
  readonly tenants: readonly TenantFigures[];
  readonly usefulTokensPerSecond: number;
  readonly completedPerSecond: number;
  readonly goodputPerSecond?: number;
  readonly jain: number | undefined;
  readonly engine?: EngineUse;
  readonly refusals: number;
  readonly refusedWhileIdle?: ArmOutcome['refusedWhileIdle'];
  readonly notes: readonly string[];
}

export interface GoodputLimits {
  readonly ttftMs?: number;
  readonly itlMs?: number;
  /** What TTFT is counted from: `release` leaves out the queue, whose length under overload is the load's. */
  readonly from: 'arrival' | 'release';
}

const latencyOf = (at: (q: number) => number | undefined): Latency => ({
  p50: at(0.5),
  p90: at(0.9),
  p99: at(0.99),
});

export function keepsLimits(request: RequestOutcome, limits: GoodputLimits): boolean {
  if (request.outcome !== 'completed' || request.firstTokenMs === undefined) return false;
  const sinceMs = limits.from === 'release' ? (request.releasedMs ?? request.atMs) : request.atMs;
  if (limits.ttftMs !== undefined && request.firstTokenMs - sinceMs > limits.ttftMs) return false;
  return limits.itlMs === undefined || (request.itlMs ?? 0) <= limits.itlMs;
}

/** @param weights of the tenants, for Jain's index over weighted tokens ÷ weight. */
export function figuresOf(
  { arm, durationMs, requests, itl, usefulTokens, engine, refusedWhileIdle, notes }: ArmOutcome,
  weights: ReadonlyMap<string, number>,
  limits: GoodputLimits | undefined,
): ArmFigures {
  const seconds = durationMs / 1_000;
  const byTenant = new Map<string, RequestOutcome[]>();
  for (const request of requests) {
    const list = byTenant.get(request.tenant);
    if (list === undefined) byTenant.set(request.tenant, [request]);
    else list.push(request);
  }
  const ended = (request: RequestOutcome): boolean =>
    request.outcome === 'completed' && (request.endedMs ?? Number.POSITIVE_INFINITY) <= durationMs;
  const tenants = [...byTenant].map(([tenant, own]): TenantFigures => {
    const ttfts = own.flatMap(({ firstTokenMs, atMs }) =>
      firstTokenMs === undefined ? [] : [firstTokenMs - atMs],
    );
    const gaps = itl.get(tenant);
    const inTime = own.filter(ended);
    return {
      tenant,
      requests: own.length,
      completed: own.filter(({ outcome }) => outcome === 'completed').length,
      refused: own.filter(({ outcome }) => outcome === 'refused').length,
      failed: own.filter(({ outcome }) => outcome === 'failed').length,
      ttftMs: latencyOf((q) => quantileOf(ttfts, q)),
      itlMs: latencyOf((q) => gaps?.at(q)),
      tokensPerSecond: inTime.reduce((sum, { outputTokens }) => sum + outputTokens, 0) / seconds,
      ...(limits !== undefined && {
        goodputPerSecond: inTime.filter((request) => keepsLimits(request, limits)).length / seconds,
      }),
    };
  });
  const weighted = [...weights].map(([tenant, weight]) => {
    const own = (byTenant.get(tenant) ?? []).filter(ended);
    return (
      own.reduce((sum, { promptTokens, outputTokens }) => sum + promptTokens + 2 * outputTokens, 0) / weight
    );
  });
  return {
    arm,
    tenants,
    usefulTokensPerSecond: usefulTokens / seconds,
    completedPerSecond: requests.filter(ended).length / seconds,
    ...(limits !== undefined && {
      goodputPerSecond: tenants.reduce((sum, { goodputPerSecond }) => sum + (goodputPerSecond ?? 0), 0),
    }),
    jain: jainIndex(weighted),
    ...(engine !== undefined && { engine }),
    refusals: tenants.reduce((sum, { refused }) => sum + refused, 0),
    ...(refusedWhileIdle !== undefined && { refusedWhileIdle }),
    notes,
  };
}
