/**
 * The allow-list. Envoy's route table is generated from it, so it holds while the service is away.
 * docs/reference/routes.md is made of it.
 */

/**
 * What of an answer is counted: the prompt and what is written (`tokens`), the prompt alone (`prompt`), the prompt, and what is
 * written where the engine says it (`reported`), nothing (`requests`).
 */
export type Metered = 'tokens' | 'prompt' | 'reported' | 'requests';
export type BodyKind = 'json' | 'multipart' | 'none';

interface RouteSpec {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  /** Other paths of the same. */
  readonly also?: readonly string[];
  readonly body: BodyKind;
  readonly metered: Metered;
  /** What is counted beside tokens. */
  readonly unit?: 'seconds' | 'images';
  /** Every engine is thought to have it: it is never refused for an engine's kind. */
  readonly isCommon?: true;
  /**
   * What becomes of it while nobody reads it. It passes where the worst that a body can ask for is work; it is refused where
   * a body names files, or what others have stored.
   */
  readonly unread: 'passes' | 'refused';
}

const COMMON = { method: 'POST', body: 'json', isCommon: true, unread: 'passes' } as const;
const JSON_POST = { method: 'POST', body: 'json' } as const;
const AUDIO = {
  method: 'POST',
  body: 'multipart',
  metered: 'reported',
  unit: 'seconds',
  unread: 'passes',
} as const;

export const ROUTES = {
  'chat.completions': { ...COMMON, path: '/v1/chat/completions', metered: 'tokens' },
  completions: { ...COMMON, path: '/v1/completions', metered: 'tokens' },
  embeddings: { ...COMMON, path: '/v1/embeddings', metered: 'prompt' },
  responses: { ...COMMON, path: '/v1/responses', metered: 'tokens' },
  'responses.compact': { ...JSON_POST, path: '/v1/responses/compact', metered: 'tokens', unread: 'refused' },
  messages: { ...COMMON, path: '/v1/messages', metered: 'tokens' },
  'messages.count_tokens': {
    ...JSON_POST,
    path: '/v1/messages/count_tokens',
    metered: 'requests',
    unread: 'passes',
  },
  rerank: {
    ...JSON_POST,
    path: '/v1/rerank',
    also: ['/rerank', '/v2/rerank'],
    metered: 'prompt',
    unread: 'passes',
  },
  score: { ...JSON_POST, path: '/v1/score', also: ['/score'], metered: 'prompt', unread: 'passes' },
  classify: { ...JSON_POST, path: '/v1/classify', also: ['/classify'], metered: 'prompt', unread: 'passes' },
  pooling: { ...JSON_POST, path: '/pooling', metered: 'prompt', unread: 'refused' },
  tokenize: {
    ...JSON_POST,
    path: '/tokenize',
    also: ['/v1/tokenize'],
    metered: 'requests',
    unread: 'passes',
  },
  detokenize: {
    ...JSON_POST,
    path: '/detokenize',
    also: ['/v1/detokenize'],
    metered: 'requests',
    unread: 'passes',
  },
  'audio.transcriptions': { ...AUDIO, path: '/v1/audio/transcriptions' },
  'audio.translations': { ...AUDIO, path: '/v1/audio/translations' },
  'audio.speech': { ...JSON_POST, path: '/v1/audio/speech', metered: 'reported', unread: 'refused' },
  'images.generations': {
    ...JSON_POST,
    path: '/v1/images/generations',
    metered: 'reported',
    unit: 'images',
    unread: 'refused',
  },
} as const satisfies Record<string, RouteSpec>;

/** What the configuration adds (`routes`), by how it is metered. */
const CUSTOM = {
  'custom.usage': 'reported',
  'custom.requests': 'requests',
  'custom.none': 'requests',
} as const satisfies Record<string, Metered>;

export type RouteName = keyof typeof ROUTES;
export type CustomRouteName = keyof typeof CUSTOM;
/** A route that an engine answers. */
export type EngineRoute = RouteName | CustomRouteName;

export const CUSTOM_ROUTE_NAMES = Object.keys(CUSTOM) as CustomRouteName[];

/** Those that every engine is thought to have. */
export type CommonRoute = {
  [Name in RouteName]: (typeof ROUTES)[Name] extends { isCommon: true } ? Name : never;
}[RouteName];

export const API_ROUTES = Object.keys(ROUTES) as RouteName[];

export const isCommon = (route: RouteName): route is CommonRoute => 'isCommon' in ROUTES[route];

export const isCustom = (route: EngineRoute): route is CustomRouteName => Object.hasOwn(CUSTOM, route);

/** An engine may not have it, or not for each of its models. Of routes of the configuration its 404 may mean anything. */
export const isMissable = (route: EngineRoute): boolean => !isCustom(route) && !isCommon(route);

export const meteredOf = (route: EngineRoute): Metered =>
  isCustom(route) ? CUSTOM[route] : ROUTES[route].metered;

export const unitOf = (route: EngineRoute): RouteSpec['unit'] => {
  if (isCustom(route)) return undefined;
  const { unit }: RouteSpec = ROUTES[route];
  return unit;
};

/** Its errors have Anthropic's shape. */
export const isAnthropic = (route: EngineRoute | undefined): boolean =>
  route === 'messages' || route === 'messages.count_tokens';

/**
 * Whether a mirror learns something of its copies: engines compute it as they serve it. What only counts tokens loads nothing; audio,
 * images and routes of the configuration cost more than they tell, or do nobody knows what.
 */
export const isMirrored = (route: EngineRoute): boolean => {
  const metered = meteredOf(route);
  return metered === 'tokens' || metered === 'prompt';
};

export const isResponses = (route: EngineRoute): route is 'responses' | 'responses.compact' =>
  route === 'responses' || route === 'responses.compact';

/** All paths of a route, its own first. */
export function pathsOf(route: RouteName): readonly string[] {
  const { path, also = [] }: RouteSpec = ROUTES[route];
  return [path, ...also];
}

/** A route of the configuration. */
export interface CustomRoute {
  readonly name: string;
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly body: BodyKind;
  readonly metered: 'usage' | 'requests' | 'none';
  /** Whose requests they are; absent: each names its own. */
  readonly model?: string;
}
export type CustomRoutes = ReadonlyMap<string, CustomRoute>;

/** What a request asks an engine for. */
export interface FoundRoute {
  readonly name: EngineRoute;
  /** Without its query. */
  readonly path: string;
  readonly body: BodyKind;
  readonly custom?: CustomRoute;
}

const BY_METHOD_AND_PATH: ReadonlyMap<string, RouteName> = new Map(
  API_ROUTES.flatMap((name) =>
    pathsOf(name).map((path) => [`${ROUTES[name].method} ${path}`, name] as const),
  ),
);

export const withoutQuery = (path: string): string => {
  const query = path.indexOf('?');
  return query < 0 ? path : path.slice(0, query);
};

/** The route of a request, or undefined if it is not on the allow-list. `path` may carry a query. */
export function routeOf(method: string, path: string): RouteName | undefined {
  return BY_METHOD_AND_PATH.get(`${method} ${withoutQuery(path)}`);
}

/** The same with those of the configuration. */
export function findRoute(
  custom: CustomRoutes | undefined,
  method: string,
  path: string,
): FoundRoute | undefined {
  const known = routeOf(method, path);
  const plain = withoutQuery(path);
  if (known !== undefined) return { name: known, path: plain, body: ROUTES[known].body };
  for (const one of custom?.values() ?? []) {
    if (one.path !== plain || one.method !== method) continue;
    return { name: `custom.${one.metered}`, path: plain, body: one.body, custom: one };
  }
  return undefined;
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

/** As a message names them: method and path. */
export const servedText = (custom?: CustomRoutes): string =>
  [
    ...API_ROUTES.flatMap((name) => pathsOf(name).map((path) => `${ROUTES[name].method} ${path}`)),
    ...[MODEL_ROUTES, STORED_ROUTES, custom === undefined ? {} : Object.fromEntries(custom)]
      .flatMap((routes) => Object.values<{ method: string; path: string }>(routes))
      .map(({ method, path }) => `${method} ${path}`),
  ].join(', ');

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
