/**
 * Keys of which only a hash is known. Envoy's filter for API keys compares plain text, so a script stands before it: it hashes what a
 * client shows, and looks the digest up in a table of its own. Where it is there, the script says whose key it is and takes all
 * credentials away, and the filters that ask for keys are passed by; where not, those decide, as if there were no script.
 *
 * A look in a table by digest takes another time for another key, and tells nothing: whoever measured it would learn the beginnings
 * of digests, and nobody can make a key for the beginning of a digest.
 *
 * The script runs for requests that may have such a key: made keys begin with a word of their own. Where a configuration has
 * hashes, of keys that may be anything, it runs for all.
 */
import type { Config } from '../config/config.ts';
import { KEY_ID_HEADER, MADE_KEY_PREFIX, TENANT_HEADER } from '../domain/names.ts';
import { CONFIGURED_KEY_PREFIX } from '../domain/tenant-key.ts';
import { hintsOf, KEY_HEADERS, keysLua, MOST_VALUES } from './credentials.ts';
import { type JsonMap, type } from './envoy-json.ts';
import { header, TENANT_IS_KNOWN, unless } from './tokens.ts';

export const HASHED_KEYS_FILE = 'hashed-keys.json';
export const HASHED_KEYS_FILTER = 'fairlane.hashed_keys';

/** Two blocks of SHA-256. With the number of values that are hashed it bounds what a request may cost. */
const LONGEST_HASHED = 119;
const MOST_HASHED = 8;

/**
 * `sha256(text)` gives 64 hexadecimal digits. FIPS 180-4, section 6.2, on signed 32-bit numbers, as LuaJIT's `bit` has them. Of a
 * text shorter than 2^29 bytes.
 */
export const SHA256_LUA = `
local bit = require("bit")
local band, bnot, bxor, ror, shr, tobit, tohex = bit.band, bit.bnot, bit.bxor, bit.ror, bit.rshift, bit.tobit, bit.tohex
local K = {
  0x428a2f98,0x71374491,0xb5c0fbcf,0xe9b5dba5,0x3956c25b,0x59f111f1,0x923f82a4,0xab1c5ed5,
  0xd807aa98,0x12835b01,0x243185be,0x550c7dc3,0x72be5d74,0x80deb1fe,0x9bdc06a7,0xc19bf174,
  0xe49b69c1,0xefbe4786,0x0fc19dc6,0x240ca1cc,0x2de92c6f,0x4a7484aa,0x5cb0a9dc,0x76f988da,
  0x983e5152,0xa831c66d,0xb00327c8,0xbf597fc7,0xc6e00bf3,0xd5a79147,0x06ca6351,0x14292967,
  0x27b70a85,0x2e1b2138,0x4d2c6dfc,0x53380d13,0x650a7354,0x766a0abb,0x81c2c92e,0x92722c85,
  0xa2bfe8a1,0xa81a664b,0xc24b8b70,0xc76c51a3,0xd192e819,0xd6990624,0xf40e3585,0x106aa070,
  0x19a4c116,0x1e376c08,0x2748774c,0x34b0bcb5,0x391c0cb3,0x4ed8aa4a,0x5b9cca4f,0x682e6ff3,
  0x748f82ee,0x78a5636f,0x84c87814,0x8cc70208,0x90befffa,0xa4506ceb,0xbef9a3f7,0xc67178f2
}
local W = {}
for i = 1, 64 do K[i] = tobit(K[i]) W[i] = 0 end
local function sha256(text)
  local bits = #text * 8
  local padded = text .. "\\128" .. string.rep("\\0", (55 - #text) % 64 + 4)
    .. string.char(shr(bits, 24), band(shr(bits, 16), 255), band(shr(bits, 8), 255), band(bits, 255))
  local h1, h2, h3, h4 = tobit(0x6a09e667), tobit(0xbb67ae85), tobit(0x3c6ef372), tobit(0xa54ff53a)
  local h5, h6, h7, h8 = tobit(0x510e527f), tobit(0x9b05688c), tobit(0x1f83d9ab), tobit(0x5be0cd19)
  for at = 1, #padded, 64 do
    for i = 1, 16 do
      local b1, b2, b3, b4 = padded:byte(at + i * 4 - 4, at + i * 4 - 1)
      W[i] = tobit(b1 * 16777216 + b2 * 65536 + b3 * 256 + b4)
    end
    for i = 17, 64 do
      local x, y = W[i - 15], W[i - 2]
      local s0 = bxor(ror(x, 7), ror(x, 18), shr(x, 3))
      local s1 = bxor(ror(y, 17), ror(y, 19), shr(y, 10))
      W[i] = tobit(W[i - 16] + s0 + W[i - 7] + s1)
    end
    local a, b, c, d, e, f, g, h = h1, h2, h3, h4, h5, h6, h7, h8
    for i = 1, 64 do
      local t1 = h + bxor(ror(e, 6), ror(e, 11), ror(e, 25)) + bxor(band(e, f), band(bnot(e), g)) + K[i] + W[i]
      local t2 = bxor(ror(a, 2), ror(a, 13), ror(a, 22)) + bxor(band(a, b), band(a, c), band(b, c))
      a, b, c, d, e, f, g, h = tobit(t1 + t2), a, b, c, tobit(d + t1), e, f, g
    end
    h1, h2, h3, h4 = tobit(h1 + a), tobit(h2 + b), tobit(h3 + c), tobit(h4 + d)
    h5, h6, h7, h8 = tobit(h5 + e), tobit(h6 + f), tobit(h7 + g), tobit(h8 + h)
  end
  return tohex(h1) .. tohex(h2) .. tohex(h3) .. tohex(h4) .. tohex(h5) .. tohex(h6) .. tohex(h7) .. tohex(h8)
end
`;

/** Who has a hash, and by which id. */
interface Owner {
  readonly digest: string;
  readonly tenant: string;
  readonly id: string;
}

const NOTHING_QUOTED = /^[\w.@|+=-]*$/;
/** Names and ids have nothing that a text of Lua would have to quote; what has is nobody's. */
const mayStand = ({ digest, tenant, id }: Owner): boolean =>
  /^[0-9a-f]{64}$/.test(digest) && NOTHING_QUOTED.test(tenant) && NOTHING_QUOTED.test(id);

const scriptOf = (
  owners: readonly Owner[],
  hints: readonly number[],
): string => `${keysLua(hints)}${SHA256_LUA}
local owners = {${owners.map(({ digest, tenant, id }) => `["${digest}"]="${tenant} ${id}"`).join(',')}}
function envoy_on_request(handle)
  local headers = handle:headers()
  local left = ${MOST_HASHED}
  for _, name in ipairs(KEY_HEADERS) do
    for i = 0, math.min(headers:getNumValues(name), ${MOST_VALUES}) - 1 do
      local key = key_in(headers:getAtIndex(name, i))
      if key ~= nil and #key <= ${LONGEST_HASHED} and left > 0 then
        left = left - 1
        local owner = owners[sha256(key)]
        if owner ~= nil then
          local tenant, id = owner:match("^(%S+) (%S+)$")
          remove_keys(headers)
          headers:replace("${TENANT_HEADER}", tenant)
          headers:replace("${KEY_ID_HEADER}", id)
          return
        end
      end
      if key ~= nil and is_plain(key) then return end
    end
  end
end
`;

const ownersOf = ({ tenants }: Pick<Config, 'tenants'>): readonly Owner[] =>
  [...tenants.values()].flatMap(({ name: tenant, keys }) =>
    keys.flatMap(({ id, secret }) =>
      secret.kind === 'sha256' ? [{ digest: secret.digest, tenant, id }].filter(mayStand) : [],
    ),
  );

export const hasHashedKeys = ({ tenants }: Pick<Config, 'tenants'>): boolean =>
  [...tenants.values()].some(({ keys }) => keys.some(({ secret }) => secret.kind === 'sha256'));

const mayHaveMadeKey: JsonMap = {
  or_matcher: {
    predicate: KEY_HEADERS.map((name) => ({
      single_predicate: { input: header(name), value_match: { contains: MADE_KEY_PREFIX } },
    })),
  },
};

/** Of a request: there is nothing for the script to do. */
function nothingToDo(owners: readonly Owner[]): JsonMap {
  if (owners.some(({ id }) => id.startsWith(CONFIGURED_KEY_PREFIX))) return TENANT_IS_KNOWN;
  return { or_matcher: { predicate: [TENANT_IS_KNOWN, { not_matcher: mayHaveMadeKey }] } };
}

const ALWAYS: JsonMap = { or_matcher: { predicate: [TENANT_IS_KNOWN, { not_matcher: TENANT_IS_KNOWN }] } };

/** For the file that Envoy watches. */
export function hashedKeys(config: Pick<Config, 'tenants'>): JsonMap {
  const owners = ownersOf(config);
  const script = owners.length === 0 ? 'function envoy_on_request() end' : scriptOf(owners, hintsOf(config));
  return {
    ...type('envoy.config.core.v3.TypedExtensionConfig'),
    name: HASHED_KEYS_FILTER,
    typed_config: unless(owners.length === 0 ? ALWAYS : nothingToDo(owners), HASHED_KEYS_FILTER, {
      ...type('envoy.extensions.filters.http.lua.v3.Lua'),
      default_source_code: { inline_string: script },
    }),
  };
}
