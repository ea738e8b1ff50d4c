/** The allow-list. Envoy's route table is generated from it, so it holds while the service is away. */
export const ROUTES = {
  'chat.completions': { method: 'POST', path: '/v1/chat/completions' },
  completions: { method: 'POST', path: '/v1/completions' },
  embeddings: { method: 'POST', path: '/v1/embeddings' },
  responses: { method: 'POST', path: '/v1/responses' },
  messages: { method: 'POST', path: '/v1/messages' },
  models: { method: 'GET', path: '/v1/models' },
} as const satisfies Record<string, { method: 'GET' | 'POST'; path: string }>;

export type RouteName = keyof typeof ROUTES;
/** A route whose request has a body that an engine answers. */
export type EngineRoute = Exclude<RouteName, 'models'>;

const BY_METHOD_AND_PATH: ReadonlyMap<string, RouteName> = new Map(
  (Object.keys(ROUTES) as RouteName[]).map((name) => [`${ROUTES[name].method} ${ROUTES[name].path}`, name]),
);

/** The route of a request, or undefined if it is not on the allow-list. `path` may carry a query. */
export function routeOf(method: string, path: string): RouteName | undefined {
  const query = path.indexOf('?');
  return BY_METHOD_AND_PATH.get(`${method} ${query < 0 ? path : path.slice(0, query)}`);
}
