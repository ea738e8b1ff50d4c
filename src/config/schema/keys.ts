/** `tenants.NAME.keys`: by what a client is a tenant, and what for. */
import * as z from 'zod';
import { API_ROUTES, CUSTOM_ROUTE_NAMES, STORED_ROUTES, type StoredRoute } from '../../domain/routes.ts';
import { didYouMean } from '../report.ts';
import { momentMs, must } from '../values.ts';
import { about, list, model, name, parsed, section } from './dsl.ts';
import { keyLimitsOf, type LimitShape } from './limits.ts';

const KEY = 'a key in quotes, env:NAME or file:PATH';

/** What a key may be for. */
const KEY_ROUTES = [
  ...API_ROUTES,
  ...(Object.keys(STORED_ROUTES) as StoredRoute[]),
  ...CUSTOM_ROUTE_NAMES,
] as const;

function noSuchRoute(found: unknown): string {
  const near = typeof found === 'string' ? didYouMean(found, KEY_ROUTES) : '';
  return `must be the name of a route${near || ', such as chat.completions; docs/reference/routes.md has them'}`;
}

const keyWithSettings = section(
  {
    key: z
      .string({ error: must(KEY) })
      .meta(about('The key, as it may stand alone.', '`env:NAME`, `file:PATH` or string'))
      .optional(),
    sha256: z
      .string({ error: must('the SHA-256 of a key, 64 hexadecimal digits') })
      .meta(
        about(
          'In place of `key`: the SHA-256 of a key of at most 119 characters, in hexadecimal digits (`printf %s KEY | sha256sum`). The key itself is then nowhere, also not in Envoy’s files.',
          'string, `env:NAME` or `file:PATH`',
        ),
      )
      .optional(),
    name: name('What people call it. It is another one than the other keys’ of the tenant.').optional(),
    expires: parsed(
      momentMs,
      'a day such as 2027-01-01, which is its beginning in UTC, or a moment such as 2027-01-01T08:00:00+01:00',
      'day or moment',
      'From when on it is none. Default: never.',
    ).optional(),
    models: list(
      model('A model’s name.'),
      1_000,
      'models',
      'Of the models that the tenant may use, those that the key is for. Default: all.',
    ).optional(),
    routes: list(
      z.enum(KEY_ROUTES, { error: ({ input }) => noSuchRoute(input) }),
      KEY_ROUTES.length,
      'routes',
      'Routes that the key is for, by their names in [routes.md](routes.md); routes of the configuration by `custom.` and how they are metered. Models may always be listed. Default: all.',
    ).optional(),
  },
  'An API key.',
);

/** @param limits the keys that a tenant's limits have. */
export const tenantKeysOf = <T extends LimitShape>(limits: T) =>
  list(
    z.union(
      [
        z.string({ error: must(KEY) }),
        section({ ...keyWithSettings.shape, limits: keyLimitsOf(limits) }, 'An API key.'),
      ],
      {
        error: must(`${KEY}, or a mapping with key or sha256`),
      },
    ),
    64,
    'keys',
    'API keys: `env:NAME` (environment variable), `file:PATH` (the file’s content; relative to the configuration file’s folder), or the key itself; or a mapping. With a `?` at the end (`env:NAME?`) a key may be absent. Clients send one as `Authorization: Bearer KEY`. Default: none, which only `mode: endpoint-picker` and `identity.jwt` allow.',
  ).optional();

/** A key as it was written, but for what it is. */
export type KeySettings = Omit<z.output<typeof keyWithSettings>, 'key' | 'sha256'>;
