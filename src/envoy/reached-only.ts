/**
 * A filter that sees only what has reached it as a request.
 *
 * Envoy shows its own answers to every filter, those too that the request never came to: a 401 would open a stream to the service.
 * The composite filter makes the inner one when it sees a request's method, which every request has: none passes by it. Of what
 * was refused before, it sees an answer alone.
 */
import { type JsonMap, type } from './envoy-json.ts';

/** @param filter with `name` and `typed_config`; per route it can be disabled, by `disabledOnRoute`. */
export function reachedOnly(filter: { readonly name: string; readonly typed_config: JsonMap }): JsonMap {
  return {
    name: filter.name,
    typed_config: {
      ...type('envoy.extensions.common.matching.v3.ExtensionWithMatcher'),
      extension_config: {
        name: 'fairlane.composite',
        typed_config: type('envoy.extensions.filters.http.composite.v3.Composite'),
      },
      xds_matcher: {
        matcher_list: {
          matchers: [
            {
              predicate: {
                single_predicate: {
                  input: {
                    name: 'fairlane.request',
                    typed_config: {
                      ...type('envoy.type.matcher.v3.HttpRequestHeaderMatchInput'),
                      header_name: ':method',
                    },
                  },
                  value_match: { safe_regex: { google_re2: {}, regex: '.+' } },
                },
              },
              on_match: {
                action: {
                  name: 'fairlane.execute',
                  typed_config: {
                    ...type('envoy.extensions.filters.http.composite.v3.ExecuteFilterAction'),
                    typed_config: { name: filter.name, typed_config: filter.typed_config },
                  },
                },
              },
            },
          ],
        },
      },
    },
  };
}

/** In a route's `typed_per_filter_config`. */
export const disabledOnRoute: JsonMap = {
  ...type('envoy.config.route.v3.FilterConfig'),
  config: {},
  disabled: true,
};
