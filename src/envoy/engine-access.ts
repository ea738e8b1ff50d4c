/**
 * How each endpoint of a cluster is reached: its key, its TLS, its host and the prefix of its paths. An endpoint's metadata says which
 * are its own. Filters on the way to an engine run for each attempt, after its endpoint is known: a retry on another
 * endpoint has that one's key and address, and nothing of the one before.
 */
import { createHash } from 'node:crypto';
import type { EndpointConfig } from '../config/config.ts';
import { isIp } from '../config/values.ts';
import { CREDENTIAL_HEADERS } from '../domain/names.ts';
import { caNameOf, identityNameOf, keyNameOf, secretSource } from './engine-secrets.ts';
import { type JsonMap, type } from './envoy-json.ts';

const NAMESPACE = 'fairlane.engine';
/** Of Envoy: what `transport_socket_matches` are found by. */
const TLS_NAMESPACE = 'envoy.transport_socket_match';
/** They never leave Envoy. */
const HEADERS = { key: 'x-fairlane-key', host: 'x-fairlane-host', prefix: 'x-fairlane-prefix' } as const;
/** Where the path is kept as the client sent it: an attempt leaves its own behind. */
export const PATH_METADATA = { namespace: 'fairlane.engine', key: 'path' } as const;

/** As TLS and `Host` have it. A plain address that is no name says nothing that an engine goes by. */
function authorityOf({ host, port, prefix, tls }: EndpointConfig): string | undefined {
  if (isIp(host) && tls === undefined && prefix === undefined) return undefined;
  const shown = host.includes(':') ? `[${host}]` : host;
  return port === (tls === undefined ? 80 : 443) ? shown : `${shown}:${port}`;
}

/** Endpoints that have these in common share a transport socket. */
function tlsNameOf(endpoint: EndpointConfig): string | undefined {
  const { tls, host } = endpoint;
  if (tls === undefined) return undefined;
  const { serverName = host, insecureSkipVerify = false } = tls;
  const parts = [serverName, insecureSkipVerify, caNameOf(endpoint), identityNameOf(endpoint)];
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 16);
}

/** Empty where it is reached by plain HTTP at its address, without a key. */
export function metadataOf(endpoint: EndpointConfig): JsonMap {
  const key = keyNameOf(endpoint);
  const host = authorityOf(endpoint);
  const tls = tlsNameOf(endpoint);
  const { prefix } = endpoint;
  const own = {
    ...(key !== undefined && { key }),
    ...(host !== undefined && { host }),
    ...(prefix !== undefined && { prefix }),
  };
  const filterMetadata = {
    ...(Object.keys(own).length > 0 && { [NAMESPACE]: own }),
    ...(tls !== undefined && { [TLS_NAMESPACE]: { tls } }),
  };
  return Object.keys(filterMetadata).length > 0 ? { metadata: { filter_metadata: filterMetadata } } : {};
}

/**
 * What a cluster has to know before it may have these endpoints, as text; empty: nothing. One that does not would reach them without
 * TLS, without their key or by a wrong path: they are in a file of a name of its own, which only the fitting cluster reads.
 */
export function shapeOf(endpoints: readonly EndpointConfig[]): string {
  const parts = endpoints.flatMap((endpoint) => [
    tlsNameOf(endpoint),
    keyNameOf(endpoint),
    endpoint.prefix === undefined ? undefined : 'prefix',
  ]);
  const known = [...new Set(parts.filter((part) => part !== undefined))].sort();
  if (known.length === 0) return '';
  return createHash('sha256').update(known.join()).digest('hex').slice(0, 16);
}

/** Sets the address of this attempt's endpoint. Before the first one the path is the client's. */
const ADDRESS_SCRIPT = `
function envoy_on_request(handle)
  local headers = handle:headers()
  local metadata = handle:streamInfo():dynamicMetadata()
  local known = metadata:get("${PATH_METADATA.namespace}") or {}
  local path = known["${PATH_METADATA.key}"]
  local authority = known["authority"]
  if path == nil then
    path = headers:get(":path")
    authority = headers:get(":authority") or ""
    metadata:set("${PATH_METADATA.namespace}", "${PATH_METADATA.key}", path)
    metadata:set("${PATH_METADATA.namespace}", "authority", authority)
  end
  headers:replace(":path", (headers:get("${HEADERS.prefix}") or "") .. path)
  headers:replace(":authority", headers:get("${HEADERS.host}") or authority)
  headers:remove("${HEADERS.key}")
  headers:remove("${HEADERS.prefix}")
  headers:remove("${HEADERS.host}")
end
`;

/** Adds a key where the endpoint's metadata names it, and is passed over elsewhere. */
const keyFilter = (name: string, directory: string): JsonMap => ({
  name: `fairlane.${name}`,
  typed_config: {
    ...type('envoy.extensions.common.matching.v3.ExtensionWithMatcher'),
    extension_config: {
      name: 'envoy.filters.http.credential_injector',
      typed_config: {
        ...type('envoy.extensions.filters.http.credential_injector.v3.CredentialInjector'),
        overwrite: true,
        credential: {
          name: 'envoy.http.injected_credentials.generic',
          typed_config: {
            ...type('envoy.extensions.http.injected_credentials.generic.v3.Generic'),
            credential: secretSource(name, directory),
            header: 'authorization',
          },
        },
      },
    },
    xds_matcher: {
      matcher_list: {
        matchers: [
          {
            predicate: {
              not_matcher: {
                single_predicate: {
                  input: {
                    name: 'key',
                    typed_config: {
                      ...type('envoy.type.matcher.v3.HttpRequestHeaderMatchInput'),
                      header_name: HEADERS.key,
                    },
                  },
                  value_match: { exact: name },
                },
              },
            },
            on_match: {
              action: {
                name: 'skip',
                typed_config: type('envoy.extensions.filters.common.matcher.action.v3.SkipFilter'),
              },
            },
          },
        ],
      },
    },
  },
});

/**
 * Filters on the way to an engine, in their order; none where all endpoints are plain. What an attempt before left is removed
 * first, by the filter that lets only listed headers pass, and once more here: nothing else may stand between a key and another engine.
 */
export function accessFiltersOf(endpoints: readonly EndpointConfig[], directory: string): readonly JsonMap[] {
  if (endpoints.every((endpoint) => Object.keys(metadataOf(endpoint)).length === 0)) return [];
  const keys = new Set(endpoints.flatMap((endpoint) => keyNameOf(endpoint) ?? []));
  const named = Object.entries(HEADERS).map(
    ([key, header]): JsonMap => ({
      append: {
        header: { key: header, value: `%UPSTREAM_METADATA(${NAMESPACE}:${key})%` },
        append_action: 'OVERWRITE_IF_EXISTS_OR_ADD',
      },
    }),
  );
  return [
    {
      name: 'fairlane.engine',
      typed_config: {
        ...type('envoy.extensions.filters.http.header_mutation.v3.HeaderMutation'),
        mutations: {
          request_mutations: [
            ...[...CREDENTIAL_HEADERS, ...Object.values(HEADERS)].map((remove) => ({ remove })),
            ...named,
          ],
        },
      },
    },
    ...[...keys].sort().map((name) => keyFilter(name, directory)),
    {
      name: 'fairlane.engine_address',
      typed_config: {
        ...type('envoy.extensions.filters.http.lua.v3.Lua'),
        default_source_code: { inline_string: ADDRESS_SCRIPT },
      },
    },
  ];
}

function transportSocket(endpoint: EndpointConfig, directory: string): JsonMap {
  const { serverName = endpoint.host, insecureSkipVerify = false } = endpoint.tls ?? {};
  const identity = identityNameOf(endpoint);
  const isAddress = isIp(serverName);
  return {
    name: 'envoy.transport_sockets.tls',
    typed_config: {
      ...type('envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext'),
      ...(!isAddress && { sni: serverName }),
      common_tls_context: {
        // Envoy's clients speak no newer one by default.
        tls_params: { tls_minimum_protocol_version: 'TLSv1_2', tls_maximum_protocol_version: 'TLSv1_3' },
        alpn_protocols: ['http/1.1'],
        ...(identity !== undefined && {
          tls_certificate_sds_secret_configs: [secretSource(identity, directory)],
        }),
        ...(!insecureSkipVerify && {
          combined_validation_context: {
            default_validation_context: {
              match_typed_subject_alt_names: [
                { san_type: isAddress ? 'IP_ADDRESS' : 'DNS', matcher: { exact: serverName } },
              ],
            },
            validation_context_sds_secret_config: secretSource(caNameOf(endpoint), directory),
          },
        }),
      },
    },
  };
}

/** How connections to the endpoints are made; empty where all are plain TCP. */
export function transportSocketsOf(endpoints: readonly EndpointConfig[], directory: string): JsonMap {
  const matches = new Map<string, JsonMap>();
  for (const endpoint of endpoints) {
    const tls = tlsNameOf(endpoint);
    if (tls === undefined) continue;
    matches.set(tls, {
      name: `tls-${tls}`,
      match: { tls },
      transport_socket: transportSocket(endpoint, directory),
    });
  }
  return matches.size === 0 ? {} : { transport_socket_matches: [...matches.values()] };
}

const WEIGHT_SCALE = 100;

/** Empty where none of the pool's endpoints has another weight than 1. */
export function weightOf({ weight = 1 }: EndpointConfig, endpoints: readonly EndpointConfig[]): JsonMap {
  if (endpoints.every((one) => (one.weight ?? 1) === 1)) return {};
  return { load_balancing_weight: Math.max(1, Math.round(weight * WEIGHT_SCALE)) };
}
