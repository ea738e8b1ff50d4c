/** The routes of the admin API: what each takes, gives and may be refused with. The server, its document and its tests go by this list. */
import type * as z from 'zod';
import {
  auditList,
  auditPage,
  keyList,
  keyRotation,
  madeKey,
  newKey,
  newTenant,
  shownKey,
  shownTenant,
  tenantList,
  tenantPage,
  tenantPatch,
} from './tenant-shapes.ts';

export type RouteId =
  | 'listTenants'
  | 'createTenant'
  | 'getTenant'
  | 'patchTenant'
  | 'disableTenant'
  | 'listKeys'
  | 'createKey'
  | 'rotateKey'
  | 'revokeKey'
  | 'listAudit'
  | 'getOpenApi';

export interface AdminRoute {
  readonly id: RouteId;
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  /** With `{name}` and `{id}`. */
  readonly path: string;
  readonly summary: string;
  readonly query?: z.ZodObject;
  /** Must come, but where `isBodyOptional`. */
  readonly body?: z.ZodType;
  readonly isBodyOptional?: true;
  readonly ok: { readonly status: 200 | 201; readonly shape?: z.ZodType };
  /** Statuses besides those that every route has. */
  readonly refusals: readonly number[];
  /** Its answer has an ETag, and it takes If-Match where it changes something. */
  readonly hasVersion?: true;
}

const TENANT = '/v1/tenants/{name}';
const KEYS = `${TENANT}/keys`;

export const ADMIN_ROUTES: readonly AdminRoute[] = [
  {
    id: 'listTenants',
    method: 'GET',
    path: '/v1/tenants',
    summary: 'Tenants, of files and made here, in the order of their names',
    query: tenantPage,
    ok: { status: 200, shape: tenantList },
    refusals: [],
  },
  {
    id: 'createTenant',
    method: 'POST',
    path: '/v1/tenants',
    summary: 'Make a tenant. It has no key yet',
    body: newTenant,
    ok: { status: 201, shape: shownTenant },
    refusals: [409],
    hasVersion: true,
  },
  {
    id: 'getTenant',
    method: 'GET',
    path: TENANT,
    summary: 'A tenant',
    ok: { status: 200, shape: shownTenant },
    refusals: [404],
    hasVersion: true,
  },
  {
    id: 'patchTenant',
    method: 'PATCH',
    path: TENANT,
    summary: 'Change settings of a tenant that was made here, one by one (RFC 7396), disable or enable it',
    body: tenantPatch,
    ok: { status: 200, shape: shownTenant },
    refusals: [404, 409, 412],
    hasVersion: true,
  },
  {
    id: 'disableTenant',
    method: 'DELETE',
    path: TENANT,
    summary: 'Disable a tenant: its keys open nothing, and it stays to be seen',
    ok: { status: 200, shape: shownTenant },
    refusals: [404, 409, 412],
    hasVersion: true,
  },
  {
    id: 'listKeys',
    method: 'GET',
    path: KEYS,
    summary: 'Keys of a tenant, without themselves',
    ok: { status: 200, shape: keyList },
    refusals: [404],
  },
  {
    id: 'createKey',
    method: 'POST',
    path: KEYS,
    summary: 'Make a key. The answer has it, and nothing has it again',
    body: newKey,
    isBodyOptional: true,
    ok: { status: 201, shape: madeKey },
    refusals: [404, 409],
  },
  {
    id: 'rotateKey',
    method: 'POST',
    path: `${KEYS}/{id}/rotate`,
    summary: 'Make a key in place of another, which goes on for a while',
    body: keyRotation,
    isBodyOptional: true,
    ok: { status: 201, shape: madeKey },
    refusals: [404, 409],
  },
  {
    id: 'revokeKey',
    method: 'DELETE',
    path: `${KEYS}/{id}`,
    summary: 'Revoke a key: it opens nothing any more',
    ok: { status: 200, shape: shownKey },
    refusals: [404],
  },
  {
    id: 'listAudit',
    method: 'GET',
    path: '/v1/audit',
    summary: 'Changes of tenants and keys, the last ones first',
    query: auditPage,
    ok: { status: 200, shape: auditList },
    refusals: [],
  },
  {
    id: 'getOpenApi',
    method: 'GET',
    path: '/v1/openapi.json',
    summary: 'This document',
    ok: { status: 200 },
    refusals: [],
  },
];

export const mayChange = ({ method }: AdminRoute): boolean => method !== 'GET';

export interface FoundRoute {
  readonly route: AdminRoute;
  readonly parameters: Readonly<Record<string, string>>;
}

/** By segments, decoded. `methods`: those that the path has, where it has not this one. */
export function findAdminRoute(
  method: string,
  path: string,
): FoundRoute | { readonly methods: readonly string[] } {
  const methods: string[] = [];
  for (const route of ADMIN_ROUTES) {
    const parameters = parametersOf(route.path, path);
    if (parameters === undefined) continue;
    if (route.method === method) return { route, parameters };
    methods.push(route.method);
  }
  return { methods };
}

function parametersOf(template: string, path: string): Readonly<Record<string, string>> | undefined {
  const wanted = template.split('/');
  const given = path.split('/');
  if (wanted.length !== given.length) return undefined;
  const parameters: Record<string, string> = {};
  for (const [i, step] of wanted.entries()) {
    const found = given[i] ?? '';
    const name = /^\{(\w+)\}$/.exec(step)?.[1];
    if (name === undefined) {
      if (step !== found) return undefined;
      continue;
    }
    try {
      parameters[name] = decodeURIComponent(found);
    } catch {
      return undefined;
    }
    if (parameters[name] === '') return undefined;
  }
  return parameters;
}
