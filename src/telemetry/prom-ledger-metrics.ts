/** Metrics of the ledger: what it has, what waits for it, and what it will never have. */
import type { Registry } from 'prom-client';
import { rowCounter, rowGauge } from './prom-row-gauge.ts';

export interface LedgerFigures {
  /** Since the start. */
  readonly rows: number;
  readonly lost: Readonly<Record<string, number>>;
  readonly spooled: number;
  readonly lagMs: number;
}

const MS_PER_SECOND = 1_000;

/** Registers them: there is a ledger. */
export function ledgerMetrics(registry: Registry, figures: () => LedgerFigures): void {
  const gauge = (name: string, help: string, value: (now: LedgerFigures) => number): void =>
    rowGauge(registry, { name, help, labels: [], rows: () => [[{}, value(figures())]] });
  rowCounter(registry, {
    name: 'fairlane_ledger_rows_total',
    help: 'Records that this process has put into the ledger.',
    labels: [],
    rows: () => [[{}, figures().rows]],
  });
  rowCounter(registry, {
    name: 'fairlane_ledger_lost_total',
    help: 'Records that will be in no ledger. reason is spool-full (`ledger.maxSpool`), spool-failed (neither the disk nor the database took them) or torn (cut by a crash).',
    labels: ['reason'],
    *rows() {
      for (const [reason, records] of Object.entries(figures().lost)) yield [{ reason }, records];
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
}
