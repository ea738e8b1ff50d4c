/** A gateway that asks an endpoint picker. */
import type { Json, JsonMap } from '../../src/envoy/envoy-json.ts';

const TYPE = 'type.googleapis.com/envoy.extensions';
const DESTINATION = 'x-gateway-destination-endpoint';
const SUBSET = `${DESTINATION}-subset`;

const typed = (name: string, type: string, config: JsonMap = {}): JsonMap => ({
  name,
  typed_config: { '@type': `${TYPE}.${type}`, ...config },
});
const hosts = (ports: readonly number[]): JsonMap => ({
  endpoints: [
    {
      lb_endpoints: ports.map((port) => ({
        endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: port } } },
      })),
    },
  ],
});
/** What a gateway narrows the choice to, by the path. */
const withSubset = (value: Json): JsonMap => ({
  metadata: { filter_metadata: {} },
  typed_per_filter_config: {
    'envoy.filters.http.set_metadata': {
      '@type': `${TYPE}.filters.http.set_metadata.v3.Config`,
      metadata: [{ metadata_namespace: 'envoy.lb.subset_hint', value: { [SUBSET]: value } }],
    },
  },
});

/** How a gateway may differ. */
export interface GatewayOptions {
  /** It speaks TLS to the picker, and looks at no certificate. */
  readonly tls?: boolean;
  /** What it shows, in PEM. */
  readonly identity?: { readonly cert: string; readonly key: string };
  /** As before the protocol's 1.0: it does not say which endpoint served. */
  readonly isOld?: boolean;
  readonly retries?: number;
}

/** Envoy as a gateway of the Gateway API Inference Extension. */
export const gateway = (ports: {
  api: number;
  admin: number;
  picker: number;
  engines: readonly number[];
  subsets: Readonly<Record<string, Json>>;
  options?: GatewayOptions;
}): JsonMap => ({
  admin: { address: { socket_address: { address: '127.0.0.1', port_value: ports.admin } } },
  static_resources: {
    clusters: [
      {
        name: 'inference-pool',
        type: 'STATIC',
        load_assignment: { cluster_name: 'inference-pool', ...hosts(ports.engines) },
        load_balancing_policy: {
          policies: [
            {
              typed_extension_config: typed(
                'override_host',
                'load_balancing_policies.override_host.v3.OverrideHost',
                {
                  override_host_sources: [
                    { header: DESTINATION },
                    { metadata: { key: 'envoy.lb', path: [{ key: DESTINATION }] } },
                  ],
                  ...(ports.options?.isOld !== true && {
                    selected_host_key: { key: 'envoy.lb', path: [{ key: `${DESTINATION}-served` }] },
                  }),
                  fallback_policy: {
                    policies: [
                      {
                        typed_extension_config: typed(
                          'round_robin',
                          'load_balancing_policies.round_robin.v3.RoundRobin',
                        ),
                      },
                    ],
                  },
                },
              ),
            },
          ],
        },
      },
      {
        name: 'picker',
        type: 'STATIC',
        load_assignment: { cluster_name: 'picker', ...hosts([ports.picker]) },
        ...(ports.options?.tls === true && {
          transport_socket: typed(
            'envoy.transport_sockets.tls',
            'transport_sockets.tls.v3.UpstreamTlsContext',
            {
              common_tls_context: {
                // As the charts of pickers have it.
                alpn_protocols: ['h2'],
                ...(ports.options.identity !== undefined && {
                  tls_certificates: [
                    {
                      certificate_chain: { inline_string: ports.options.identity.cert },
                      private_key: { inline_string: ports.options.identity.key },
                    },
                  ],
                }),
              },
            },
          ),
        }),
        typed_extension_protocol_options: {
          'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
            '@type': `${TYPE}.upstreams.http.v3.HttpProtocolOptions`,
            explicit_http_config: { http2_protocol_options: {} },
          },
        },
      },
    ],
    listeners: [
      {
        name: 'gateway',
        address: { socket_address: { address: '127.0.0.1', port_value: ports.api } },
        filter_chains: [
          {
            filters: [
              typed(
                'envoy.filters.network.http_connection_manager',
                'filters.network.http_connection_manager.v3.HttpConnectionManager',
                {
                  stat_prefix: 'gateway',
                  http_filters: [
                    typed('envoy.filters.http.set_metadata', 'filters.http.set_metadata.v3.Config'),
                    typed('envoy.filters.http.ext_proc', 'filters.http.ext_proc.v3.ExternalProcessor', {
                      grpc_service: { envoy_grpc: { cluster_name: 'picker' } },
                      failure_mode_allow: false,
                      processing_mode: {
                        request_header_mode: 'SEND',
                        response_header_mode: 'SEND',
                        request_body_mode: 'FULL_DUPLEX_STREAMED',
                        response_body_mode: 'FULL_DUPLEX_STREAMED',
                        request_trailer_mode: 'SEND',
                        response_trailer_mode: 'SEND',
                      },
                      message_timeout: '30s',
                      metadata_options: {
                        forwarding_namespaces: { untyped: ['envoy.lb.subset_hint', 'envoy.lb'] },
                        receiving_namespaces: { untyped: ['envoy.lb'] },
                      },
                    }),
                    typed('envoy.filters.http.router', 'filters.http.router.v3.Router'),
                  ],
                  route_config: {
                    virtual_hosts: [
                      {
                        name: 'all',
                        domains: ['*'],
                        routes: [
                          ...Object.entries(ports.subsets).map(([name, value]) => ({
                            match: {
                              prefix: '/',
                              headers: [{ name: 'x-subset', string_match: { exact: name } }],
                            },
                            route: { cluster: 'inference-pool' },
                            ...withSubset(value),
                          })),
                          { match: { prefix: '/' }, route: { cluster: 'inference-pool' } },
                        ],
                      },
                    ],
                  },
                },
              ),
            ],
          },
        ],
      },
    ],
  },
});
