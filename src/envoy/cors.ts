/** Browser clients: whose pages may call, as Envoy tells browsers. A preflight has no key, and is answered before keys are asked for. */
import type { Config } from '../config/config.ts';
import { CLIENT_ID_HEADER, LIMITED_HEADER, MODEL_HEADER } from '../domain/names.ts';
import { type JsonMap, type } from './envoy-json.ts';

const FILTER = 'fairlane.cors';

/** What a page may read of an answer, besides what browsers always show. */
const SHOWN_HEADERS: readonly string[] = [
  'request-id',
  'retry-after',
  'retry-after-ms',
  'x-request-id',
  CLIENT_ID_HEADER,
  'x-should-retry',
  LIMITED_HEADER,
  MODEL_HEADER,
  ...['requests', 'tokens', 'tokens-month', 'budget-month'].flatMap((what) =>
    ['limit', 'remaining', 'reset'].map((kind) => `x-ratelimit-${kind}-${what}`),
  ),
];

/** None without `cors`. */
export const corsFilters = ({ cors }: Pick<Config, 'cors'>): readonly JsonMap[] =>
  cors === undefined
    ? []
    : [{ name: FILTER, typed_config: type('envoy.extensions.filters.http.cors.v3.Cors') }];

/** Of the virtual host. */
export const corsPolicy = ({ cors }: Pick<Config, 'cors'>): JsonMap =>
  cors === undefined
    ? {}
    : {
        typed_per_filter_config: {
          [FILTER]: {
            ...type('envoy.extensions.filters.http.cors.v3.CorsPolicy'),
            allow_origin_string_match: cors.origins.map((origin) =>
              origin === '*' ? { safe_regex: { regex: '.*' } } : { exact: origin },
            ),
            allow_methods: 'GET, HEAD, POST, DELETE, OPTIONS',
            // `*` never stands for `authorization`.
            allow_headers: [...new Set(['authorization', ...cors.headers])].join(', '),
            expose_headers: SHOWN_HEADERS.join(', '),
            max_age: String(cors.maxAgeMs / 1_000),
            allow_credentials: false,
            // Of other origins: not answered as if they might, and not sent on.
            forward_not_matching_preflights: false,
          },
        },
      };

/** No cluster has this name. */
const NOWHERE = 'fairlane-nowhere';

/** The route of what is not served, and of preflights: Envoy's filter for browsers looks at no route that is answered at once. */
export const notServed = ({ cors }: Pick<Config, 'cors'>): JsonMap =>
  cors === undefined
    ? { direct_response: { status: 404 } }
    : { route: { cluster: NOWHERE, cluster_not_found_response_code: 'NOT_FOUND' } };
