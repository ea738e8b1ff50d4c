/** Names that Envoy's configuration and the service must agree on. */

/** Request header that Envoy sets to the authenticated tenant. Clients cannot: the prefix is removed first. */
export const TENANT_HEADER = 'x-fairlane-tenant';
/** Request header that Envoy sets to the tier that a token names. Clients cannot either. */
export const TIER_HEADER = 'x-fairlane-tier';
/** Request header that Envoy sets to the id of the key that the client has shown. Clients cannot either. */
export const KEY_ID_HEADER = 'x-fairlane-key';
/** What Envoy says of who asks: for the service, and no engine's to know. */
export const IDENTITY_HEADERS: readonly string[] = [TENANT_HEADER, TIER_HEADER, KEY_ID_HEADER];
/** Keys that Fairlane makes begin so, and are at most 55 bytes long. */
export const MADE_KEY_PREFIX = 'fl_';
/*
 * What the service tells Envoy's routes has the form of a pseudo-header: a client that sends one is refused over HTTP/1.1 and HTTP/2,
 * and Envoy writes none to an HTTP/1.1 engine. An ordinary header that a route reads is under the client's control, however early
 * a filter removes it: the route is chosen before the first filter runs.
 */
/** Request header that the service sets to the cluster of the chosen pool. */
export const POOL_HEADER = ':fairlane-pool';
/**
 * Request header that the service sets to the cluster that gets a copy. Envoy reads it after the route and the filters on the way to
 * the engine have removed theirs: an ordinary one would reach the engine.
 */
export const MIRROR_HEADER = ':fairlane-shadow';
/** Response header that names the model that served a request, when it is not the one that was asked for. */
export const MODEL_HEADER = 'x-fairlane-model';
/** Response header of a tenant that runs one request at a time. Its value says why. */
export const LIMITED_HEADER = 'x-fairlane-limited';
/** What a client calls its request, in the request and in the answer: its own, or else the `x-request-id` that it sent. */
export const CLIENT_ID_HEADER = 'x-client-request-id';
/** Of it, so many bytes come back and are recorded. */
export const CLIENT_ID_BYTES = 128;
/** Every client-sent header with one of these prefixes is removed before a filter reads it: ours, and those that Envoy's router obeys. */
export const RESERVED_HEADER_PREFIXES = ['x-fairlane-', 'x-envoy-'] as const;
/**
 * Most headers of a request and most of their bytes, as Envoy counts them. Envoy itself takes somewhat more: what it and the service
 * add must have room, or it fails a request that it had taken.
 */
export const MAX_REQUEST_HEADERS = { count: 100, bytes: 60 * 1024 } as const;
/** Who a client is, and what it proves that with: for Fairlane, and never for an engine. */
export const CREDENTIAL_HEADERS: readonly string[] = [
  'authorization',
  'x-api-key',
  'api-key',
  'cookie',
  'proxy-authorization',
];
/** Dynamic metadata namespace of the service's replies. */
export const METADATA_NAMESPACE = 'fairlane';
/** Key in that namespace: ordered `ip:port,ip:port`, read by Envoy's override_host policy. */
export const ENDPOINTS_METADATA_KEY = 'endpoints';
/** Prefix of the response code details of an answer that the service wrote itself. */
export const RESPONSE_DETAILS_PREFIX = 'fairlane_';
/** What Envoy refuses without the service, as its statistics name it. The tag has the status, or the code where several have one status. */
export const REFUSALS_STAT = { prefix: 'fairlane', name: 'refusals', tag: 'status' } as const;
/** Envoy cluster of the service. */
export const SERVICE_CLUSTER = 'fairlane';
/** Envoy cluster of who has the public keys of tokens. */
export const JWKS_CLUSTER = 'fairlane-jwks';
/** Envoy cluster of a pool. */
export const clusterOfPool = (pool: string): string => `pool-${pool}`;
/** Envoy cluster of the copies for a pool. */
export const clusterOfMirror = (pool: string): string => `fairlane-shadow-${pool}`;

/** Every model that nothing names: in metrics, and where it is counted. No name of a model. */
export const UNLISTED_MODEL = '(not configured)';

/** The Endpoint Picker Protocol of the Gateway API Inference Extension (proposal 004). */
export const PICKER = {
  /** Header of the request, and key of the metadata that says the same: ordered `ip:port,ip:port`. */
  destination: 'x-gateway-destination-endpoint',
  metadataNamespace: 'envoy.lb',
  /** What a gateway may choose from. */
  subsetNamespace: 'envoy.lb.subset_hint',
  subsetKey: 'x-gateway-destination-endpoint-subset',
  /** With the answer: who served it. */
  servedKey: 'x-gateway-destination-endpoint-served',
  fairnessId: 'x-gateway-inference-fairness-id',
  /** The model that is to serve; of two, the first. */
  modelRewrites: ['x-llm-d-model-name-rewrite', 'x-gateway-model-name-rewrite'],
  /** Of the conformance tests: endpoints to choose from, and what an answer says of it. */
  testSelection: 'test-epp-endpoint-selection',
  testServed: 'x-conformance-test-served-endpoint',
  testSelected: 'x-conformance-test-selected-endpoint',
} as const;
