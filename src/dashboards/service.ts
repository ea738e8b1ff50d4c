/** The service itself. */
import { type Dashboard, figure, lines } from './panel.ts';
import { maxBy, rateOf, sumBy } from './promql.ts';

export const SERVICE: Dashboard = {
  uid: 'fairlane-service',
  title: 'Fairlane / Service',
  description: 'CPU, memory and event loop of Fairlane, its configuration, Redis, ledger and webhooks.',
  variables: {},
  rows: [
    {
      title: 'At a glance',
      panels: [
        figure('Replicas', 'short', 'That Prometheus reaches.', 'count(fairlane_build_info)'),
        figure('Streams', 'short', 'Requests that Envoy has open here.', 'sum(fairlane_ext_proc_streams)'),
        figure(
          'Configuration in use for',
          's',
          'Of the replica that took one over last.',
          'time() - max(fairlane_config_last_reload_success_timestamp_seconds)',
        ),
        figure(
          'Bugs',
          'short',
          'Streams of the last hour that ended by a fault of the service. Please report each.',
          'sum(increase(fairlane_stream_errors_total[1h]))',
        ),
      ],
    },
    {
      title: 'Process',
      panels: [
        lines('CPU', 'percentunit', 'Of one core. Near 1: add a replica.', [
          { expr: maxBy('instance', rateOf('fairlane_process_cpu_seconds_total')), legend: '{{instance}}' },
        ]),
        lines('Event loop delay', 's', 'How late the loop is. Above 20 ms each token is late by it.', [
          {
            expr: maxBy('instance, stat', 'fairlane_event_loop_delay_seconds'),
            legend: '{{instance}} {{stat}}',
          },
        ]),
        lines('Memory', 'bytes', 'Resident, and of JavaScript’s heap.', [
          {
            expr: maxBy('instance', 'fairlane_process_resident_memory_bytes'),
            legend: '{{instance}} resident',
          },
          { expr: maxBy('instance', 'fairlane_nodejs_heap_size_used_bytes'), legend: '{{instance}} heap' },
        ]),
        lines(
          'Reloads',
          'short',
          'Of the configuration in the last five minutes, by result. Refused: the log says why.',
          [{ expr: sumBy('result', 'increase(fairlane_config_reloads_total[5m])'), legend: '{{result}}' }],
        ),
      ],
    },
    {
      title: 'Redis',
      panels: [
        lines(
          'Connected',
          'short',
          'Replicas that Redis answers. Others decide alone, with a part of each limit.',
          [{ expr: 'sum(fairlane_redis_connected)', legend: 'connected' }],
        ),
        lines('Commands', 'ops', 'A second.', [
          { expr: sumBy('instance', rateOf('fairlane_redis_commands_total')), legend: '{{instance}}' },
        ]),
        lines('Leased tokens', 'short', 'What may be granted too much if a replica died now.', [
          { expr: sumBy('instance', 'fairlane_redis_leased_tokens'), legend: '{{instance}}' },
        ]),
        lines('Shared capacity', 'short', 'What replicas divide among them, and what each holds.', [
          { expr: maxBy('kind', 'fairlane_shared_capacity'), legend: '{{kind}}' },
          {
            expr: sumBy('instance, kind', 'fairlane_shared_capacity_held'),
            legend: '{{instance}} {{kind}} held',
          },
        ]),
      ],
    },
    {
      title: 'Ledger and webhooks',
      panels: [
        lines('Ledger lag', 's', 'How long the oldest record has waited for the database.', [
          { expr: maxBy('instance', 'fairlane_ledger_lag_seconds'), legend: '{{instance}}' },
        ]),
        lines('Ledger rows', 'si:rows/s', 'Written a second.', [
          { expr: sumBy('instance', rateOf('fairlane_ledger_rows_total')), legend: '{{instance}}' },
        ]),
        lines('Records that wait', 'short', 'For the ledger, on the disk of the replica.', [
          { expr: sumBy('instance', 'fairlane_ledger_spooled'), legend: '{{instance}}' },
        ]),
        lines('Webhook events', 'short', 'In the last five minutes, by host and outcome.', [
          {
            expr: sumBy('host, outcome', 'increase(fairlane_webhook_events_total[5m])'),
            legend: '{{host}} {{outcome}}',
          },
        ]),
        lines('Events that wait', 'short', 'By the host of the webhook. Many: it does not answer.', [
          { expr: sumBy('host', 'fairlane_webhook_queued'), legend: '{{host}}' },
        ]),
        lines(
          'Warnings of budgets',
          'short',
          'Given since the replicas started, by limit and per cent of it.',
          [
            {
              expr: sumBy('tenant, limit, percent', 'fairlane_budget_alerts_total'),
              legend: '{{tenant}} {{limit}} {{percent}} %',
            },
          ],
        ),
      ],
    },
  ],
};
