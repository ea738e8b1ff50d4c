/**
 * A limit that finds its own size: limit = min(engine's room, SLO limit).
 *
 * The engine's room is found by its gauges (gauges.ts); while these are missing or not to be believed, by the times to first
 * token (vegas.ts). The SLO limit (slo.ts) binds only where a lane has limits on TTFT or ITL.
 *
 * Invariant: 1 ≤ limit ≤ most.
 */
import type { ConcurrencyLimit, Gauges, LimitSource } from './concurrency-limit.ts';
import { GaugeRule, plausibleGauges } from './gauges.ts';
import { LimitSearch } from './limit-search.ts';
import { SloLimit } from './slo.ts';
import { VegasRule } from './vegas.ts';

export interface AdaptiveLimitOptions {
  /** The first guess. */
  readonly initial: number;
  /** Never more. */
  readonly most: number;
}

/** Scrapes without a usable sample until the limit goes by the times instead. */
const MISSING_AFTER = 4;

class AdaptiveLimit implements ConcurrencyLimit {
  readonly #search: LimitSearch;
  readonly #gaugeRule: GaugeRule;
  readonly #vegas: VegasRule;
  readonly #slo = new SloLimit();

  /** A request found no room since the limit was looked at last. */
  #isSaturated = false;
  #inFlight = 0;
  #goesByGauges = false;
  /** Scrapes in a row without a usable sample. */
  #unusable = 0;

  constructor({ initial, most }: AdaptiveLimitOptions) {
    this.#search = new LimitSearch(initial, most);
    this.#gaugeRule = new GaugeRule(this.#search);
    this.#vegas = new VegasRule(this.#search);
  }

  limit(nowMs: number): number {
    return Math.max(1, Math.floor(Math.min(this.#search.size(), this.#slo.limit(nowMs))));
  }

  source(): LimitSource {
    return this.#goesByGauges ? 'gauges' : 'ttft';
  }

  isProbing(): boolean {
    return this.#search.isProbing();
  }

  isEager(): boolean {
    return this.#gaugeRule.isWaiting() || this.#search.isProbing();
  }

  isUnconfirmed(): boolean {
    return this.#search.isUnconfirmed();
  }

  saturated(): void {
    this.#isSaturated = true;
  }

  gauges(reported: Gauges | 'unusable', inFlight: number, nowMs: number, certain = inFlight): void {
    const sample = plausibleGauges(reported);
    const before = this.#inFlight;
    this.#inFlight = inFlight;
    if (sample === 'unusable') {
      this.#unusable += 1;
      if (this.#unusable >= MISSING_AFTER) this.#goesByGauges = false;
      return;
    }
    this.#unusable = 0;
    this.#goesByGauges = this.#gaugeRule.judge(sample, inFlight, before);
    if (!this.#goesByGauges) return;
    const areLate = this.#vegas.areLate(nowMs);
    this.#gaugeRule.apply({ sample, inFlight, certain, isSaturated: this.#isSaturated, areLate }, nowMs);
    this.#isSaturated = false;
  }

  firstToken(ttftMs: number, promptTokens: number, inFlight: number, nowMs: number): void {
    const excessMs = this.#vegas.firstToken(ttftMs, promptTokens, nowMs);
    if (excessMs === undefined || this.#goesByGauges) return;
    this.#inFlight = Math.max(this.#inFlight, inFlight);
    if (this.#vegas.apply(excessMs, this.#inFlight, this.#isSaturated, nowMs)) this.#isSaturated = false;
  }

  interToken(meanMs: number): void {
    this.#vegas.interToken(meanMs);
  }

  slo(ratio: number, nowMs: number): void {
    const current = Math.min(this.#search.size(), this.#slo.limit(nowMs));
    this.#slo.add(ratio, current, this.#isSaturated, nowMs);
  }

  atMost(sequences: number | undefined): void {
    this.#search.atMost(sequences);
  }
}

export const adaptiveLimit = (options: AdaptiveLimitOptions): ConcurrencyLimit => new AdaptiveLimit(options);
