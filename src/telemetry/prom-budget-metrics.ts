/** Metrics of months and of receivers of events: how much tenants have used, when was warned, and what was sent. */
import { Counter, type Registry } from 'prom-client';
import { knownCounter, rowGauge } from './prom-row-gauge.ts';

export interface BudgetSource {
  /** What configured tenants have used of their months, as far as this replica knows: 1 is all. */
  monthRatios(): Iterable<{
    readonly tenant: string;
    readonly limit: 'budget' | 'tokens';
    readonly ratio: number;
  }>;
  /** Events that wait, by receiver. */
  webhooks(): Iterable<{ readonly host: string; readonly queued: number }>;
}

/** `failed`: a try, which is made again. `dropped`: an event, for ever. */
export type WebhookOutcome = (typeof OUTCOMES)[number];
const OUTCOMES = ['delivered', 'failed', 'dropped'] as const;

export interface BudgetMetrics {
  /** What it names of keys and models makes no label: there may be many. */
  alert(event: {
    readonly tenant: string;
    readonly limit: string;
    readonly percent: number;
    readonly keyId?: string;
    readonly model?: string;
  }): void;
  webhook(host: string, outcome: WebhookOutcome, events: number): void;
  watch(source: BudgetSource): void;
}

export function budgetMetrics(registry: Registry): BudgetMetrics {
  let source: BudgetSource | undefined;
  const alerts = new Counter({
    name: 'fairlane_budget_alerts_total',
    help: 'Warnings of `budgetAlerts` that this replica gave, by tenant, whose limit it is (of: tenant, key or model), limit (budget or tokens, of a month) and per cent.',
    labelNames: ['tenant', 'of', 'limit', 'percent'],
    registers: [registry],
  });
  const webhooks = knownCounter(registry, {
    name: 'fairlane_webhook_events_total',
    help: 'Events for `webhooks` by host and outcome: delivered, failed (a try, which is made again) or dropped (too many wait, or a day was not enough).',
    labels: ['host', 'outcome'],
    *known() {
      for (const { host } of source?.webhooks() ?? [])
        for (const outcome of OUTCOMES) yield { host, outcome };
    },
  });
  const ratio = (name: string, help: string, limit: 'budget' | 'tokens'): void =>
    rowGauge(registry, {
      name,
      help,
      labels: ['tenant'],
      *rows() {
        for (const row of source?.monthRatios() ?? []) {
          if (row.limit === limit) yield [{ tenant: row.tenant }, row.ratio];
        }
      },
    });
  const helpOf = (limit: string): string =>
    `Used of \`${limit}\` by a configured tenant in this month, of all replicas: 1 is all. As this replica saw it last: take the largest over replicas.`;
  ratio('fairlane_budget_used_ratio', helpOf('budgetPerMonth'), 'budget');
  ratio('fairlane_tokens_per_month_used_ratio', helpOf('tokensPerMonth'), 'tokens');
  rowGauge(registry, {
    name: 'fairlane_webhook_queued',
    help: 'Events that wait to be sent to a receiver of `webhooks`, or are under way.',
    labels: ['host'],
    *rows() {
      const queued = new Map<string, number>();
      for (const one of source?.webhooks() ?? []) {
        queued.set(one.host, (queued.get(one.host) ?? 0) + one.queued);
      }
      for (const [host, count] of queued) yield [{ host }, count];
    },
  });
  return {
    alert({ tenant, keyId, model, limit, percent }) {
      const of = keyId === undefined ? (model === undefined ? 'tenant' : 'model') : 'key';
      alerts.inc({ tenant, of, limit, percent: String(percent) });
    },
    webhook: (host, outcome, events) => webhooks.inc({ host, outcome }, events),
    watch(next) {
      source = next;
    },
  };
}
