/**
 * The filters that ask for keys, each from a file that Envoy watches, in this order:
 *
 * 1. Keys of which only a hash is known (hashed-keys.ts): a script names tenant and key where it finds one.
 * 2. Which key it is: Envoy's filter for API keys, whose client is the key's id. It leaves the key where it is.
 * 3. Whose it is: the same filter, whose client is the tenant. It takes the key away.
 *
 * Two looks in a table cost less than one, and something that takes its answer apart. The files need not change at one moment: who is
 * in one of them alone is refused.
 */
import type { Config } from '../config/config.ts';
import { KEY_ID_HEADER, TENANT_HEADER } from '../domain/names.ts';
import { KEY_HEADERS } from './credentials.ts';
import { type JsonMap, type } from './envoy-json.ts';
import { HASHED_KEYS_FILE, HASHED_KEYS_FILTER, hasHashedKeys, hashedKeys } from './hashed-keys.ts';
import { MATCHER_TYPE, unlessTenantIsKnown } from './tokens.ts';

const API_KEY_FILTER = 'fairlane.api_key_auth';
const KEY_ID_FILTER = 'fairlane.key_ids';
const API_KEYS_FILE = 'api-keys.json';
const KEY_IDS_FILE = 'key-ids.json';
const API_KEY_TYPE = 'envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth';

/** What refuses who has no key. */
export const KEY_FILTERS: readonly string[] = [KEY_ID_FILTER, API_KEY_FILTER];

const watched = (config: Config, name: string, file: string, types: readonly string[]): JsonMap => ({
  name,
  config_discovery: {
    config_source: {
      path_config_source: { path: `${config.envoy.directory}/${file}` },
      resource_api_version: 'V3',
    },
    type_urls: types.map((one) => `type.googleapis.com/${one}`),
  },
});

/** Before the filter that chooses among several credentials. */
export const hashedKeyFilter = (config: Config): JsonMap =>
  watched(config, HASHED_KEYS_FILTER, HASHED_KEYS_FILE, [MATCHER_TYPE]);

/** Behind it. They are wrapped where something else may have named a tenant before. */
export const keyFilters = (config: Config): readonly JsonMap[] => [
  watched(config, KEY_ID_FILTER, KEY_IDS_FILE, [API_KEY_TYPE, MATCHER_TYPE]),
  watched(config, API_KEY_FILTER, API_KEYS_FILE, [API_KEY_TYPE, MATCHER_TYPE]),
];

/**
 * File name → discovery response.
 *
 * @param config without keys that have expired. @param isBesideTokens a token may have named the tenant already.
 */
export function keyFilesOf(config: Config, isBesideTokens: boolean): readonly (readonly [string, JsonMap])[] {
  const isNamed = isBesideTokens || hasHashedKeys(config);
  const file = (
    name: string,
    forwarding: JsonMap,
    clientOf: (tenant: string, id: string) => string,
  ): JsonMap => {
    const filter: JsonMap = {
      ...type(API_KEY_TYPE),
      credentials: [...config.tenants.values()].flatMap(({ name: tenant, keys }) =>
        keys.flatMap(({ id, secret }) =>
          secret.kind === 'plain' ? [{ key: secret.value, client: clientOf(tenant, id) }] : [],
        ),
      ),
      key_sources: KEY_HEADERS.map((header) => ({ header })),
      forwarding,
    };
    const typed = isNamed ? unlessTenantIsKnown(name, filter) : filter;
    return {
      resources: [{ ...type('envoy.config.core.v3.TypedExtensionConfig'), name, typed_config: typed }],
    };
  };
  return [
    [HASHED_KEYS_FILE, { resources: [hashedKeys(config)] }],
    [KEY_IDS_FILE, file(KEY_ID_FILTER, { header: KEY_ID_HEADER }, (_, id) => id)],
    [
      API_KEYS_FILE,
      file(API_KEY_FILTER, { header: TENANT_HEADER, hide_credentials: true }, (tenant) => tenant),
    ],
  ];
}
