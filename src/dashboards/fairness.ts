/** Who waits, and whether each gets its share. */
import { type Dashboard, figure, lines, THIRD } from './panel.ts';
import { maxBy, meanBy, POOL, quantile, rateOf, sumBy, TENANT, TENANT_MODEL } from './promql.ts';

const TTFT = 'fairlane_ttft_seconds';
const WAIT = 'fairlane_queue_wait_seconds';

export const FAIRNESS: Dashboard = {
  uid: 'fairlane-fairness',
  title: 'Fairlane / Fairness',
  description: 'Does a quiet tenant feel alone, and is the engine full? Who waits, and who gets how much.',
  variables: {
    tenant: 'fairlane_requests_total',
    model: 'fairlane_requests_total',
    pool: 'fairlane_pool_queued',
  },
  rows: [
    {
      title: 'At a glance',
      panels: [
        figure(
          'Jain’s index',
          'none',
          '1: tenants with requests get tokens in proportion to their weights. 1 ÷ n: one of n gets all. Low values are no fault while others ask for little.',
          'fairlane:jain_index:rate5m',
          { max: 1 },
        ),
        figure(
          'Saturation',
          'percentunit',
          'Fullest pool. 1 with nobody below its share waiting is the aim.',
          `max(fairlane_pool_saturation{${POOL}})`,
          { max: 1 },
        ),
        figure('Requests that wait', 'short', 'In all queues.', `sum(fairlane_pool_queued{${POOL}})`),
        figure(
          'Passed the queue',
          'reqps',
          'Requests a second that went ahead, because their tenant was below its fair share.',
          `sum(${rateOf('fairlane_passed_queue_total', TENANT)})`,
        ),
      ],
    },
    {
      title: 'Time to first token',
      panels: [
        lines(
          'TTFT, 99th percentile',
          's',
          'From the arrival of the request. A quiet tenant’s line is to stay low while a noisy one’s rises.',
          [{ expr: quantile(0.99, TTFT, 'tenant', TENANT_MODEL), legend: '{{tenant}}' }],
        ),
        lines('TTFT, median', 's', 'Half of the streams have their first token sooner.', [
          { expr: quantile(0.5, TTFT, 'tenant', TENANT_MODEL), legend: '{{tenant}}' },
        ]),
        lines(
          'TTFT against alone, mean',
          's',
          'Alone is what is left without the queue: about what the tenant would wait if nobody else were there. A quiet tenant’s two lines are to lie on each other. The wait is of all released requests, the time to first token of streams.',
          [
            { expr: meanBy('tenant', TTFT, TENANT_MODEL), legend: '{{tenant}}' },
            {
              expr: `clamp_min(${meanBy('tenant', TTFT, TENANT_MODEL)} - ${meanBy('tenant', WAIT, TENANT_MODEL)}, 0)`,
              legend: '{{tenant}} alone',
            },
          ],
        ),
        lines('Queue wait, 99th percentile', 's', 'From joining the queue to the release.', [
          { expr: quantile(0.99, WAIT, 'tenant', TENANT_MODEL), legend: '{{tenant}}' },
        ]),
      ],
    },
    {
      title: 'Shares',
      panels: [
        lines(
          'Share of tokens',
          'percentunit',
          'Each tenant’s part of all tokens. Compare it with the share of weights beside: who asks for less than its part gets all that it asks for.',
          [
            {
              expr: 'tenant:fairlane_tokens:rate5m / ignoring(tenant) group_left sum(tenant:fairlane_tokens:rate5m)',
              legend: '{{tenant}}',
            },
          ],
          { max: 1, isStacked: true },
        ),
        lines(
          'Share of weights',
          'percentunit',
          'What each tenant would get if all asked for more than there is. Of tenants with requests of late.',
          [
            {
              expr: `${maxBy('tenant', 'fairlane_tenant_weight')} / ignoring(tenant) group_left sum(${maxBy('tenant', 'fairlane_tenant_weight')})`,
              legend: '{{tenant}}',
            },
          ],
          { max: 1, isStacked: true },
        ),
        lines(
          'Who waits',
          'short',
          'Requests in the queue. Tenants below their fair share are hardly ever here.',
          [{ expr: sumBy('tenant', `fairlane_tenant_queued{${TENANT}}`), legend: '{{tenant}}' }],
          { isStacked: true },
        ),
        lines(
          'Who is served',
          'short',
          'Requests in the engines.',
          [{ expr: sumBy('tenant', `fairlane_tenant_in_flight{${TENANT}}`), legend: '{{tenant}}' }],
          { isStacked: true },
        ),
        lines(
          'Who goes ahead',
          'reqps',
          'Requests a second that passed the queue, because their tenant was below its fair share.',
          [{ expr: sumBy('tenant', rateOf('fairlane_passed_queue_total', TENANT)), legend: '{{tenant}}' }],
          THIRD,
        ),
        lines(
          'Headroom',
          'short',
          'Slots that are kept free for tenants below their fair share, beside the limit and what is in flight.',
          [
            { expr: sumBy('pool', `fairlane_pool_headroom{${POOL}}`), legend: '{{pool}} headroom' },
            { expr: sumBy('pool', `fairlane_pool_concurrency_limit{${POOL}}`), legend: '{{pool}} limit' },
            { expr: sumBy('pool', `fairlane_pool_in_flight{${POOL}}`), legend: '{{pool}} in flight' },
          ],
          THIRD,
        ),
        lines(
          'Lanes',
          'short',
          'Requests that wait, by traffic class.',
          [{ expr: sumBy('pool, lane', `fairlane_lane_queued{${POOL}}`), legend: '{{pool}} {{lane}}' }],
          THIRD,
        ),
      ],
    },
  ],
};
