/** Envoy's own metrics, of `/stats/prometheus` on its admin page. */
import { type Dashboard, figure, lines } from './panel.ts';
import { maxBy, rateOf, sumBy } from './promql.ts';

const CLIENTS = 'envoy_http_conn_manager_prefix="fairlane"';
const CLASS = 'envoy_response_code_class';
const CLUSTER = 'envoy_cluster_name';

export const ENVOY: Dashboard = {
  uid: 'fairlane-envoy',
  title: 'Fairlane / Envoy',
  description:
    'Requests and connections of clients and engines, the streams to Fairlane, and Envoy’s memory.',
  variables: {},
  rows: [
    {
      title: 'At a glance',
      panels: [
        figure('Up for', 's', 'Of the Envoy that started last.', 'min(envoy_server_uptime)'),
        figure(
          'Client connections',
          'short',
          'Open now.',
          `sum(envoy_http_downstream_cx_active{${CLIENTS}})`,
        ),
        figure(
          'Streams to Fairlane',
          'short',
          'Open now: one for each request with a key.',
          'sum(envoy_http_ext_proc_streams_started) - sum(envoy_http_ext_proc_streams_closed)',
        ),
        figure(
          'Passed without Fairlane',
          'short',
          'Requests of the last five minutes that went on without limits and metering, because the service was away.',
          'sum(increase(envoy_http_ext_proc_failure_mode_allowed[5m]))',
        ),
      ],
    },
    {
      title: 'Requests',
      panels: [
        lines(
          'Clients’ requests',
          'reqps',
          'By class of status.',
          [{ expr: sumBy(CLASS, rateOf('envoy_http_downstream_rq_xx', CLIENTS)), legend: `{{${CLASS}}}xx` }],
          { isStacked: true },
        ),
        lines(
          'Requests to engines',
          'reqps',
          'By cluster and class of status. `fairlane` is the service itself.',
          [
            {
              expr: sumBy(`${CLUSTER}, ${CLASS}`, rateOf('envoy_cluster_upstream_rq_xx')),
              legend: `{{${CLUSTER}}} {{${CLASS}}}xx`,
            },
          ],
        ),
        lines('Retries', 'reqps', 'Requests that went to a second endpoint, by cluster.', [
          { expr: sumBy(CLUSTER, rateOf('envoy_cluster_upstream_rq_retry')), legend: `{{${CLUSTER}}}` },
        ]),
        lines('Refused keys', 'reqps', 'Requests with a wrong key or none: 401.', [
          {
            expr: sumBy('instance', rateOf('envoy_http_api_key_auth_unauthorized', CLIENTS)),
            legend: '{{instance}}',
          },
        ]),
      ],
    },
    {
      title: 'Streams to Fairlane (ext_proc)',
      panels: [
        lines('Streams', 'reqps', 'Started and failed. Failed: the service was away or broke off.', [
          { expr: `sum(${rateOf('envoy_http_ext_proc_streams_started', CLIENTS)})`, legend: 'started' },
          { expr: `sum(${rateOf('envoy_http_ext_proc_streams_failed', CLIENTS)})`, legend: 'failed' },
          {
            expr: `sum(${rateOf('envoy_http_ext_proc_failure_mode_allowed', CLIENTS)})`,
            legend: 'passed without Fairlane',
          },
          { expr: `sum(${rateOf('envoy_http_ext_proc_message_timeouts', CLIENTS)})`, legend: 'timeouts' },
        ]),
        lines(
          'Messages',
          'si:msg/s',
          'To and from the service: a few for each request, and one for each chunk of an answer.',
          [
            { expr: `sum(${rateOf('envoy_http_ext_proc_stream_msgs_sent', CLIENTS)})`, legend: 'sent' },
            {
              expr: `sum(${rateOf('envoy_http_ext_proc_stream_msgs_received', CLIENTS)})`,
              legend: 'received',
            },
          ],
        ),
      ],
    },
    {
      title: 'Connections and memory',
      panels: [
        lines('Connections', 'short', 'Open: from clients, and to each cluster.', [
          { expr: `sum(envoy_http_downstream_cx_active{${CLIENTS}})`, legend: 'clients' },
          { expr: sumBy(CLUSTER, 'envoy_cluster_upstream_cx_active'), legend: `{{${CLUSTER}}}` },
        ]),
        lines('Heap', 'bytes', 'Reserved and in use. `envoy.maxHeapSize` bounds it.', [
          { expr: maxBy('instance', 'envoy_server_memory_heap_size'), legend: '{{instance}} heap' },
          { expr: maxBy('instance', 'envoy_server_memory_allocated'), legend: '{{instance}} in use' },
        ]),
        lines(
          'Open circuit breakers',
          'short',
          'Of each cluster: 1 while a limit of connections or requests is reached.',
          [
            {
              expr: maxBy(CLUSTER, 'envoy_cluster_circuit_breakers_default_rq_open'),
              legend: `{{${CLUSTER}}} requests`,
            },
            {
              expr: maxBy(CLUSTER, 'envoy_cluster_circuit_breakers_default_cx_open'),
              legend: `{{${CLUSTER}}} connections`,
            },
          ],
        ),
        lines('Updates of keys', 'short', 'Taken and refused by Envoy since it started.', [
          {
            expr: `sum(envoy_extension_config_discovery_http_filter_fairlane_api_key_auth_update_success)`,
            legend: 'taken',
          },
          {
            expr: `sum(envoy_extension_config_discovery_http_filter_fairlane_api_key_auth_update_rejected)`,
            legend: 'refused',
          },
        ]),
      ],
    },
  ],
};
