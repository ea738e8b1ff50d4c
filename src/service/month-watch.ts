/** Watches what tenants have used of their months, and ends raises of their limits when their time is over. */
import type { Limits } from '../config/config.ts';
import type { LimitStore } from '../limit/store.ts';
import type { ServiceEvent } from '../telemetry/telemetry.ts';
import type { TenantDirectory } from '../tenant/directory.ts';
import { MonthAlerts } from '../tenant/month-alerts.ts';
import { withThoseOfParts } from '../tenant/raises.ts';

export interface MonthWatchOptions {
  readonly tenants: TenantDirectory;
  /** Where the levels of the tenants' buckets are. */
  readonly store: LimitStore;
  readonly tell: (event: ServiceEvent) => void;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  readonly unixMs: () => number;
}

/** How late a warning comes, at most. */
const ROUND_MS = 1_000;
/** Timers of more than 24 days fire at once, and clocks are set: the end is looked at again so often. */
const LONGEST_TIMER_MS = 3_600_000;
const MOST_NAMED = 10;

export class MonthWatch {
  readonly alerts: MonthAlerts;
  readonly #options: MonthWatchOptions;
  readonly #rounds: NodeJS.Timeout;
  #isRunning = false;
  #raise: NodeJS.Timeout | undefined;
  /** Raises that were over then have been told. */
  #raisesToldMs: number;

  constructor(options: MonthWatchOptions) {
    this.#options = options;
    this.alerts = new MonthAlerts(options.store);
    this.#raisesToldMs = options.unixMs();
    this.#rounds = setInterval(() => void this.#round(), ROUND_MS);
    this.#rounds.unref();
    this.reconfigured();
  }

  /** The limits have changed. */
  reconfigured(): void {
    clearTimeout(this.#raise);
    const { tenants, unixMs } = this.#options;
    const endMs = tenants.nextRaiseEndMs();
    if (endMs === undefined) return;
    const waitMs = Math.min(LONGEST_TIMER_MS, Math.max(0, endMs - unixMs()));
    this.#raise = setTimeout(() => this.#endRaises(), waitMs);
    this.#raise.unref();
  }

  /** What configured tenants have used of their months: 1 is all. */
  *ratios(): Iterable<{
    readonly tenant: string;
    readonly limit: 'budget' | 'tokens';
    readonly ratio: number;
  }> {
    for (const { config, limits } of this.#options.tenants.all()) {
      for (const { used, limit, currency } of limits.monthUses()) {
        yield {
          tenant: config.name,
          limit: currency === undefined ? 'tokens' : 'budget',
          ratio: used / limit,
        };
      }
    }
  }

  close(): void {
    clearInterval(this.#rounds);
    clearTimeout(this.#raise);
  }

  async #round(): Promise<void> {
    if (this.#isRunning) return;
    this.#isRunning = true;
    try {
      const { tenants, now, unixMs, tell } = this.#options;
      for (const alert of await this.alerts.round(tenants.everybody(), now(), unixMs())) {
        tell({ kind: 'budget-alert', ...alert });
      }
    } finally {
      this.#isRunning = false;
    }
  }

  #endRaises(): void {
    const { tenants, unixMs, tell } = this.#options;
    const [afterMs, nowMs] = [this.#raisesToldMs, unixMs()];
    const hasEnded = ({ raises = [] }: Limits): boolean =>
      raises.some(({ untilMs }) => untilMs > afterMs && untilMs <= nowMs);
    const ended = [...tenants.all()].filter(({ config }) =>
      [...withThoseOfParts(config.limits)].some(hasEnded),
    );
    this.#raisesToldMs = Math.max(afterMs, nowMs);
    tenants.applyRaises();
    if (ended.length > 0) {
      const names = ended.slice(0, MOST_NAMED).map(({ config }) => config.name);
      tell({ kind: 'limit-raise-ended', tenants: names, count: ended.length });
    }
    this.reconfigured();
  }
}
