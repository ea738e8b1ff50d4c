/**
 * Every header that the generated configuration reads, sets or removes, found by walking it, and every extension in it. A new one fails
 * here until it is said who may set it: nothing that a client sends may decide a route, a cluster or a tenant.
 */
import { describe, expect, it } from 'vitest';
import type { Config, EndpointConfig } from '../../../src/config/config.ts';
import { bootstrapOf, httpFiltersOf, routesOf } from '../../../src/envoy/bootstrap.ts';
import { dynamicFilesOf } from '../../../src/envoy/dynamic-files.ts';
import { createWorld } from '../../support/lifecycle.ts';
import { plainKey } from '../../support/plain-key.ts';

const { config: plain } = createWorld();
const [pool] = plain.pools.values();
if (pool === undefined) throw new Error('there is no pool');
const guarded: EndpointConfig = {
  url: 'https://engine:443/llm',
  host: 'engine',
  port: 443,
  prefix: '/llm',
  pool: 'guarded',
  apiKey: { value: 'key', of: 'pool' },
  tls: { identity: { value: 'key', cert: 'certificate', of: 'pool' } },
};
/** With all that adds to Envoy's configuration. */
const config: Config = {
  ...plain,
  listen: [
    ...plain.listen,
    {
      address: { host: '0.0.0.0', port: 8443 },
      tls: { cert: 'certificate', key: 'key', clientCa: 'authority' },
    },
  ],
  jwt: {
    issuer: 'issuer',
    audiences: [],
    jwks: { kind: 'url', url: 'https://issuer.test/keys', host: 'issuer.test', port: 443, ca: 'authority' },
    tenantClaim: 'tenant',
    tierClaim: 'tier',
    visitors: { tier: 'free', limits: new Map(), most: 10 },
  },
  pools: new Map([...plain.pools, ['copies', { ...pool, name: 'copies', endpoints: [guarded] }]]),
  models: new Map(
    [...plain.models].map(([name, model]) => [
      name,
      {
        ...model,
        mirror: { pool: 'copies', fraction: 1, maxConcurrent: 2, perSecond: 1, maxDurationMs: 1_000 },
      },
    ]),
  ),
  tenants: new Map(
    [...plain.tenants].map(([name, tenant]) => [name, { ...tenant, keys: [plainKey(`key-${name}`)] }]),
  ),
};

type Found = Map<string, Set<string>>;

/** A field whose value, or what is in it, names headers. `headers_to_add` and matchers hold them in `key` and `name`. */
const NAMES = /header/;
/** Where the name stands in it; empty: in a list. */
const NAMED_BY = /^(key|name|header|header_name|cluster_header|)$/;
/** Fields that have the word in their name and name none. */
const NO_NAMES =
  /^(server_header_transformation|suppress_envoy_headers|request_headers_timeout|max_headers_count|max_request_headers_kb|headers_with_underscores_action|(request|response)_header_mode|enable_x_ratelimit_headers)$/;

function walk(value: unknown, found: Found, types: Set<string>, field = '', within = ''): void {
  if (typeof value === 'string') {
    if (field === '@type') types.add(value.slice(value.lastIndexOf('/') + 1));
    else if (within !== '' && (NAMED_BY.test(field) || (within === 'key_matcher' && field !== 'regex'))) {
      found.set(value, (found.get(value) ?? new Set()).add(within));
    }
    return;
  }
  if (typeof value !== 'object' || value === null) return;
  for (const [key, inner] of Object.entries(value)) {
    const names = NAMES.test(key) && !NO_NAMES.test(key);
    const isList = Array.isArray(value);
    const removes = key === 'remove_on_match' || key === 'key_matcher';
    const inside = names || removes ? key : within;
    // An element of a list of names is one: `request_headers_to_remove`.
    walk(inner, found, types, isList ? (typeof inner === 'string' ? '' : field) : key, inside);
  }
}

const found: Found = new Map();
const types = new Set<string>();
walk(bootstrapOf(config), found, types);
for (const content of dynamicFilesOf(config, new Map()).values()) walk(content, found, types);

/** Who may set a header of a request that decides something, and why nobody else can. */
const WHO = {
  service: 'the service; Envoy refuses a client’s request that has it (tests/envoy/control-headers.test.ts)',
  envoy: 'Envoy; a client’s own is removed or overwritten before anything reads it',
  client: 'the client: it is the request itself, and the routes are a list of what is allowed',
  credential: 'the client: it proves who that is',
  answer: 'Envoy, in an answer',
} as const;

const CONTROL: Readonly<Record<string, (typeof WHO)[keyof typeof WHO]>> = {
  ':fairlane-pool': WHO.service,
  ':fairlane-shadow': WHO.service,
  ':method': WHO.client,
  ':path': WHO.client,
  // For the words of an error.
  'content-length': WHO.client,
  'x-fairlane-tenant': WHO.envoy,
  'x-fairlane-tier': WHO.envoy,
  'x-fairlane-': WHO.envoy,
  // Of an attempt, between two filters towards the engine (attempts.ts).
  'x-fairlane-sent': WHO.envoy,
  // The same: whose endpoint it is, by its metadata (engine-access.ts).
  'x-fairlane-key': WHO.envoy,
  'x-fairlane-host': WHO.envoy,
  'x-fairlane-prefix': WHO.envoy,
  'x-envoy-': WHO.envoy,
  // Of a client; towards an engine its own key, in place of whatever was there.
  authorization: WHO.credential,
  'api-key': WHO.credential,
  'x-api-key': WHO.credential,
  'retry-after': WHO.answer,
  'retry-after-ms': WHO.answer,
  'x-should-retry': WHO.answer,
  'x-request-id': WHO.envoy,
  // The same again, where other clients look for it.
  'request-id': WHO.answer,
  // For the shape of an error.
  'anthropic-version': WHO.client,
  'x-client-request-id': WHO.client,
  // The name of the extension that keeps it.
  'fairlane.client_request_id': WHO.client,
};

/** What each extension reads of a request that the configuration does not name. */
const EXTENSIONS: Readonly<Record<string, string>> = {
  'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager':
    'x-forwarded-*, x-request-id: decide nothing; use_remote_address sets the client’s address',
  'envoy.extensions.filters.http.header_mutation.v3.HeaderMutation': 'removes what it names',
  'envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth': 'its key_sources',
  'envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor': 'none: it shows all of them to the service',
  'envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute': 'none',
  'envoy.extensions.filters.http.router.v3.Router': 'x-envoy-*, which the first filter removes',
  'envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec': 'none',
  'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': 'none',
  'envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter': 'none: details of the answer',
  'envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost':
    'none: dynamic metadata, which only the service sets',
  'envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest': 'none',
  'envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig': 'none',
  'envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig': 'none',
  'envoy.config.overload.v3.ScaleTimersOverloadActionConfig': 'none',
  'envoy.extensions.filters.http.lua.v3.Lua':
    'x-fairlane-sent, -host and -prefix, which the filter before it sets for each attempt, and :path, to which it adds the prefix, and for the shape of an error',
  'envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation':
    'x-request-id, kept as x-client-request-id, which decides nothing',
  'envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication':
    'authorization; whether there is an x-api-key decides only who says no. It sets what claim_to_headers names',
  'envoy.extensions.common.matching.v3.ExtensionWithMatcher':
    'of clients: the credentials, and x-fairlane-tenant, which only jwt_authn can have set before; towards engines: x-fairlane-key, which the filter before it sets for each attempt',
  'envoy.extensions.filters.http.composite.v3.Composite': 'none',
  'envoy.extensions.filters.http.composite.v3.ExecuteFilterAction':
    'none; its script reads the credentials and leaves the one that may be a key, which the next filter looks up',
  'envoy.extensions.access_loggers.stats.v3.Config': 'none: the status of the answer',
  'envoy.extensions.stat_sinks.open_telemetry.v3.SinkConfig': 'none',
  'envoy.extensions.stat_sinks.open_telemetry.v3.SinkConfig.DropAction': 'none',
  'envoy.extensions.matching.common_inputs.stats.v3.StatFullNameMatchInput': 'none',
  'envoy.extensions.filters.common.matcher.action.v3.SkipFilter': 'none',
  'envoy.type.matcher.v3.HttpRequestHeaderMatchInput': 'what it names',
  'envoy.extensions.filters.http.rbac.v3.RBAC': 'x-fairlane-tenant and :fairlane-pool',
  'envoy.extensions.filters.http.rbac.v3.RBACPerRoute': 'none',
  'envoy.config.rbac.v3.Action': 'none',
  'envoy.extensions.filters.http.credential_injector.v3.CredentialInjector':
    'none: it sets authorization towards an engine',
  'envoy.extensions.http.injected_credentials.generic.v3.Generic': 'none',
  'envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext': 'none',
  'envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext': 'none',
  'envoy.extensions.transport_sockets.tls.v3.Secret': 'none',
  'envoy.config.cluster.v3.Cluster': 'none',
  'envoy.config.endpoint.v3.ClusterLoadAssignment': 'none',
  'envoy.config.core.v3.TypedExtensionConfig': 'none',
  'envoy.config.route.v3.FilterConfig':
    'none: it switches a filter off for HEAD /, which Envoy answers itself',
};

describe('the headers of Envoy’s configuration', () => {
  it('are all known, with who may set them', () => {
    expect([...found.keys()].sort()).toEqual(Object.keys(CONTROL).sort());
  });

  it('are found where they stand', () => {
    expect([...(found.get(':fairlane-pool') ?? [])].sort()).toEqual([
      'cluster_header',
      // Tenants that are not configured pass once the service has sent them on (tokens.ts).
      'header_name',
      'headers',
    ]);
    expect(found.get(':fairlane-shadow')).toEqual(new Set(['cluster_header']));
  });

  it('choose a cluster only in the form of a pseudo-header', () => {
    const chosen = [...found].filter(([, places]) => places.has('cluster_header')).map(([name]) => name);
    expect(chosen.every((name) => name.startsWith(':fairlane-'))).toBe(true);
    const matched = routesOf(config).flatMap((route) => {
      const { headers = [] } = route['match'] as { readonly headers?: readonly { readonly name: string }[] };
      return headers.map(({ name }) => name);
    });
    expect(new Set(matched)).toEqual(new Set([':method', ':fairlane-pool', 'content-length']));
  });

  it('choose no endpoint: metadata does', () => {
    const text = JSON.stringify([...dynamicFilesOf(config, new Map()).values()]);
    const sources = [...text.matchAll(/"override_host_sources":(\[.*?\]\}\}\])/g)].map(
      ([, source]) => source,
    );
    expect(sources.length).toBe(config.pools.size);
    expect(new Set(sources)).toEqual(
      new Set(['[{"metadata":{"key":"fairlane","path":[{"key":"endpoints"}]}}]']),
    );
  });

  it('that are reserved go before any other filter', () => {
    expect(JSON.stringify(httpFiltersOf(config)[0])).toMatch(/"prefix":"x-fairlane-".*"prefix":"x-envoy-"/);
  });

  it('are read by no extension that nobody has looked at', () => {
    expect([...types].sort()).toEqual(Object.keys(EXTENSIONS).sort());
  });
});
