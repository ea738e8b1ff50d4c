/** What the engines can take, what they have, and what is wrong with them. */
import { type Dashboard, lines as half, type Panel, THIRD } from './panel.ts';
import { maxBy, POOL, rateOf, sumBy } from './promql.ts';

const OF = 'pool, endpoint';
const NAME = '{{pool}} {{endpoint}}';

const lines = (...[title, unit, description, queries, more]: Parameters<typeof half>): Panel =>
  half(title, unit, description, queries, { ...THIRD, ...more });

export const ENGINES: Dashboard = {
  uid: 'fairlane-engines',
  title: 'Fairlane / Engines',
  description:
    'Concurrency limits and what they go by, load, health, caches and LoRA adapters of each endpoint.',
  variables: { pool: 'fairlane_pool_queued' },
  rows: [
    {
      title: 'Load',
      panels: [
        lines(
          'Saturation',
          'percentunit',
          'How full each pool is. 1 for long: add engines.',
          [{ expr: maxBy('pool', `fairlane_pool_saturation{${POOL}}`), legend: '{{pool}}' }],
          { max: 1 },
        ),
        lines('Predicted wait', 's', 'Of a request that joined the end of the queue now.', [
          { expr: maxBy('pool', `fairlane_pool_predicted_wait_seconds{${POOL}}`), legend: '{{pool}}' },
        ]),
        lines(
          'Concurrency limit',
          'short',
          'Sequences that each endpoint may have in flight, of all replicas.',
          [{ expr: sumBy(OF, `fairlane_endpoint_concurrency_limit{${POOL}}`), legend: NAME }],
        ),
        lines('In flight', 'short', 'Requests that each endpoint serves.', [
          { expr: sumBy(OF, `fairlane_endpoint_in_flight{${POOL}}`), legend: NAME },
        ]),
        lines('Waiting in Fairlane', 'short', 'Requests in the queue of each pool.', [
          { expr: sumBy('pool', `fairlane_pool_queued{${POOL}}`), legend: '{{pool}}' },
        ]),
        lines('Running in the engines', 'short', 'Sequences, as the engines say it themselves.', [
          { expr: maxBy(OF, `fairlane_engine_running{${POOL}}`), legend: NAME },
        ]),
        lines(
          'Waiting in the engines',
          'short',
          'As the engines say it themselves. Those are out of Fairlane’s hands: a few at most.',
          [{ expr: maxBy(OF, `fairlane_engine_waiting{${POOL}}`), legend: NAME }],
        ),
        lines(
          'What the limit goes by',
          'short',
          'Endpoints by what sets their limit. ttft where gauges were expected: the engine’s metrics are missing or wrong.',
          [
            {
              expr: `${sumBy(
                'pool, by',
                maxBy('pool, endpoint, by', `fairlane_endpoint_concurrency_limit_by{${POOL}}`),
              )} > 0`,
              legend: '{{pool}} {{by}}',
            },
          ],
          { isStacked: true },
        ),
        lines(
          'Busy',
          'percentunit',
          'Part of the time in which an endpoint had requests.',
          [{ expr: sumBy(OF, rateOf('fairlane_endpoint_busy_seconds_total', POOL)), legend: NAME }],
          { max: 1 },
        ),
      ],
    },
    {
      title: 'KV cache and prefixes',
      panels: [
        lines(
          'KV cache tokens',
          'short',
          'That requests in flight are thought to need, and that the cache holds.',
          [
            { expr: sumBy(OF, `fairlane_endpoint_kv_tokens{${POOL}}`), legend: `${NAME} needed` },
            { expr: maxBy(OF, `fairlane_endpoint_kv_capacity_tokens{${POOL}}`), legend: `${NAME} capacity` },
          ],
        ),
        lines(
          'KV cache in use',
          'percentunit',
          'As the engines say it themselves. Near 1 they take requests off to make room.',
          [{ expr: maxBy(OF, `fairlane_engine_kv_usage_ratio{${POOL}}`), legend: NAME }],
          { max: 1 },
        ),
        lines(
          'Prefix hits',
          'percentunit',
          'Part of the prompts’ tokens that engines had in their caches.',
          [
            {
              expr: `sum by (model) (${rateOf('fairlane_tokens_total', 'kind="cached"')}) / sum by (model) (${rateOf('fairlane_tokens_total', 'kind="prompt"')})`,
              legend: '{{model}}',
            },
          ],
          { max: 1 },
        ),
      ],
    },
    {
      title: 'Health',
      panels: [
        lines(
          'Endpoints that are healthy',
          'short',
          'Whose probes succeed, as the replica that sees the fewest has it.',
          [
            {
              expr: `min by (pool) (sum by (pool, instance) (fairlane_endpoint_healthy{${POOL}}))`,
              legend: '{{pool}}',
            },
          ],
        ),
        lines(
          'Ejected endpoints',
          'short',
          'That get no requests, or one at a time, because those of several tenants failed there.',
          [{ expr: sumBy('pool', maxBy(OF, `fairlane_endpoint_ejected{${POOL}}`)), legend: '{{pool}}' }],
        ),
        lines(
          'Open circuit breakers',
          'short',
          'Models that an endpoint gets no requests for, because they failed there: one breaker each.',
          [
            {
              expr: sumBy('pool', maxBy(OF, `fairlane_endpoint_broken_models{${POOL}}`)),
              legend: '{{pool}}',
            },
          ],
        ),
        lines('Ejections', 'short', 'In the last five minutes.', [
          {
            expr: sumBy('pool', `increase(fairlane_endpoint_ejections_total{${POOL}}[5m])`),
            legend: '{{pool}}',
          },
        ]),
        lines(
          'Odd usage',
          'short',
          'Answers of the last five minutes whose engine reported tokens that cannot be.',
          [
            {
              expr: `${sumBy('pool, reason', `increase(fairlane_engine_usage_odd_total{${POOL}}[5m])`)} > 0`,
              legend: '{{pool}} {{reason}}',
            },
          ],
        ),
        lines(
          'Limit and headroom',
          'short',
          'Of each pool: the limit of what may be in flight, and what is kept free of it for tenants below their share.',
          [
            { expr: sumBy('pool', `fairlane_pool_concurrency_limit{${POOL}}`), legend: '{{pool}} limit' },
            { expr: sumBy('pool', `fairlane_pool_headroom{${POOL}}`), legend: '{{pool}} headroom' },
          ],
        ),
      ],
    },
    {
      title: 'LoRA adapters and rollouts',
      panels: [
        lines('LoRA adapters', 'short', 'Loaded at each endpoint, also by others.', [
          { expr: maxBy(OF, `fairlane_endpoint_adapters{${POOL}}`), legend: NAME },
        ]),
        lines(
          'Adapter loads',
          'short',
          'In the last five minutes, by result. Many: more adapters are asked for than fit.',
          [
            {
              expr: sumBy('pool, result', `increase(fairlane_adapter_loads_total{${POOL}}[5m])`),
              legend: '{{pool}} {{result}}',
            },
          ],
        ),
        lines(
          'Tokens of adapters and models',
          'si:tok/s',
          'Written a second, by the name that clients ask for.',
          [
            {
              expr: sumBy('model', rateOf('fairlane_tokens_total', 'kind="completion"')),
              legend: '{{model}}',
            },
          ],
        ),
        lines(
          'Canaries',
          'percentunit',
          'Part of a model’s requests that its canary has; 0 once it was rolled back.',
          [{ expr: maxBy('model, canary', 'fairlane_canary_weight'), legend: '{{model}} → {{canary}}' }],
          { max: 1 },
        ),
        lines('Rolled back', 'short', 'Canaries, in the last hour, by what they were worse in.', [
          {
            expr: sumBy('model, canary, gate', 'increase(fairlane_canary_rollbacks_total[1h])'),
            legend: '{{model}} → {{canary}} {{gate}}',
          },
        ]),
        lines('Mirrored requests', 'reqps', 'Copies that Envoy was told to make.', [
          { expr: sumBy('model', rateOf('fairlane_shadow_copies_total')), legend: '{{model}}' },
        ]),
      ],
    },
  ],
};
