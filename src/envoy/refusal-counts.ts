/**
 * Envoy's refusals that the service never sees: no key, no route, no valid HTTP. Envoy counts them by the code that clients get, and sends the service what
 * was added, a few numbers every some seconds: a flood costs the service nothing.
 */
import { BROKE_TWICE_DETAILS } from '../domain/broke-twice.ts';
import { REFUSALS_STAT, RESPONSE_DETAILS_PREFIX, SERVICE_CLUSTER } from '../domain/names.ts';
import { type JsonMap, type } from './envoy-json.ts';
import { NAMED_REPLIES } from './local-replies.ts';

const FIRST_ERROR = 400;
const FLUSH_INTERVAL = '5s';

/**
 * What the response code details begin with of what the service knows, and records itself: its own answers, engines', and Envoy's to
 * requests that the service has taken.
 */
const SEEN_BY_SERVICE: readonly string[] = [
  RESPONSE_DETAILS_PREFIX,
  BROKE_TWICE_DETAILS,
  'via_upstream',
  'upstream_',
  'early_upstream',
  'no_healthy_upstream',
  'maintenance_mode',
  'request_payload_too_large',
  'response_',
  'stream_idle_timeout',
  'request_overall_timeout',
  'downstream_',
];

const notSeen = `!(${SEEN_BY_SERVICE.map((text) => `response.code_details.startsWith('${text}')`).join(' || ')})`;

/** Looks at answers that are errors, and at no others. @param value of the tag: few, whatever clients send. */
const counter = (expression: string, value: string): JsonMap => ({
  name: 'fairlane.refusals',
  filter: {
    and_filter: {
      filters: [
        {
          status_code_filter: {
            comparison: { op: 'GE', value: { default_value: FIRST_ERROR, runtime_key: 'fairlane.unset' } },
          },
        },
        {
          extension_filter: {
            name: 'envoy.access_loggers.extension_filters.cel',
            typed_config: {
              ...type('envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter'),
              expression,
            },
          },
        },
      ],
    },
  },
  typed_config: {
    ...type('envoy.extensions.access_loggers.stats.v3.Config'),
    stat_prefix: REFUSALS_STAT.prefix,
    counters: [
      {
        stat: { name: REFUSALS_STAT.name, tags: [{ name: REFUSALS_STAT.tag, value_format: value }] },
        value_fixed: 1,
      },
    ],
  },
});

/** Of the connection manager. Where answers of one status have several codes, the code is counted. */
export const refusalCounts: JsonMap = {
  access_log: [
    counter(
      [notSeen, ...NAMED_REPLIES.map(({ expression }) => `!(${expression})`)].join(' && '),
      '%RESPONSE_CODE%',
    ),
    ...NAMED_REPLIES.map(({ expression, code }) => counter(expression, code)),
  ],
};

/** Of the bootstrap: everything else that Envoy counts stays on its admin page. */
export const refusalSink: JsonMap = {
  stats_flush_interval: FLUSH_INTERVAL,
  stats_sinks: [
    {
      name: 'envoy.stat_sinks.open_telemetry',
      typed_config: {
        ...type('envoy.extensions.stat_sinks.open_telemetry.v3.SinkConfig'),
        grpc_service: { envoy_grpc: { cluster_name: SERVICE_CLUSTER } },
        report_counters_as_deltas: true,
        custom_metric_conversions: {
          matcher_list: {
            matchers: [
              {
                predicate: {
                  not_matcher: {
                    single_predicate: {
                      input: {
                        name: 'stat_full_name_match_input',
                        typed_config: type(
                          'envoy.extensions.matching.common_inputs.stats.v3.StatFullNameMatchInput',
                        ),
                      },
                      value_match: { prefix: `${REFUSALS_STAT.prefix}.${REFUSALS_STAT.name}` },
                    },
                  },
                },
                on_match: {
                  action: {
                    name: 'drop',
                    typed_config: type('envoy.extensions.stat_sinks.open_telemetry.v3.SinkConfig.DropAction'),
                  },
                },
              },
            ],
          },
        },
      },
    },
  ],
};
