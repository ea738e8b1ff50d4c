/**
 * Envoy's bootstrap for a configuration. What changes while Envoy runs (keys, clusters, endpoints) is in files that it
 * watches (dynamic-files.ts): a change of the listener would drain it and cut long streams.
 */
import type { Config, ListenerConfig, ServiceAddress } from '../config/config.ts';
import {
  clusterOfPool,
  IDENTITY_HEADERS,
  METADATA_NAMESPACE,
  MIRROR_HEADER,
  POOL_HEADER,
  RESERVED_HEADER_PREFIXES,
  SERVICE_CLUSTER,
} from '../domain/names.ts';
import {
  API_ROUTES,
  MODEL_ID_PATTERN,
  MODEL_ROUTES,
  pathsOf,
  RESPONSE_ID_PATTERN,
  ROUTES,
  STORED_ROUTES,
} from '../domain/routes.ts';
import { adminOf } from './admin.ts';
import { hashedKeyFilter, KEY_FILTERS, keyFilters } from './api-keys.ts';
import { azureNamesRoute, azurePathsFilter, azureRoute } from './azure-paths.ts';
import { transportOf } from './client-tls.ts';
import { corsFilters, corsPolicy, notServed } from './cors.ts';
import { credentialsFilter } from './credentials.ts';
import { bodyBuffer, clientLimits, clientRuntime, listenerBuffers, unsizedBodyBuffer } from './downstream.ts';
import { CLUSTERS_FILE } from './dynamic-files.ts';
import { type JsonMap, NO_LIMIT, noLimits, socketAddress, type } from './envoy-json.ts';
import { localReplies } from './local-replies.ts';
import { memoryAllocator, overloadManagerOf } from './overload.ts';
import { refusalCounts, refusalSink } from './refusal-counts.ts';
import { ANSWER_IDS, requestIds } from './request-ids.ts';
import { serviceTransportOf } from './service-tls.ts';
import { identityFilterNames, tenantFilters, tokenFilters, withoutTenantFilter } from './tokens.ts';

/** A service that hangs is noticed after this; a queued request is announced by override_message_timeout. */
const MESSAGE_TIMEOUT = '5s';
const MAX_MESSAGE_TIMEOUT = '3600s';
/**
 * As many as reach every endpoint of the largest pool, within these: each one of an overloaded pool is more load. What an engine
 * may have begun is tried once more at most (attempts.ts).
 */
const MIN_RETRIES = 2;
const MAX_RETRIES = 5;

/** The filters in their order: what a client may not send goes, the tenant is known, the service decides. */
export function httpFiltersOf(config: Config): readonly JsonMap[] {
  return [
    ...corsFilters(config),
    {
      name: 'fairlane.remove_reserved_headers',
      typed_config: {
        ...type('envoy.extensions.filters.http.header_mutation.v3.HeaderMutation'),
        mutations: {
          request_mutations: RESERVED_HEADER_PREFIXES.map((prefix) => ({
            remove_on_match: { key_matcher: { prefix, ignore_case: true } },
          })),
          response_mutations: ANSWER_IDS,
        },
      },
    },
    azurePathsFilter,
    ...tokenFilters(config),
    hashedKeyFilter(config),
    credentialsFilter(config),
    ...keyFilters(config),
    ...tenantFilters(config, 'before-service'),
    {
      name: 'fairlane.ext_proc',
      typed_config: {
        ...type('envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor'),
        grpc_service: { envoy_grpc: { cluster_name: SERVICE_CLUSTER }, timeout: '0s' },
        failure_mode_allow: config.envoy.failureMode === 'open',
        status_on_error: { code: 'ServiceUnavailable' },
        processing_mode: {
          request_header_mode: 'SEND',
          request_body_mode: 'BUFFERED',
          // A request may end with trailers, and without a body: that is its end.
          request_trailer_mode: 'SEND',
          // The service asks for the rest when it lets a request pass: what Envoy answers itself before does not go through it.
          response_header_mode: 'SKIP',
          response_body_mode: 'NONE',
          response_trailer_mode: 'SKIP',
        },
        // The service asks for an answer's headers and trailers, and looks at its content type before it asks for its body.
        allow_mode_override: true,
        message_timeout: MESSAGE_TIMEOUT,
        max_message_timeout: MAX_MESSAGE_TIMEOUT,
        response_attributes: ['upstream.address', 'response.code_details'],
        metadata_options: { receiving_namespaces: { untyped: [METADATA_NAMESPACE] } },
      },
    },
    ...tenantFilters(config, 'after-service'),
    {
      name: 'envoy.filters.http.router',
      typed_config: {
        ...type('envoy.extensions.filters.http.router.v3.Router'),
        suppress_envoy_headers: true,
      },
    },
  ];
}

const upstream = (target: JsonMap, retries: number): JsonMap => ({
  ...target,
  timeout: '0s',
  retry_policy: {
    retry_on: 'connect-failure,refused-stream,reset,retriable-status-codes',
    retriable_status_codes: [503],
    num_retries: retries,
    // The next endpoint is another one: there is nothing to wait for.
    retry_back_off: { base_interval: '0.005s', max_interval: '0.05s' },
  },
});

/** A copy for the cluster that the service names, if it names one. Always there: routes do not change while Envoy runs. */
const copies: JsonMap = { cluster_header: MIRROR_HEADER, disable_shadow_host_suffix_append: true };

/** What Envoy lets through: the API's routes, and those of the configuration. */
function allowedOf(config: Config): readonly { method: string; path: string; isRefusedUnread: boolean }[] {
  return [
    ...API_ROUTES.flatMap((name) =>
      pathsOf(name).map((path) => ({
        method: ROUTES[name].method,
        path,
        isRefusedUnread: ROUTES[name].unread === 'refused',
      })),
    ),
    ...[...(config.routes?.values() ?? [])].map(({ method, path }) => ({
      method,
      path,
      isRefusedUnread: true,
    })),
  ];
}

const exactly = (method: string, path: string, extra: readonly JsonMap[] = []): JsonMap => ({
  path,
  headers: [{ name: ':method', string_match: { exact: method } }, ...extra],
});

/** Its body, if it has one, is as long as it is. The first route that Envoy chooses bounds what it reads. */
const hasNoLength: JsonMap = { name: 'content-length', present_match: false };

/** Clients ask so whether somebody is there, before they have a key. */
const somebodyIsThere = (config: Config): JsonMap => ({
  match: exactly('HEAD', '/'),
  direct_response: { status: 200 },
  typed_per_filter_config: Object.fromEntries(
    [...KEY_FILTERS, 'fairlane.ext_proc', ...identityFilterNames(config)].map((name) => [
      name,
      { ...type('envoy.config.route.v3.FilterConfig'), disabled: true },
    ]),
  ),
});

/**
 * The allow-list as routes. The service sends a request to a pool by a header; without it (the service is away, and
 * the failure mode is open) the fallback pool serves it, or nobody does: routes.ts says which.
 */
export function routesOf(config: Config): readonly JsonMap[] {
  const largest = Math.max(...[...config.pools.values()].map(({ endpoints }) => endpoints.length));
  const retries = Math.min(MAX_RETRIES, Math.max(MIN_RETRIES, largest - 1));
  const unread = { route: upstream({ cluster: clusterOfPool(config.envoy.fallbackPool) }, retries) };
  const allowed = allowedOf(config).flatMap(({ method, path, isRefusedUnread }) => [
    {
      match: exactly(method, path, [{ name: POOL_HEADER, present_match: true }]),
      route: {
        ...upstream({ cluster_header: POOL_HEADER }, retries),
        ...(method === 'POST' && { request_mirror_policies: [copies] }),
      },
      request_headers_to_remove: IDENTITY_HEADERS,
      request_body_buffer_limit: bodyBuffer(config),
    },
    ...[unsizedBodyBuffer(config), bodyBuffer(config)].map((bytes, i) => ({
      match: exactly(method, path, i === 0 ? [hasNoLength] : []),
      ...(isRefusedUnread ? { direct_response: { status: 503 } } : unread),
      request_headers_to_remove: IDENTITY_HEADERS,
      request_body_buffer_limit: bytes,
    })),
  ]);
  return [
    ...modelRoutes(config, retries),
    azureNamesRoute(notServed(config)),
    unasked(config, { safe_regex: { regex: ESCAPED_SLASH } }, { direct_response: { status: 400 } }),
    ...allowed,
    ...storedRoutes(config, retries),
    somebodyIsThere(config),
    azureRoute(notServed(config)),
    unasked(config, { prefix: '/' }, notServed(config)),
  ];
}

/** `%2F` and `%5C` in a path. Names of models have them; no other route takes a path that another reader may see otherwise. */
const ESCAPED_SLASH = '.*%(2[fF]|5[cC]).*';

/** Envoy's own answer. Nothing to decide: the service is not asked. */
const unasked = (config: Config, match: JsonMap, answer: JsonMap): JsonMap => ({
  match,
  ...answer,
  typed_per_filter_config: {
    'fairlane.ext_proc': {
      ...type('envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute'),
      disabled: true,
    },
    ...withoutTenantFilter(config),
  },
});

/** Envoy's answer where the service has not answered: whoever has a key or a token gets it. */
const unanswered = (config: Config, match: JsonMap): JsonMap => ({
  match,
  direct_response: { status: 503 },
  ...(config.jwt !== undefined && { typed_per_filter_config: withoutTenantFilter(config) }),
});

/**
 * The models that a tenant may use: the service answers. Without it a list is that of an engine of the fallback pool; one model, by
 * a path that the client chooses, is nobody's.
 */
function modelRoutes(config: Config, retries: number): readonly JsonMap[] {
  const headers = [{ name: ':method', string_match: { safe_regex: { regex: 'GET|HEAD' } } }];
  const { models, 'models.retrieve': one } = MODEL_ROUTES;
  return [
    {
      match: { path: models.path, headers },
      route: upstream({ cluster: clusterOfPool(config.envoy.fallbackPool) }, retries),
      request_headers_to_remove: IDENTITY_HEADERS,
      request_body_buffer_limit: bodyBuffer(config),
    },
    unanswered(config, { safe_regex: { regex: one.path.replace('{id}', MODEL_ID_PATTERN) }, headers }),
  ];
}

/**
 * Responses that engines have stored. The service says whose they are and which engine has them; without its word, whatever the
 * failure mode, no engine is asked.
 */
function storedRoutes(config: Config, retries: number): readonly JsonMap[] {
  return Object.values(STORED_ROUTES).flatMap(({ method, path }) => {
    const match = (extra: readonly JsonMap[]): JsonMap => ({
      safe_regex: { regex: path.replace('{id}', RESPONSE_ID_PATTERN) },
      headers: [{ name: ':method', string_match: { exact: method } }, ...extra],
    });
    return [
      {
        match: match([{ name: POOL_HEADER, present_match: true }]),
        route: upstream({ cluster_header: POOL_HEADER }, retries),
        request_headers_to_remove: IDENTITY_HEADERS,
      },
      unanswered(config, match([])),
    ];
  });
}

function serviceEndpoint(address: ServiceAddress): JsonMap {
  return address.kind === 'unix' ? { pipe: { path: address.path } } : socketAddress(address);
}

/** The cluster of Fairlane's own gRPC service. */
export function serviceClusterOf(config: Config): JsonMap {
  const { address } = config.service;
  return {
    name: SERVICE_CLUSTER,
    type: address.kind === 'unix' ? 'STATIC' : 'STRICT_DNS',
    connect_timeout: '1s',
    circuit_breakers: noLimits,
    typed_extension_protocol_options: {
      'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
        ...type('envoy.extensions.upstreams.http.v3.HttpProtocolOptions'),
        explicit_http_config: {
          http2_protocol_options: {
            max_concurrent_streams: NO_LIMIT,
            initial_stream_window_size: 1_048_576,
            initial_connection_window_size: 16_777_216,
          },
        },
      },
    },
    load_assignment: {
      cluster_name: SERVICE_CLUSTER,
      endpoints: [{ lb_endpoints: [{ endpoint: { address: serviceEndpoint(address) } }] }],
    },
    ...serviceTransportOf(config),
  };
}

function listenerOf(config: Config, listener: ListenerConfig, i: number): JsonMap {
  return {
    name: i === 0 ? 'fairlane' : `fairlane-${i + 1}`,
    address: socketAddress(listener.address),
    ...listenerBuffers(config),
    filter_chains: [
      {
        ...transportOf(config, listener),
        filters: [
          {
            name: 'envoy.filters.network.http_connection_manager',
            typed_config: {
              ...type('envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'),
              stat_prefix: 'fairlane',
              codec_type: 'AUTO',
              use_remote_address: true,
              normalize_path: true,
              merge_slashes: true,
              // The routes decide: models' names have slashes.
              path_with_escaped_slashes_action: 'KEEP_UNCHANGED',
              server_header_transformation: 'PASS_THROUGH',
              ...clientLimits(config),
              ...requestIds,
              ...refusalCounts,
              local_reply_config: localReplies(config),
              route_config: {
                name: 'fairlane',
                virtual_hosts: [
                  { name: 'fairlane', domains: ['*'], routes: routesOf(config), ...corsPolicy(config) },
                ],
                // The pool's cluster comes from a file and may be there a moment later.
                validate_clusters: false,
              },
              http_filters: httpFiltersOf(config),
            },
          },
        ],
      },
    ],
  };
}

/** The complete bootstrap. */
export function bootstrapOf(config: Config): JsonMap {
  return {
    node: { id: 'fairlane', cluster: 'fairlane' },
    admin: adminOf(config.envoy.admin),
    layered_runtime: {
      layers: [
        {
          name: 'fairlane',
          static_layer: {
            // Otherwise a reset ends every stream, and Node.js closes a connection that resets too often.
            'envoy.reloadable_features.ext_proc_graceful_grpc_close': true,
            ...clientRuntime,
          },
        },
      ],
    },
    ...refusalSink,
    overload_manager: overloadManagerOf(config),
    memory_allocator_manager: memoryAllocator,
    dynamic_resources: {
      cds_config: {
        path_config_source: { path: `${config.envoy.directory}/${CLUSTERS_FILE}` },
        resource_api_version: 'V3',
      },
    },
    static_resources: {
      listeners: config.listen.map((listener, i) => listenerOf(config, listener, i)),
      clusters: [serviceClusterOf(config)],
    },
  };
}
