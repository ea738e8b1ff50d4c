/** The OpenAPI document of the admin API, from its routes and shapes. docs/reference/admin-api.json is it. */
import * as z from 'zod';
import { ADMIN_ROUTES, type AdminRoute, mayChange } from './tenant-routes.ts';
import { apiError } from './tenant-shapes.ts';

type Json = Readonly<Record<string, unknown>>;

/** Of every route: bad queries and bodies, tokens, pages, and what goes wrong. */
const EVERYWHERE: readonly (readonly [status: number, description: string])[] = [
  [400, 'The request is wrong, or a token was in its query'],
  [401, 'The token is missing or wrong'],
  [403, 'The token may only read, or a web page asks'],
  [429, 'Too many requests with wrong tokens'],
  [500, 'A bug'],
  [
    503,
    'The store is away: nothing was changed; Retry-After says when to try again. Or not_in_force: it is stored',
  ],
];
const REFUSALS: Readonly<Record<number, string>> = {
  404: 'There is none of this name or id',
  409: 'It is there already, is of a file, or there are too many',
  412: 'It is of another version than If-Match says',
  413: 'The body is too large',
  415: 'The body is not JSON',
};
const BODY_REFUSALS = [413, 415];
const REFUSAL_HEADERS: Readonly<Record<number, Readonly<Record<string, string>>>> = {
  401: { 'WWW-Authenticate': 'Bearer.' },
  429: { 'Retry-After': 'In seconds.' },
  503: { 'Retry-After': 'In seconds.' },
};

const headersOf = (headers: Readonly<Record<string, string>> = {}): Json => {
  const all = Object.entries(headers).map(([name, description]) => [
    name,
    { description, schema: { type: 'string' } },
  ]);
  return all.length === 0 ? {} : { headers: Object.fromEntries(all) };
};

const DESCRIPTIONS: Readonly<Record<string, string>> = {
  name: 'The tenant’s name.',
  id: 'The key’s id.',
};

/** Also in the reference of the configuration: no keyword of JSON Schema. */
const OWN_KEYWORDS = new Set(['$schema', 'shown']);

/**
 * What Unicode's classes of characters hold most: regular expressions of Python, Go and others have no such classes or know
 * only some, and a generated client stumbles over the pattern. The server's own stay: it refuses a little more.
 */
const CLASSES: Readonly<Record<string, string>> = {
  '\\p{C}': '\\u0000-\\u001f\\u007f-\\u009f',
  '\\p{Z}': '\\u0020\\u00a0\\u2000-\\u200a\\u2028\\u2029\\u202f\\u3000',
  '\\p{Zl}': '\\u2028',
  '\\p{Zp}': '\\u2029',
};
const portable = (pattern: string): string =>
  pattern.replaceAll(/\\p\{\w+\}/g, (found) => CLASSES[found] ?? found);

function withoutOwn(node: unknown, isNames = false): unknown {
  if (Array.isArray(node)) return node.map((one: unknown) => withoutOwn(one));
  if (typeof node !== 'object' || node === null) return node;
  return Object.fromEntries(
    Object.entries(node)
      .filter(([key]) => isNames || !OWN_KEYWORDS.has(key))
      .map(([key, value]) => [
        key,
        key === 'pattern' && typeof value === 'string'
          ? portable(value)
          : withoutOwn(value, key === 'properties' && !isNames),
      ]),
  );
}

const schemaOf = (shape: z.ZodType, io: 'input' | 'output'): unknown =>
  withoutOwn(z.toJSONSchema(shape, { io, target: 'draft-2020-12', reused: 'inline' }));

const json = (schema: unknown, type = 'application/json'): Json => ({ [type]: { schema } });

function parametersOf({ path, query, hasVersion, method }: AdminRoute): readonly Json[] {
  const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name = '']) => ({
    name,
    in: 'path',
    required: true,
    description: DESCRIPTIONS[name],
    schema: { type: 'string', minLength: 1 },
  }));
  const inQuery = Object.entries(query?.shape ?? {}).map(([name, shape]) => {
    const { description, ...schema } = querySchema(shape as z.ZodType);
    return { name, in: 'query', required: false, ...(description !== undefined && { description }), schema };
  });
  const isConditional = hasVersion === true && (method === 'PATCH' || method === 'DELETE');
  return [
    ...inPath,
    ...inQuery,
    ...(isConditional
      ? [
          {
            name: 'If-Match',
            in: 'header',
            required: false,
            description: 'The ETag of the tenant that is to be changed. Default: whichever it has.',
            schema: { type: 'string', pattern: '^("[0-9]{1,15}"|\\*)$' },
          },
        ]
      : []),
  ];
}

const querySchema = (shape: z.ZodType): Json => schemaOf(shape, 'output') as Json;

function operationOf(route: AdminRoute): Json {
  const { id, summary, body, isBodyOptional, ok, refusals, hasVersion, method } = route;
  const error = (status: number, description: string): Json => {
    const headers = headersOf(REFUSAL_HEADERS[status]);
    return { description, ...headers, content: json({ $ref: '#/components/schemas/Error' }) };
  };
  const statuses = [...refusals, ...(body === undefined ? [] : BODY_REFUSALS)];
  return {
    operationId: id,
    summary,
    ...(mayChange(route) && { description: 'Needs the token that may write.' }),
    parameters: parametersOf(route),
    ...(body !== undefined && {
      requestBody: {
        required: isBodyOptional !== true,
        content: {
          ...json(schemaOf(body, 'input')),
          ...(method === 'PATCH' && json(schemaOf(body, 'input'), 'application/merge-patch+json')),
        },
      },
    }),
    responses: {
      [String(ok.status)]: {
        description: 'Done',
        ...headersOf({
          ...(hasVersion === true && { ETag: 'Of the tenant, where it was made here.' }),
          ...(id === 'createTenant' && { Location: 'Path of the tenant.' }),
        }),
        content: json(ok.shape === undefined ? { type: 'object' } : schemaOf(ok.shape, 'output')),
      },
      ...Object.fromEntries(
        EVERYWHERE.map(([status, description]) => [String(status), error(status, description)]),
      ),
      ...Object.fromEntries(
        statuses.map((status) => [String(status), error(status, REFUSALS[status] ?? '')]),
      ),
    },
  };
}

function documentOf(): Json {
  const paths: Record<string, Record<string, Json>> = {};
  for (const route of ADMIN_ROUTES) {
    (paths[route.path] ??= {})[route.method.toLowerCase()] = operationOf(route);
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Fairlane admin API',
      version: '1',
      description: 'Tenants and keys that are made while Fairlane runs. Times are ISO 8601 in UTC.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: 'http://127.0.0.1:9465', description: 'admin.address of the configuration' }],
    security: [{ token: [] }],
    paths,
    components: {
      securitySchemes: {
        token: { type: 'http', scheme: 'bearer', description: 'admin.token, or admin.readToken to read.' },
      },
      schemas: { Error: schemaOf(apiError, 'output') },
    },
  };
}

let made: Json | undefined;

/** Made once, when it is asked for first. */
export function openApiDocument(): Json {
  made ??= documentOf();
  return made;
}
