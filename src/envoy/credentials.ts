/**
 * Which of a request's credentials counts. Envoy's filter for API keys reads the first header that is there, and takes `Bearer KEY` as
 * it is written here alone. Clients send keys in several headers, `bearer` in other ways, and foreign credentials beside a key.
 *
 * A request of which that filter would read another thing than a key of ours goes through a script before it, which leaves that key
 * alone. It decides nothing: whether the key is one is said by the filter behind. So it needs no keys, only which ones may be: a few
 * bits of a hash. All other requests pass it by.
 */
import type { Config } from '../config/config.ts';
import { type JsonMap, type } from './envoy-json.ts';

/** Where clients send a key, in this order: OpenAI's, Anthropic's, Azure's. */
export const KEY_HEADERS = ['authorization', 'x-api-key', 'api-key'] as const;
/** Where the script puts it. */
const CHOSEN_HEADER = 'x-api-key';

export const CREDENTIALS_FILE = 'credentials.json';
const SCRIPT_NAME = 'fairlane.credentials';

/** Of a header that comes several times, so many are looked at. */
export const MOST_VALUES = 8;
/** Longer than any key may be. */
const LONGEST_KEY = 1_024;
const FACTOR = 65_599;
/** So few bits tell nobody the key. A foreign credential that has the same is refused, which it would be without a script. */
const HASH_MASK = 0xff_ffff;

/** Of a key in ASCII, or any other in UTF-8. The script has the same. */
export function hintOf(key: string): number {
  let hash = 0;
  for (const byte of Buffer.from(key, 'utf8')) hash = Math.imul(hash ^ byte, FACTOR);
  return hash & HASH_MASK;
}

/**
 * `is_plain(key)`: it may be one that is known in plain text. `key_in(value)`: the key in a header's value, or nil. `KEY_HEADERS`,
 * `remove_keys(headers)`.
 */
export const keysLua = (hints: readonly number[]): string => `
local bit = require("bit")
local plain = {${hints.map((hint) => `[${hint}]=1`).join(',')}}
local function is_plain(text)
  local hash = 0
  for i = 1, #text do hash = bit.tobit(bit.bxor(hash, text:byte(i)) * ${FACTOR}) end
  return plain[bit.band(hash, ${HASH_MASK})] ~= nil
end
local function key_in(value)
  if value == nil or #value > ${LONGEST_KEY} then return nil end
  return value:match("^%s*[Bb][Ee][Aa][Rr][Ee][Rr]%s+(.-)%s*$") or value:match("^%s*(.-)%s*$")
end
local KEY_HEADERS = {${KEY_HEADERS.map((name) => `"${name}"`).join(', ')}}
local function remove_keys(headers)
  for _, name in ipairs(KEY_HEADERS) do headers:remove(name) end
end
`;

const scriptOf = (hints: readonly number[]): string => `${keysLua(hints)}
function envoy_on_request(handle)
  local headers = handle:headers()
  for _, name in ipairs(KEY_HEADERS) do
    for i = 0, math.min(headers:getNumValues(name), ${MOST_VALUES}) - 1 do
      local key = key_in(headers:getAtIndex(name, i))
      if key ~= nil and is_plain(key) then
        remove_keys(headers)
        headers:add("${CHOSEN_HEADER}", key)
        return
      end
    end
  end
end
`;

/** Of the keys that are known in plain text. */
export const hintsOf = ({ tenants }: Pick<Config, 'tenants'>): readonly number[] => [
  ...new Set(
    [...tenants.values()].flatMap(({ keys }) =>
      keys.flatMap(({ secret }) => (secret.kind === 'plain' ? [hintOf(secret.value)] : [])),
    ),
  ),
];

/** For the file that Envoy watches: it follows the keys. */
export const credentialsScript = ({ tenants }: Pick<Config, 'tenants'>): JsonMap => ({
  ...type('envoy.config.core.v3.TypedExtensionConfig'),
  name: SCRIPT_NAME,
  typed_config: {
    ...type('envoy.extensions.filters.http.lua.v3.Lua'),
    default_source_code: {
      inline_string: scriptOf(hintsOf({ tenants })),
    },
  },
});

const header = (name: string, match: JsonMap): JsonMap => ({
  single_predicate: {
    input: {
      name: 'header',
      typed_config: {
        ...type('envoy.type.matcher.v3.HttpRequestHeaderMatchInput'),
        header_name: name,
      },
    },
    value_match: match,
  },
});
const anyOf = (predicate: readonly JsonMap[]): JsonMap => ({ or_matcher: { predicate } });
const allOf = (predicate: readonly JsonMap[]): JsonMap => ({ and_matcher: { predicate } });
const not = (predicate: JsonMap): JsonMap => ({ not_matcher: predicate });

const isThere = (name: string): JsonMap => header(name, { safe_regex: { google_re2: {}, regex: '.+' } });
/** Of the values of a header that comes several times there is a comma between two. */
const isOdd = (name: string, plain: JsonMap): JsonMap =>
  allOf([
    isThere(name),
    anyOf([not(plain), header(name, { contains: ',' }), header(name, { prefix: 'Bearer  ' })]),
  ]);

/** What the filter behind would not read as a client means it. */
const ODD: JsonMap = anyOf([
  isOdd('authorization', header('authorization', { prefix: 'Bearer ' })),
  ...['x-api-key', 'api-key'].map((name) => isOdd(name, not(header(name, { contains: ' ' })))),
  allOf([isThere('authorization'), anyOf([isThere('x-api-key'), isThere('api-key')])]),
  allOf([isThere('x-api-key'), isThere('api-key')]),
]);

/** Before the filter that knows the keys. */
export const credentialsFilter = ({ envoy }: Pick<Config, 'envoy'>): JsonMap => ({
  name: 'fairlane.choose_credentials',
  typed_config: {
    ...type('envoy.extensions.common.matching.v3.ExtensionWithMatcher'),
    extension_config: {
      name: 'composite',
      typed_config: type('envoy.extensions.filters.http.composite.v3.Composite'),
    },
    xds_matcher: {
      matcher_list: {
        matchers: [
          {
            predicate: ODD,
            on_match: {
              action: {
                name: 'composite-action',
                typed_config: {
                  ...type('envoy.extensions.filters.http.composite.v3.ExecuteFilterAction'),
                  dynamic_config: {
                    name: SCRIPT_NAME,
                    config_discovery: {
                      config_source: {
                        path_config_source: { path: `${envoy.directory}/${CREDENTIALS_FILE}` },
                        resource_api_version: 'V3',
                      },
                      type_urls: ['type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua'],
                    },
                  },
                },
              },
            },
          },
        ],
      },
    },
  },
});
