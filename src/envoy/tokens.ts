/**
 * Tokens (JWT) in Envoy, so that identity holds while the service is away. Three filters, each from a file that Envoy watches:
 *
 * 1. jwt_authn checks a token and sets the tenant that it names. A request with a token and no key ends here when the token is bad.
 * 2. api_key_auth (dynamic-files.ts) asks for a key where no token has named a tenant.
 * 3. rbac lets through the tenants that are configured; others get 403. With `unknownTenants` it stands behind the service, which
 *    bounds them, and lets through whom that has sent to a pool: while it is away, only tenants that are configured.
 */
import type { Config, JwtConfig } from '../config/config.ts';
import { JWKS_CLUSTER, POOL_HEADER, TENANT_HEADER, TIER_HEADER } from '../domain/names.ts';
import { secretSource } from './engine-secrets.ts';
import { duration, type JsonMap, type } from './envoy-json.ts';

const TOKENS_FILE = 'tokens.json';
const TENANTS_FILE = 'tenants.json';
const JWKS_CA = 'jwks-ca';
const JWT_FILTER = 'fairlane.jwt_authn';
const TENANTS_FILTER = 'fairlane.tenants';

const JWT_TYPE = 'envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication';
const RBAC_TYPE = 'envoy.extensions.filters.http.rbac.v3.RBAC';
export const MATCHER_TYPE = 'envoy.extensions.common.matching.v3.ExtensionWithMatcher';

/** An issuer that is slow holds up those whose tokens nobody has checked yet. */
const FETCH_MS = 3_000;
const KEYS_GOOD_FOR_MS = 300_000;
/** Questions at once, where none has been answered yet: more tokens get a 503 at once. */
const MOST_FETCHES = 16;
/** Name of the rule, and so part of the response code details. */
const UNKNOWN = 'unknown_tenant';
/** Response code details of a refusal for a tenant that is not configured. */
export const UNKNOWN_TENANT_DETAILS = `rbac_access_denied_matched_policy[${UNKNOWN}]`;
/** Of a refused token, the beginning. */
export const TOKEN_DETAILS_PREFIX = 'jwt_authn_access_denied';

/** Of a header that looks like a token: three parts, the first an encoded `{"`. */
const TOKEN = '(?i:bearer) +eyJ[A-Za-z0-9_-]*[.][A-Za-z0-9_-]*[.][A-Za-z0-9_-]*';

/** A value without line breaks. */
const ANYTHING: JsonMap = { safe_regex: { google_re2: {}, regex: '.+' } };

export const header = (name: string): JsonMap => ({
  name: 'header',
  typed_config: {
    ...type('envoy.type.matcher.v3.HttpRequestHeaderMatchInput'),
    header_name: name,
  },
});

const watched = (config: Config, name: string, file: string, typeName: string): JsonMap => ({
  name,
  config_discovery: {
    config_source: {
      path_config_source: { path: `${config.envoy.directory}/${file}` },
      resource_api_version: 'V3',
    },
    type_urls: [`type.googleapis.com/${typeName}`],
  },
});

/** Before keys are asked for; none where no tokens are taken. */
export const tokenFilters = (config: Config): readonly JsonMap[] =>
  config.jwt === undefined ? [] : [watched(config, JWT_FILTER, TOKENS_FILE, JWT_TYPE), removeRefusedToken];

/** Which of the tenants that a token may name are let through. */
export const tenantFilters = (
  config: Config,
  place: 'before-service' | 'after-service',
): readonly JsonMap[] => {
  if (config.jwt === undefined) return [];
  return [watched(config, filterAt(place), fileAt(place), RBAC_TYPE)];
};

/** Of a route that answers whoever has a key or a token. */
export const withoutTenantFilter = (config: Config): JsonMap =>
  config.jwt === undefined
    ? {}
    : { [filterAt('after-service')]: type('envoy.extensions.filters.http.rbac.v3.RBACPerRoute') };

type Place = Parameters<typeof tenantFilters>[1];
const filterAt = (place: Place): string => `${TENANTS_FILTER}_${place.replace('-', '_')}`;
const fileAt = (place: Place): string =>
  place === 'before-service' ? TENANTS_FILE : `after-${TENANTS_FILE}`;

/** For a route that is answered whoever asks: what would say no before. */
export const identityFilterNames = (config: Config): readonly string[] =>
  config.jwt === undefined ? [] : [JWT_FILTER, filterAt('before-service'), filterAt('after-service')];

const resource = (name: string, typed: JsonMap): JsonMap => ({
  resources: [{ ...type('envoy.config.core.v3.TypedExtensionConfig'), name, typed_config: typed }],
});

/** File name → discovery response, of an Envoy that takes tokens. @param config may take none any more. */
export function tokenFilesOf(config: Config): ReadonlyMap<string, JsonMap> {
  const { jwt } = config;
  const isOpen = jwt?.visitors !== undefined;
  return new Map<string, JsonMap>([
    [fileAt('before-service'), resource(filterAt('before-service'), isOpen ? anybody : knownOnly(config))],
    [fileAt('after-service'), resource(filterAt('after-service'), isOpen ? knownOnly(config) : anybody)],
    [TOKENS_FILE, resource(JWT_FILTER, { ...type(JWT_TYPE), ...(jwt !== undefined && authentication(jwt)) })],
  ]);
}

function authentication(jwt: JwtConfig): JsonMap {
  const isToken: JsonMap = { name: 'authorization', string_match: { safe_regex: { regex: TOKEN } } };
  const token: JsonMap = { provider_name: 'token' };
  return {
    providers: { token: providerOf(jwt) },
    // The first that matches. A key that is no token is for the next filter.
    rules: [
      {
        match: { prefix: '/', headers: [isToken, { name: 'x-api-key', present_match: true }] },
        // One of both suffices: a token that is not valid is nobody's, and the key decides.
        requires: { requires_any: { requirements: [token, { allow_missing_or_failed: {} }] } },
      },
      { match: { prefix: '/', headers: [isToken] }, requires: token },
    ],
  };
}

const providerOf = ({ issuer, audiences, jwks, tenantClaim, tierClaim }: JwtConfig): JsonMap => ({
  issuer,
  ...(audiences.length > 0 && { audiences }),
  require_expiration: true,
  // By default it is also taken from the query, which is logged on the way.
  from_headers: ['Bearer ', 'bearer ', 'BEARER '].map((prefix) => ({
    name: 'authorization',
    value_prefix: prefix,
  })),
  claim_to_headers: [
    { header_name: TENANT_HEADER, claim_name: tenantClaim },
    ...(tierClaim === undefined ? [] : [{ header_name: TIER_HEADER, claim_name: tierClaim }]),
  ],
  ...(jwks.kind === 'keys'
    ? { local_jwks: { inline_string: jwks.text } }
    : {
        remote_jwks: {
          http_uri: { uri: jwks.url, cluster: JWKS_CLUSTER, timeout: duration(FETCH_MS) },
          cache_duration: duration(KEYS_GOOD_FOR_MS),
          // Read again in good time, and kept while the issuer does not answer.
          async_fetch: { fast_listener: true },
        },
      }),
});

const anybody: JsonMap = type(RBAC_TYPE);

/** A look in a table: it costs the same with ten thousand tenants. */
function knownOnly({ tenants, jwt }: Config): JsonMap {
  const action = (name: string, what: 'ALLOW' | 'DENY'): JsonMap => ({
    action: {
      name: 'action',
      typed_config: { ...type('envoy.config.rbac.v3.Action'), name, action: what },
    },
  });
  const sentByService: JsonMap = {
    matcher: {
      matcher_list: {
        matchers: [
          {
            predicate: {
              single_predicate: { input: header(POOL_HEADER), value_match: ANYTHING },
            },
            on_match: action('sent_by_service', 'ALLOW'),
          },
        ],
      },
      on_no_match: action(UNKNOWN, 'DENY'),
    },
  };
  const otherwise = jwt?.visitors === undefined ? action(UNKNOWN, 'DENY') : sentByService;
  const known = Object.fromEntries([...tenants.keys()].map((name) => [name, action('known', 'ALLOW')]));
  return {
    ...anybody,
    matcher:
      tenants.size === 0
        ? matcherOf(otherwise)
        : {
            matcher_tree: { input: header(TENANT_HEADER), exact_match_map: { map: known } },
            on_no_match: otherwise,
          },
  };
}

/** What is to be done whatever comes. */
const matcherOf = (onMatch: JsonMap): JsonMap =>
  'matcher' in onMatch ? (onMatch['matcher'] as JsonMap) : { on_no_match: onMatch };

const SKIP: JsonMap = {
  action: {
    name: 'skip',
    typed_config: type('envoy.extensions.filters.common.matcher.action.v3.SkipFilter'),
  },
};

/** A filter that is passed by where the predicate is true of the request's headers. */
export const unless = (predicate: JsonMap, name: string, filter: JsonMap): JsonMap => ({
  ...type(MATCHER_TYPE),
  extension_config: { name, typed_config: filter },
  xds_matcher: { matcher_list: { matchers: [{ predicate, on_match: SKIP }] } },
});

/** Something has named a tenant. */
export const TENANT_IS_KNOWN: JsonMap = {
  single_predicate: { input: header(TENANT_HEADER), value_match: ANYTHING },
};

/** The filter that asks for keys, passed by where a token, or a hashed key, has named a tenant. */
export const unlessTenantIsKnown = (name: string, filter: JsonMap): JsonMap =>
  unless(TENANT_IS_KNOWN, name, filter);

/** A token is no key: what is left of one that was not valid does not hide the key beside it. */
const removeRefusedToken: JsonMap = {
  name: 'fairlane.remove_refused_token',
  typed_config: unless(
    {
      not_matcher: {
        single_predicate: {
          input: header('authorization'),
          value_match: { safe_regex: { google_re2: {}, regex: TOKEN } },
        },
      },
    },
    'fairlane.remove_refused_token',
    {
      ...type('envoy.extensions.filters.http.header_mutation.v3.HeaderMutation'),
      mutations: { request_mutations: [{ remove: 'authorization' }] },
    },
  ),
};

/** File name → discovery response: the authorities of whoever gives the issuer's keys, as the cluster asks for them. */
export function jwksSecretFilesOf({ jwt }: Config): ReadonlyMap<string, JsonMap> {
  const ca = jwt?.jwks.kind === 'url' ? jwt.jwks.ca : undefined;
  if (ca === undefined) return new Map();
  const secret = {
    ...type('envoy.extensions.transport_sockets.tls.v3.Secret'),
    name: JWKS_CA,
    validation_context: { trusted_ca: { inline_string: ca } },
  };
  return new Map([[`${JWKS_CA}.json`, { resources: [secret] }]]);
}

/** Where the issuer's keys are read; none where they are in a file. */
export function jwksClusters({ jwt, envoy }: Config): readonly JsonMap[] {
  if (jwt?.jwks.kind !== 'url') return [];
  const { host, port, ca } = jwt.jwks;
  return [
    {
      ...type('envoy.config.cluster.v3.Cluster'),
      name: JWKS_CLUSTER,
      type: 'STRICT_DNS',
      connect_timeout: '2s',
      circuit_breakers: {
        thresholds: [{ max_requests: MOST_FETCHES, max_pending_requests: MOST_FETCHES }],
      },
      load_assignment: {
        cluster_name: JWKS_CLUSTER,
        endpoints: [
          {
            lb_endpoints: [
              { endpoint: { address: { socket_address: { address: host, port_value: port } } } },
            ],
          },
        ],
      },
      ...(ca !== undefined && { transport_socket: tlsTo(host, envoy.directory) }),
    },
  ];
}

const IS_ADDRESS = /^[\d.]+$|:/;

const tlsTo = (host: string, directory: string): JsonMap => ({
  name: 'envoy.transport_sockets.tls',
  typed_config: {
    ...type('envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext'),
    ...(!IS_ADDRESS.test(host) && { sni: host }),
    common_tls_context: {
      tls_params: { tls_minimum_protocol_version: 'TLSv1_2' },
      combined_validation_context: {
        default_validation_context: {
          match_typed_subject_alt_names: [
            { san_type: IS_ADDRESS.test(host) ? 'IP_ADDRESS' : 'DNS', matcher: { exact: host } },
          ],
        },
        validation_context_sds_secret_config: secretSource(JWKS_CA, directory),
      },
    },
  },
});
