/** The allow-list. Envoy's route table is generated from it, so it holds while the service is away. */
export const ROUTES = {
  'chat.completions': { method: 'POST', path: '/v1/chat/completions' },
  completions: { method: 'POST', path: '/v1/completions' },
  embeddings: { method: 'POST', path: '/v1/embeddings' },
  responses: { method: 'POST', path: '/v1/responses' },
  messages: { method: 'POST', path: '/v1/messages' },
} as const satisfies Record<string, { method: 'GET' | 'POST'; path: string }>;

export type RouteName = keyof typeof ROUTES;
/** A route whose request has a body that an engine answers. */
export type EngineRoute = RouteName;

const BY_METHOD_AND_PATH: ReadonlyMap<string, RouteName> = new Map(
  (Object.keys(ROUTES) as RouteName[]).map((name) => [`${ROUTES[name].method} ${ROUTES[name].path}`, name]),
);

/** The route of a request, or undefined if it is not on the allow-list. `path` may carry a query. */
export function routeOf(method: string, path: string): RouteName | undefined {
  const query = path.indexOf('?');
  return BY_METHOD_AND_PATH.get(`${method} ${query < 0 ? path : path.slice(0, query)}`);
}

/** What the service answers itself: the models that a tenant may use, and one of them. HEAD is served too. */
export const MODEL_ROUTES = {
  models: { method: 'GET', path: '/v1/models' },
  'models.retrieve': { method: 'GET', path: '/v1/models/{id}' },
} as const satisfies Record<string, { method: 'GET'; path: string }>;

/** Names of models have slashes, as they are or as `%2F`. */
export const MODEL_ID_PATTERN = '.+';
const MODELS_PATH = new RegExp(`^/v1/models(?:/(${MODEL_ID_PATTERN}))?$`, 's');

/**
 * Of a request for models: the name that it asks for, decoded, or undefined for all of them. Undefined: it is none. `path` may
 * carry a query.
 */
export function modelsRouteOf(
  method: string,
  path: string,
): { readonly id: string | undefined; readonly query: URLSearchParams } | undefined {
  if (method !== 'GET' && method !== 'HEAD') return undefined;
  const at = path.indexOf('?');
  const match = MODELS_PATH.exec(at < 0 ? path : path.slice(0, at));
  if (match === null) return undefined;
  const [, id] = match;
  const query = new URLSearchParams(at < 0 ? '' : path.slice(at + 1));
  return { id: id === undefined ? undefined : decoded(id), query };
}

/** A name that is no valid encoding stands for itself: no model has it. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/**
 * Routes of a response that an engine has stored, with the id in the path. No body; they go to the engine that has it, and nowhere
 * without the service, which knows whose it is.
 */
export const STORED_ROUTES = {
  'responses.retrieve': { method: 'GET', path: '/v1/responses/{id}' },
  'responses.delete': { method: 'DELETE', path: '/v1/responses/{id}' },
  'responses.cancel': { method: 'POST', path: '/v1/responses/{id}/cancel' },
  'responses.input_items': { method: 'GET', path: '/v1/responses/{id}/input_items' },
} as const satisfies Record<string, { method: 'GET' | 'POST' | 'DELETE'; path: string }>;

export type StoredRoute = keyof typeof STORED_ROUTES;

/** What engines call responses, as a regular expression without a bound on the length: vLLM, SGLang, llama.cpp, OpenAI. */
export const RESPONSE_ID_PATTERN = 'resp_[A-Za-z0-9_-]+';
const RESPONSE_ID = new RegExp(`^${RESPONSE_ID_PATTERN}$`);
/** OpenAI's have 53 characters, engines' 37. */
const LONGEST_RESPONSE_ID = 128;

export const isResponseId = (id: string): boolean => id.length <= LONGEST_RESPONSE_ID && RESPONSE_ID.test(id);

const STORED_PATH = /^\/v1\/responses\/([^/?]+)(\/cancel|\/input_items)?(?:\?|$)/;

/** Whether a path may stand for a stored response in an engine that decodes it, though it is written in another way. */
export function namesResponses(path: string): boolean {
  try {
    return /responses/i.test(decodeURIComponent(path.split('?', 1)[0] ?? ''));
  } catch {
    return true;
  }
}

/** Of a request for a stored response: what it asks for, and the id as it came. Undefined: it is none. `path` may carry a query. */
export function storedRouteOf(
  method: string,
  path: string,
): { readonly route: StoredRoute; readonly id: string } | undefined {
  const match = STORED_PATH.exec(path);
  if (match === null) return undefined;
  const [, id = '', tail = ''] = match;
  const wanted = `/v1/responses/{id}${tail}`;
  const route = (Object.keys(STORED_ROUTES) as StoredRoute[]).find(
    (name) => STORED_ROUTES[name].method === method && STORED_ROUTES[name].path === wanted,
  );
  return route && { route, id };
}
