/**
 * How often a request is tried. Envoy counts its retries in one number, whatever they are for. A connection that was not made,
 * or an engine's own 503, may go on to any other endpoint; a request that an engine had begun when the connection broke may
 * be what broke it, and goes to one more engine at most.
 *
 * Filters on the way to the engine run for every attempt. The bytes that the attempts before have sent tell whether the last
 * one reached an engine, and its answer whether that broke. What they know of a request is in its metadata.
 */
import { BROKE_TWICE } from '../domain/broke-twice.ts';
import { ROUTES } from '../domain/routes.ts';
import { PATH_METADATA } from './engine-access.ts';
import { type JsonMap, type } from './envoy-json.ts';

/** Never leaves Envoy. */
const SENT_HEADER = 'x-fairlane-sent';
const KEY = 'fairlane.attempts';
/** Engines that may have begun a request when it broke. */
const MOST_BROKEN = 2;

const openAiBody = JSON.stringify({
  error: { message: BROKE_TWICE.message, type: 'server_error', param: null, code: BROKE_TWICE.code },
});
const anthropicBody = JSON.stringify({
  type: 'error',
  error: { type: 'api_error', message: BROKE_TWICE.message },
});

const SCRIPT = `
function envoy_on_request(handle)
  local headers = handle:headers()
  local sent = tonumber(headers:get("${SENT_HEADER}")) or 0
  headers:remove("${SENT_HEADER}")
  local metadata = handle:streamInfo():dynamicMetadata()
  local known = metadata:get("${KEY}") or {}
  local broken = known["broken"] or 0
  if sent > (known["sent"] or 0) and not known["answered"] then broken = broken + 1 end
  if broken >= ${MOST_BROKEN} then
    local body = [[${openAiBody}]]
    local known_path = (metadata:get("${PATH_METADATA.namespace}") or {})["${PATH_METADATA.key}"]
    local path = known_path or headers:get(":path") or ""
    if path:sub(1, ${ROUTES.messages.path.length}) == "${ROUTES.messages.path}" then
      body = [[${anthropicBody}]]
    end
    handle:respond({
      [":status"] = "${BROKE_TWICE.status}", ["content-type"] = "application/json", ["x-should-retry"] = "false"
    }, body)
    return
  end
  metadata:set("${KEY}", "broken", broken)
  metadata:set("${KEY}", "sent", sent)
  metadata:set("${KEY}", "answered", false)
end
function envoy_on_response(handle)
  if handle:headers():get(":status") == "503" then
    handle:streamInfo():dynamicMetadata():set("${KEY}", "answered", true)
  end
end
`;

/** On the way to an engine, in this order. */
export const ATTEMPT_FILTERS: readonly JsonMap[] = [
  {
    name: 'fairlane.sent',
    typed_config: {
      ...type('envoy.extensions.filters.http.header_mutation.v3.HeaderMutation'),
      mutations: {
        request_mutations: [
          {
            append: {
              header: { key: SENT_HEADER, value: '%UPSTREAM_WIRE_BYTES_SENT%' },
              append_action: 'OVERWRITE_IF_EXISTS_OR_ADD',
            },
          },
        ],
      },
    },
  },
  {
    name: 'fairlane.attempts',
    typed_config: {
      ...type('envoy.extensions.filters.http.lua.v3.Lua'),
      default_source_code: { inline_string: SCRIPT },
    },
  },
];
