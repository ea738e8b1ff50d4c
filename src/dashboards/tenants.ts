/** What each tenant used, what it cost, and what it was refused. */
import { type Dashboard, lines } from './panel.ts';
import { maxBy, quantile, rateOf, sumBy, TENANT, TENANT_MODEL } from './promql.ts';

export const TENANTS: Dashboard = {
  uid: 'fairlane-tenants',
  title: 'Fairlane / Tenants',
  description: 'Tokens, money, limits and refusals of each tenant.',
  variables: { tenant: 'fairlane_requests_total', model: 'fairlane_requests_total' },
  rows: [
    {
      title: 'Use',
      panels: [
        lines('Requests', 'reqps', 'That ended, by tenant and outcome.', [
          {
            expr: sumBy('tenant, outcome', rateOf('fairlane_requests_total', TENANT_MODEL)),
            legend: '{{tenant}} {{outcome}}',
          },
        ]),
        lines(
          'Answers by status',
          'reqps',
          'Class of the status that clients got; none: they left before.',
          [
            {
              expr: sumBy('status_class', rateOf('fairlane_responses_total', TENANT)),
              legend: '{{status_class}}',
            },
          ],
          { isStacked: true },
        ),
        lines('Tokens', 'si:tok/s', 'Tokens a second. Cached ones are a part of the prompt’s.', [
          {
            expr: sumBy('tenant, kind', rateOf('fairlane_tokens_total', TENANT_MODEL)),
            legend: '{{tenant}} {{kind}}',
          },
        ]),
        lines(
          'Estimated tokens',
          'percentunit',
          'Part of the tokens that no engine has counted. High: an engine leaves its usage out.',
          [
            {
              expr: `sum(${rateOf('fairlane_tokens_total', `source="estimate",${TENANT_MODEL}`)}) / sum(${rateOf('fairlane_tokens_total', TENANT_MODEL)})`,
              legend: 'estimated',
            },
          ],
          { max: 1 },
        ),
        lines('Request duration, 99th percentile', 's', 'From arrival to end, of every request.', [
          {
            expr: quantile(0.99, 'fairlane_request_duration_seconds', 'tenant', TENANT_MODEL),
            legend: '{{tenant}}',
          },
        ]),
        lines('Inter-token time, median', 's', 'Mean of each answer.', [
          { expr: quantile(0.5, 'fairlane_itl_seconds', 'tenant', TENANT_MODEL), legend: '{{tenant}}' },
        ]),
      ],
    },
    {
      title: 'Money and limits',
      panels: [
        lines(
          'Price',
          'none',
          'What was charged since the replicas started, in units of the currency. The ledger has the whole.',
          [
            {
              expr: sumBy('tenant, currency', `fairlane_price_total{${TENANT}}`),
              legend: '{{tenant}} {{currency}}',
            },
          ],
        ),
        lines(
          'Price and cost of an hour',
          'none',
          'In units of the currency: what is charged, and what the GPU-seconds cost, as it goes now.',
          [
            {
              expr: `${sumBy('currency', rateOf('fairlane_price_total', TENANT))} * 3600`,
              legend: 'price, {{currency}} an hour',
            },
            {
              expr: `${sumBy('currency', rateOf('fairlane_cost_total', TENANT))} * 3600`,
              legend: 'cost, {{currency}} an hour',
            },
          ],
        ),
        lines(
          'GPU-seconds a second',
          'none',
          'Each tenant’s part of the time in which endpoints were busy: 1 is an endpoint that is busy all the time.',
          [{ expr: sumBy('tenant', rateOf('fairlane_gpu_seconds_total', TENANT)), legend: '{{tenant}}' }],
          { isStacked: true },
        ),
        lines(
          'Budget used',
          'percentunit',
          'Of the month’s money. At 1 requests are refused, if the budget refuses.',
          [{ expr: maxBy('tenant', `fairlane_budget_used_ratio{${TENANT}}`), legend: '{{tenant}}' }],
        ),
        lines(
          'Limits used',
          'percentunit',
          'Part of a limit that is gone, of the replica that has least left.',
          [
            {
              expr: `1 - min by (tenant, limit) (fairlane_limit_left{${TENANT}} / fairlane_limit_capacity{${TENANT}})`,
              legend: '{{tenant}} {{limit}}',
            },
          ],
          { max: 1 },
        ),
        lines(
          'Refusals by reason',
          'reqps',
          'By the error code. Without a tenant: the key was wrong, and Envoy refused.',
          [
            {
              expr: sumBy('tenant, reason', rateOf('fairlane_refusals_total', 'tenant=~"$tenant|"')),
              legend: '{{tenant}} {{reason}}',
            },
          ],
        ),
        lines(
          'Requests that clients left',
          'reqps',
          'By when: upload, queued, before the first token, or while it streamed.',
          [
            {
              expr: sumBy('tenant, reason', rateOf('fairlane_aborts_total', TENANT_MODEL)),
              legend: '{{tenant}} {{reason}}',
            },
          ],
        ),
        lines('Tokens of the month used', 'percentunit', 'Of `tokensPerMonth`, of all replicas.', [
          { expr: maxBy('tenant', `fairlane_tokens_per_month_used_ratio{${TENANT}}`), legend: '{{tenant}}' },
        ]),
      ],
    },
  ],
};
