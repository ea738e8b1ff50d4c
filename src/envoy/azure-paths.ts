/**
 * Azure's paths. Its clients name the deployment in the path: `/openai/deployments/NAME/chat/completions?api-version=…`; what has none
 * is at `/openai/…`, and its newer API at `/openai/v1/…`. They become the paths of `/v1` before anything is decided, so that the
 * allow-list, the service and the engines see those alone. The filter is off on all other paths, and costs them nothing.
 */
import { API_ROUTES, pathsOf } from '../domain/routes.ts';
import { type JsonMap, type } from './envoy-json.ts';

const FILTER = 'fairlane.azure_paths';
const PREFIX = '/openai/';
const DEPLOYMENTS = `${PREFIX}deployments/`;

/** What may be asked of a deployment, without `/v1`. The longest first: some end as others do. */
const ASKED: readonly string[] = API_ROUTES.flatMap(pathsOf)
  .flatMap((path) => (path.startsWith('/v1/') ? [path.slice('/v1'.length)] : []))
  .sort((a, b) => b.length - a.length);

/**
 * Names of deployments may have slashes. The path is normalised before: what is left of it has no `..` and no `//`. A changed header
 * clears the route.
 */
const SCRIPT = `
local asked = { ${ASKED.map((path) => `"${path}"`).join(', ')} }

local function plain(path)
  if path:sub(1, ${DEPLOYMENTS.length}) ~= "${DEPLOYMENTS}" then
    return path:match("^${PREFIX}v1(/.*)$") or path:match("^${PREFIX.slice(0, -1)}(/.*)$")
  end
  for _, ending in ipairs(asked) do
    if #path > ${DEPLOYMENTS.length} + #ending and path:sub(-#ending) == ending then
      return ending
    end
  end
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local path, query = headers:get(":path"):match("^([^?]*)(.*)$")
  local found = plain(path)
  if found ~= nil then
    headers:replace(":path", "/v1" .. found .. query)
  end
end
`;

export const azurePathsFilter: JsonMap = {
  name: FILTER,
  disabled: true,
  typed_config: {
    ...type('envoy.extensions.filters.http.lua.v3.Lua'),
    default_source_code: { inline_string: SCRIPT },
  },
};

const routeFor = (match: JsonMap, answer: JsonMap): JsonMap => ({
  match,
  ...answer,
  typed_per_filter_config: { [FILTER]: { ...type('envoy.config.route.v3.FilterConfig'), config: {} } },
});

/**
 * Names of deployments and of models with `%2F`: before the route that refuses it in paths, which sees what they become.
 * @param answer to what is no path of Azure's.
 */
export const azureNamesRoute = (answer: JsonMap): JsonMap =>
  routeFor({ safe_regex: { regex: `${PREFIX}(deployments|models|v1/models)/.*%2[fF].*` } }, answer);

/** After the routes of the configuration, which may begin so, too. @param answer to what is no path of Azure's. */
export const azureRoute = (answer: JsonMap): JsonMap => routeFor({ prefix: PREFIX }, answer);
