/** When to tell of odd usage: an engine may report nonsense in every answer. */
import type { OddUsage } from './believed-usage.ts';
import type { UsageRecord } from './usage-record.ts';

export interface OddUsageNotice {
  readonly pool: string;
  readonly endpoint: string;
  readonly reason: OddUsage;
  /** Answers with it since it was last told of, this one included. */
  readonly answers: number;
}

/** Between two notices of one endpoint and reason. */
const INTERVAL_MS = 60_000;
/** Endpoints times reasons that are remembered: addresses come and go. */
const MOST_KEPT = 1_024;

interface Kept {
  toldMs: number;
  untold: number;
}

export class OddUsageNotices {
  readonly #kept = new Map<string, Kept>();

  /** Counts an answer. @returns what is to be told of now. */
  of({ pool, endpoint, oddUsage = [] }: UsageRecord, nowMs: number): readonly OddUsageNotice[] {
    if (pool === undefined || endpoint === undefined) return [];
    return oddUsage.flatMap((reason) => {
      const answers = this.#due(`${reason} ${pool} ${endpoint}`, nowMs);
      return answers === 0 ? [] : [{ pool, endpoint, reason, answers }];
    });
  }

  /** Answers to tell of; 0: not now. */
  #due(key: string, nowMs: number): number {
    const kept = this.#kept.get(key);
    if (kept === undefined) {
      const [oldest] = this.#kept.keys();
      if (this.#kept.size >= MOST_KEPT && oldest !== undefined) this.#kept.delete(oldest);
      this.#kept.set(key, { toldMs: nowMs, untold: 0 });
      return 1;
    }
    kept.untold += 1;
    if (nowMs - kept.toldMs < INTERVAL_MS) return 0;
    const answers = kept.untold;
    kept.toldMs = nowMs;
    kept.untold = 0;
    return answers;
  }
}
