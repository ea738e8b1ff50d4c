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

const bucketOf = (ms: number): number =>
  ms <= 1 ? 0 : Math.min(BUCKETS - 1, Math.floor(Math.log2(ms) * PER_DOUBLING));

/** The middle of a bucket, on its scale. */
const msOf = (bucket: number): number => 2 ** ((bucket + 0.5) / PER_DOUBLING);

class Ttfts {
  private readonly counts = new Uint16Array(SPANS * BUCKETS);
  /** Of all spans, by bucket. */
  private readonly sums = new Uint32Array(BUCKETS);
  private all = 0;
  private span = 0;

  add(ms: number, nowMs: number): void {
    this.turn(nowMs);
    const bucket = bucketOf(ms);
    const at = (this.span % SPANS) * BUCKETS + bucket;
    const count = this.counts[at] ?? 0;
    if (count >= MOST_IN_BUCKET) return;
    this.counts[at] = count + 1;
    this.sums[bucket] = (this.sums[bucket] ?? 0) + 1;
    this.all += 1;
  }

  /** In milliseconds; undefined: there is none. @param part of the times that are not longer, 0 to 1. */
  percentile(part: number, nowMs: number): number | undefined {
    this.turn(nowMs);
    if (this.all === 0) return undefined;
    // The longest are at the end, and most often asked for.
    let left = this.all - Math.ceil(part * this.all);
    for (let bucket = BUCKETS - 1; bucket > 0; bucket -= 1) {
      left -= this.sums[bucket] ?? 0;
      if (left < 0) return msOf(bucket);
    }
    return msOf(0);
  }

  /** Empties the spans that are over. */
  private turn(nowMs: number): void {
    const now = Math.floor(nowMs / SPAN_MS);
    if (now <= this.span) return;
    if (this.all > 0) {
      for (let span = Math.max(this.span + 1, now - SPANS + 1); span <= now; span += 1)
        this.clear(span % SPANS);
    }
    this.span = now;
  }

  private clear(slot: number): void {
    const from = slot * BUCKETS;
    for (let bucket = 0; bucket < BUCKETS; bucket += 1) {
      const count = this.counts[from + bucket] ?? 0;
      if (count === 0) continue;
      this.counts[from + bucket] = 0;
      this.sums[bucket] = (this.sums[bucket] ?? 0) - count;
      this.all -= count;
    }
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
    this.turn(nowMs);
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
    this.turn(nowMs);
    const { seconds, ttfts } = this;
    const running = this.second % SLOTS;
    let [requests, refusals, tokens] = [0, 0, 0];
    for (let slot = 0; slot < SLOTS; slot += 1) {
      if (slot === running) continue;
      requests += seconds[slot * 3] ?? 0;
      refusals += seconds[slot * 3 + 1] ?? 0;
      tokens += seconds[slot * 3 + 2] ?? 0;
    }
    return {
      requestsPerSecond: requests / RATE_SECONDS,
      refusalsPerSecond: refusals / RATE_SECONDS,
      tokensPerSecond: tokens / RATE_SECONDS,
      ttftP50Ms: ttfts?.percentile(0.5, nowMs),
      ttftP99Ms: ttfts?.percentile(0.99, nowMs),
    };
  }

  /** Empties the seconds that are over. */
  private turn(nowMs: number): void {
    const now = Math.floor(nowMs / SECOND_MS);
    for (let second = Math.max(this.second + 1, now - SLOTS + 1); second <= now; second += 1) {
      const at = (second % SLOTS) * 3;
      this.seconds.fill(0, at, at + 3);
    }
    if (now > this.second) this.second = now;
  }
}

/** What a tenant did. */
export interface RecentRow {
  readonly tenant: string;
  /** When its last request ended. */
  readonly lastMs: number;
  readonly rates: RecentRates;
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

  /** Tenants with an end in the last minute. */
  *rows(nowMs: number): Iterable<RecentRow> {
    this.#sweep(nowMs);
    for (const [tenant, recent] of this.#tenants) {
      yield { tenant, lastMs: recent.lastMs, rates: recent.rates(nowMs) };
    }
  }

  /** Their names alone. */
  names(nowMs: number): Iterable<string> {
    this.#sweep(nowMs);
    return this.#tenants.keys();
  }

  #sweep(nowMs: number): void {
    this.#sweptMs = nowMs;
    for (const [tenant, { lastMs }] of this.#tenants) {
      if (nowMs - lastMs >= KEPT_MS) this.#tenants.delete(tenant);
    }
  }
}
