/**
 * A bootstrap whose listeners come from a file that Envoy watches: a listener that leaves the file takes no new connections, and those
 * that are open go on. So they are drained without a request to Envoy's admin page, which may not change anything.
 */
import type { Json, JsonMap } from './envoy-json.ts';

export const LISTENERS_FILE = 'listeners.json';
/** What the file says when there is nothing to listen on any more. */
export const NO_LISTENERS: JsonMap = { resources: [] };

export interface WatchedListeners {
  readonly bootstrap: JsonMap;
  /** A discovery response, for LISTENERS_FILE. */
  readonly listeners: JsonMap;
  readonly names: readonly string[];
}

const mapOf = (value: Json | undefined): JsonMap =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonMap) : {};

/** @param directory where the file will be. */
export function withWatchedListeners(bootstrap: JsonMap, directory: string): WatchedListeners {
  const { listeners, ...staticResources } = mapOf(bootstrap['static_resources']);
  const listed = Array.isArray(listeners) ? (listeners as readonly Json[]).map(mapOf) : [];
  return {
    bootstrap: {
      ...bootstrap,
      // Envoy asks for both where it watches a file.
      node: { id: 'fairlane', cluster: 'fairlane', ...mapOf(bootstrap['node']) },
      static_resources: staticResources,
      dynamic_resources: {
        ...mapOf(bootstrap['dynamic_resources']),
        lds_config: {
          path_config_source: { path: `${directory}/${LISTENERS_FILE}` },
          resource_api_version: 'V3',
        },
      },
    },
    listeners: {
      resources: listed.map((listener) => ({
        '@type': 'type.googleapis.com/envoy.config.listener.v3.Listener',
        ...listener,
      })),
    },
    names: listed.flatMap(({ name }) => (typeof name === 'string' ? [name] : [])),
  };
}
