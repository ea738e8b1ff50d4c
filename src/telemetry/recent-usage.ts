/**
 * Rates and times to first token of the last moments, in all and by tenant, in rings of a fixed size. A request adds to numbers that
 * are there: nothing is allocated but for a tenant's first request, or first token, in a minute.
 *
 * - Rates: the last 10 whole seconds, a slot each. A request counts when it ends.
 * - Times to first token: the last minute, in seven slots of 10 s. Each has counts of durations from 1 ms to 10 minutes, a bucket for
 *   each factor of 2^(1/4): a percentile is read within 10 %.
 *
 * Memory is bounded: tenants without an end in the last minute are forgotten, and no more than `most` are kept apart; what others
 * beyond those do counts in the sum only.
 */

const SECOND_MS = 1_000;
/** Whole seconds that rates are of. */
const RATE_SECONDS = 10;
/** And the one that is not over. */
const SLOTS = RATE_SECONDS + 1;

const SPAN_MS = 10_000;
const SPANS = 7;
const PER_DOUBLING = 4;
/** Up to 2^20 ms. */
const BUCKETS = 20 * PER_DOUBLING;
const MOST_IN_BUCKET = 65_535;

const KEPT_MS = 60_000;
/** As many as there may be tenants. */
const MOST_TENANTS = 10_000;

export interface RecentRates {
  readonly requestsPerSecond: number;
  readonly refusalsPerSecond: number;
  readonly tokensPerSecond: number;
  /** Undefined: no stream with a token ended in the last minute. */
  readonly ttftP50Ms: number | undefined;
  readonly ttftP99Ms: number | undefined;
}

export const NO_RATES: RecentRates = {
  requestsPerSecond: 0,
  refusalsPerSecond: 0,
  tokensPerSecond: 0,
  ttftP50Ms: undefined,
  ttftP99Ms: undefined,
};

/** What ended. */
export interface EndedRequest {
  readonly outcome: string;
  readonly promptTokens: number;
  readonly completionTokens: number;
  readonly ttftMs?: number;
}

/** Empties the slots of a ring that are of an older round. `at`: the newest slot so far; gives the one of now. */
function turn(ring: Float64Array | Uint16Array, slots: number, at: number, now: number): number {
  if (now <= at) return at;
  const width = ring.length / slots;
  for (let slot = Math.max(at + 1, now - slots + 1); slot <= now; slot += 1) {
    const from = (slot % slots) * width;
    ring.fill(0, from, from + width);
  }
  return now;
}

const bucketOf = (ms: number): number =>
  ms <= 1 ? 0 : Math.min(BUCKETS - 1, Math.floor(Math.log2(ms) * PER_DOUBLING));

/** The middle of a bucket, on its scale. */
const msOf = (bucket: number): number => 2 ** ((bucket + 0.5) / PER_DOUBLING);

class Ttfts {
  private readonly counts = new Uint16Array(SPANS * BUCKETS);
  private span = 0;

  add(ms: number, nowMs: number): void {
    this.span = turn(this.counts, SPANS, this.span, Math.floor(nowMs / SPAN_MS));
    const at = (this.span % SPANS) * BUCKETS + bucketOf(ms);
    this.counts[at] = Math.min(MOST_IN_BUCKET, (this.counts[at] ?? 0) + 1);
  }

  percentiles(nowMs: number): Pick<RecentRates, 'ttftP50Ms' | 'ttftP99Ms'> {
    this.span = turn(this.counts, SPANS, this.span, Math.floor(nowMs / SPAN_MS));
    const sums = new Float64Array(BUCKETS);
    let all = 0;
    this.counts.forEach((count, i) => {
      sums[i % BUCKETS] = (sums[i % BUCKETS] ?? 0) + count;
      all += count;
    });
    const at = (part: number): number | undefined => {
      let below = 0;
      for (let bucket = 0; bucket < BUCKETS; bucket += 1) {
        below += sums[bucket] ?? 0;
        if (all > 0 && below >= part * all) return msOf(bucket);
      }
      return undefined;
    };
    return { ttftP50Ms: at(0.5), ttftP99Ms: at(0.99) };
  }
}

/** Of one tenant, or of all. */
class Recent {
  /** By second: requests, refusals, tokens. */
  private readonly seconds = new Float64Array(SLOTS * 3);
  private second = 0;
  private ttfts: Ttfts | undefined = undefined;
  lastMs = 0;

  ended({ outcome, promptTokens, completionTokens, ttftMs }: EndedRequest, nowMs: number): void {
    this.lastMs = nowMs;
    this.second = turn(this.seconds, SLOTS, this.second, Math.floor(nowMs / SECOND_MS));
    const at = (this.second % SLOTS) * 3;
    const { seconds } = this;
    seconds[at] = (seconds[at] ?? 0) + 1;
    if (outcome === 'refused') seconds[at + 1] = (seconds[at + 1] ?? 0) + 1;
    const tokens = promptTokens + completionTokens;
    if (tokens > 0 && Number.isFinite(tokens)) seconds[at + 2] = (seconds[at + 2] ?? 0) + tokens;
    if (ttftMs === undefined || !(ttftMs >= 0)) return;
    this.ttfts ??= new Ttfts();
    this.ttfts.add(ttftMs, nowMs);
  }

  rates(nowMs: number): RecentRates {
    this.second = turn(this.seconds, SLOTS, this.second, Math.floor(nowMs / SECOND_MS));
    const running = this.second % SLOTS;
    const mean = (offset: number): number => {
      let sum = 0;
      for (let slot = 0; slot < SLOTS; slot += 1) {
        if (slot !== running) sum += this.seconds[slot * 3 + offset] ?? 0;
      }
      return sum / RATE_SECONDS;
    };
    return {
      requestsPerSecond: mean(0),
      refusalsPerSecond: mean(1),
      tokensPerSecond: mean(2),
      ttftP50Ms: undefined,
      ttftP99Ms: undefined,
      ...this.ttfts?.percentiles(nowMs),
    };
  }
}

export class RecentUsage {
  readonly #most: number;
  readonly #all = new Recent();
  readonly #tenants = new Map<string, Recent>();
  #sweptMs = 0;

  /** @param most tenants that are kept apart. */
  constructor(most = MOST_TENANTS) {
    this.#most = most;
  }

  /** Tenants that are kept. */
  get size(): number {
    return this.#tenants.size;
  }

  /** @param nowMs monotonic milliseconds. */
  ended(tenant: string, request: EndedRequest, nowMs: number): void {
    this.#all.ended(request, nowMs);
    if (nowMs - this.#sweptMs >= KEPT_MS) this.#sweep(nowMs);
    let recent = this.#tenants.get(tenant);
    if (recent === undefined) {
      if (this.#tenants.size >= this.#most) return;
      recent = new Recent();
      this.#tenants.set(tenant, recent);
    }
    recent.ended(request, nowMs);
  }

  total(nowMs: number): RecentRates {
    return this.#all.rates(nowMs);
  }

  /** Tenants with an end in the last minute. `lastMs`: of the last one, by the same clock. */
  *rows(nowMs: number): Iterable<RecentRates & { readonly tenant: string; readonly lastMs: number }> {
    this.#sweep(nowMs);
    for (const [tenant, recent] of this.#tenants) {
      yield { tenant, lastMs: recent.lastMs, ...recent.rates(nowMs) };
    }
  }

  #sweep(nowMs: number): void {
    this.#sweptMs = nowMs;
    for (const [tenant, { lastMs }] of this.#tenants) {
      if (nowMs - lastMs >= KEPT_MS) this.#tenants.delete(tenant);
    }
  }
}
