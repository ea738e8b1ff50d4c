/** Metrics of the ledger: what it has, what waits for it, and what it will never have. */
import { Counter, type Registry } from 'prom-client';
import { rowGauge } from './prom-row-gauge.ts';

export interface LedgerFigures {
  /** Since the start. */
  readonly rows: number;
  readonly lost: Readonly<Record<string, number>>;
  readonly spooled: number;
  readonly lagMs: number;
}

export interface LedgerMetrics {
  watch(figures: () => LedgerFigures): void;
}

const MS_PER_SECOND = 1_000;

export function ledgerMetrics(registry: Registry): LedgerMetrics {
  let figures: (() => LedgerFigures) | undefined;
  const gauge = (name: string, help: string, value: (now: LedgerFigures) => number): void =>
    rowGauge(registry, {
      name,
      help,
      labels: [],
      *rows() {
        const now = figures?.();
        if (now !== undefined) yield [{}, value(now)];
      },
    });
  new Counter({
    name: 'fairlane_ledger_rows_total',
    help: 'Records that this process has put into the ledger.',
    registers: [registry],
    collect() {
      this.reset();
      this.inc(figures?.().rows ?? 0);
    },
  });
  new Counter({
    name: 'fairlane_ledger_lost_total',
    help: 'Records that will be in no ledger. reason is spool-full (`ledger.maxSpool`), spool-failed (neither the disk nor the database took them) or torn (cut by a crash).',
    labelNames: ['reason'],
    registers: [registry],
    collect() {
      this.reset();
      for (const [reason, records] of Object.entries(figures?.().lost ?? {})) this.inc({ reason }, records);
    },
  });
  gauge(
    'fairlane_ledger_spooled',
    'Records that wait for the ledger’s database, on the disk of this replica.',
    ({ spooled }) => spooled,
  );
  gauge(
    'fairlane_ledger_lag_seconds',
    'How long the oldest record has waited for the ledger’s database; 0: none waits.',
    ({ lagMs }) => lagMs / MS_PER_SECOND,
  );
  return {
    watch(read) {
      figures = read;
    },
  };
}
