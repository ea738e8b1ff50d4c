/** Answers the requests of the admin API. Who listens, and how bodies come, is http-tenant-api.ts's matter. */
import type * as z from 'zod';
import { didYouMean, quote } from '../config/report.ts';
import { isMapping, type Mapping } from '../config/written-data.ts';
import { messageOf } from '../domain/text-of.ts';
import { makeKey } from '../tenant/made-key.ts';
import {
  createKey,
  createTenant,
  type Decision,
  isKnownTenant,
  type KeyWish,
  type Known,
  patchTenant,
  type RefusalCode,
  revokeKey,
  rotateKey,
} from '../tenant/tenant-changes.ts';
import { NotInForceError, TenantStoreError } from '../tenant/tenant-store.ts';
import { accessOf, NO_TOKEN, originProblem, READ_ONLY } from './admin-access.ts';
import type { AdminWorld } from './made-tenants.ts';
import { unknownModel, unknownUnset } from './tenant-checks.ts';
import { openApiDocument } from './tenant-openapi.ts';
import { type FoundRoute, findAdminRoute, mayChange, type RouteId } from './tenant-routes.ts';
import { auditPage, keyRotation, newKey, tenantPage } from './tenant-shapes.ts';
import { keyShown, keysShown, tenantShown, tenantsShown } from './tenant-views.ts';

export interface AdminRequest {
  readonly method: string;
  /** With its query. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  /** Undefined: it is larger than it may be, or did not come. */
  readonly body: () => Promise<string | undefined>;
}

export interface AdminAnswer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: unknown;
  /** The token was missing or wrong. */
  readonly isUnauthorized?: true;
}

export const MAX_BODY_BYTES = 64 * 1024;
const DEFAULT_PAGE = 100;
const DEFAULT_GRACE_MS = 24 * 3_600_000;
const DEEPEST = 16;
/** Of the audit log: there is one token that may write. */
const ACTOR = 'admin';
const RETRY_AFTER_S = '5';

const STATUS: Readonly<Record<RefusalCode, number>> = {
  invalid_settings: 400,
  tenant_exists: 409,
  tenant_unknown: 404,
  tenant_in_file: 409,
  too_many_tenants: 409,
  version_differs: 412,
  key_unknown: 404,
  key_ended: 409,
  key_name_exists: 409,
  too_many_keys: 409,
};

export const problemAnswer = (
  status: number,
  code: string,
  message: string,
  hint: string,
  headers: Readonly<Record<string, string>> = {},
): AdminAnswer => ({ status, headers, body: { error: { code, message, hint } } });

/** What keeps a request from its route. */
class Problem extends Error {
  readonly answer: AdminAnswer;

  constructor(answer: AdminAnswer) {
    super('refused');
    this.answer = answer;
  }
}

/** Never rejects. */
export async function answerAdmin(request: AdminRequest, world: AdminWorld): Promise<AdminAnswer> {
  try {
    return await routed(request, world);
  } catch (error) {
    if (error instanceof Problem) return error.answer;
    if (error instanceof TenantStoreError) {
      return problemAnswer(
        503,
        'store_away',
        `what was asked could not be done: ${error.message}`,
        'nothing was changed, and what is in force stays in force: try again when the store is back (/health says more)',
        { 'retry-after': RETRY_AFTER_S },
      );
    }
    if (error instanceof NotInForceError) {
      return problemAnswer(
        503,
        'not_in_force',
        `the change is stored, and this replica could not tell Envoy of it: ${error.message}`,
        'mend that: it is tried again all the time (/health says more); a key that was to be made is lost, revoke it and make another',
        { 'retry-after': RETRY_AFTER_S },
      );
    }
    // A bug costs the request, not the process.
    const message = messageOf(error);
    return problemAnswer(500, 'internal', `the service failed: ${message}`, 'please report this');
  }
}

async function routed(request: AdminRequest, world: AdminWorld): Promise<AdminAnswer> {
  const { method, url, headers } = request;
  const at = url.indexOf('?');
  const path = at < 0 ? url : url.slice(0, at);
  const query = new URLSearchParams(at < 0 ? '' : url.slice(at + 1));
  const foreign = originProblem(headers, query, world.host);
  if (foreign !== undefined) {
    return problemAnswer(foreign.status, foreign.code, foreign.message, foreign.hint);
  }
  const access = accessOf(headers, world.admin());
  if (access === undefined) {
    const { status, code, message, hint } = NO_TOKEN;
    return {
      ...problemAnswer(status, code, message, hint, { 'www-authenticate': 'Bearer' }),
      isUnauthorized: true,
    };
  }
  const found = findAdminRoute(method, path);
  if (!('route' in found)) return noRoute(found.methods);
  if (access === 'read' && mayChange(found.route)) {
    return problemAnswer(READ_ONLY.status, READ_ONLY.code, READ_ONLY.message, READ_ONLY.hint);
  }
  const call = { ...found, request, query, world };
  if (found.route.query === undefined) noQuery(call);
  return HANDLERS[found.route.id](call);
}

function noRoute(methods: readonly string[]): AdminAnswer {
  if (methods.length === 0) {
    return problemAnswer(
      404,
      'not_found',
      'there is no such path',
      'GET /v1/openapi.json lists what there is',
    );
  }
  return problemAnswer(405, 'method_refused', 'the path has not this method', `use ${methods.join(' or ')}`, {
    allow: methods.join(', '),
  });
}

interface Call extends FoundRoute {
  readonly request: AdminRequest;
  readonly query: URLSearchParams;
  readonly world: AdminWorld;
}

const HANDLERS: Readonly<Record<RouteId, (call: Call) => Promise<AdminAnswer> | AdminAnswer>> = {
  listTenants(call) {
    const { after = '', limit = DEFAULT_PAGE } = queryOf(call, tenantPage);
    return { status: 200, body: tenantsShown(call.world, after, limit) };
  },
  async createTenant(call) {
    const { name, ...settings } = mappingOf(await bodyOf(call));
    if (typeof name !== 'string') throw invalid('name: is missing; must be a text');
    await changed(call, (known) => createTenant(known, name, settings));
    return shownAnswer(call, name, 201, { location: `/v1/tenants/${encodeURIComponent(name)}` });
  },
  getTenant(call) {
    return shownAnswer(call, nameOf(call), 200);
  },
  async patchTenant(call) {
    const name = nameOf(call);
    const { disabled, ...settings } = mappingOf(await bodyOf(call));
    if (disabled !== undefined && typeof disabled !== 'boolean') {
      throw invalid('disabled: must be true or false');
    }
    const version = ifMatch(call);
    const before = call.world.made.state.tenants.get(name)?.settings;
    const unknown = before === undefined ? undefined : unknownUnset(settings, before);
    if (unknown !== undefined) throw invalid(unknown);
    await changed(call, (known) =>
      patchTenant(known, name, {
        ...(Object.keys(settings).length > 0 && { settings }),
        ...(disabled !== undefined && { isDisabled: disabled }),
        version,
      }),
    );
    return shownAnswer(call, name, 200);
  },
  async disableTenant(call) {
    const name = nameOf(call);
    const version = ifMatch(call);
    await changed(call, (known) => patchTenant(known, name, { isDisabled: true, version }));
    return shownAnswer(call, name, 200);
  },
  listKeys(call) {
    const name = nameOf(call);
    requireTenant(call, name);
    return { status: 200, body: { keys: keysShown(call.world, name) } };
  },
  async createKey(call) {
    const body = await bodyOf(call);
    const wish = wishOf(shaped(body, newKey), body);
    requireTenant(call, nameOf(call));
    const unknown = unknownModel(wish.models ?? [], call.world.admin().tenants.known);
    if (unknown !== undefined) throw invalid(unknown);
    return madeAnswer(call, (known) => createKey(known, nameOf(call), wish, makeKey));
  },
  async rotateKey(call) {
    const { graceFor = DEFAULT_GRACE_MS, expires } = shaped(await bodyOf(call), keyRotation);
    const wish = { tenant: nameOf(call), id: idOf(call), graceMs: graceFor, expiresMs: timeOf(expires) };
    return madeAnswer(call, (known) => rotateKey(known, wish, makeKey));
  },
  async revokeKey(call) {
    const [name, id] = [nameOf(call), idOf(call)];
    await changed(call, (known) => revokeKey(known, name, id));
    const key = call.world.made.state.keys.get(id);
    if (key === undefined) throw new Error(`key ${id} is not there after its change`);
    return { status: 200, body: keyShown(call.world, key) };
  },
  async listAudit(call) {
    const { limit = DEFAULT_PAGE, before, tenant } = queryOf(call, auditPage);
    const page = { limit, ...(before !== undefined && { before }), ...(tenant !== undefined && { tenant }) };
    const entries = await call.world.made.audit(page);
    const next = entries.length === limit ? entries.at(-1)?.version : undefined;
    return {
      status: 200,
      body: {
        entries: entries.map(({ atMs, ...entry }) => ({ ...entry, at: new Date(atMs).toISOString() })),
        ...(next !== undefined && next > 1 && { next }),
      },
    };
  },
  getOpenApi: () => ({ status: 200, body: openApiDocument() }),
};

const nameOf = ({ parameters }: Call): string => parameters['name'] ?? '';
const idOf = ({ parameters }: Call): string => parameters['id'] ?? '';
const timeOf = (text: string | undefined): number | undefined =>
  text === undefined ? undefined : Date.parse(text);

/** @param body limits are kept as they were sent. */
function wishOf({ expires, limits: _limits, ...rest }: z.output<typeof newKey>, body: unknown): KeyWish {
  const limits = isMapping(body) ? body['limits'] : undefined;
  return { ...rest, expiresMs: timeOf(expires), ...(isMapping(limits) && { limits }) };
}

/** @throws Problem when it was refused. */
async function changed(call: Call, decide: (known: Known) => Decision): Promise<Decision> {
  const decision = await call.world.made.change(ACTOR, decide);
  if (decision.kind !== 'refused') return decision;
  const { code, message, hint } = decision;
  if (code === 'tenant_unknown') throw unknownTenant(call);
  if (code === 'key_unknown') requireTenant(call, nameOf(call));
  throw new Problem(problemAnswer(STATUS[code], code, message, hint));
}

async function madeAnswer(call: Call, decide: (known: Known) => Decision): Promise<AdminAnswer> {
  const decision = await changed(call, decide);
  const made = decision.kind === 'change' ? decision.made : undefined;
  const key = made === undefined ? undefined : call.world.made.state.keys.get(made.id);
  if (made === undefined || key === undefined) throw new Error('a key is not there after it was made');
  return {
    status: 201,
    headers: { 'cache-control': 'no-store' },
    body: { ...keyShown(call.world, key), key: made.key },
  };
}

function requireTenant(call: Call, name: string): void {
  const { state, files } = call.world.made;
  if (files === undefined || !isKnownTenant({ state, files }, name)) throw unknownTenant(call);
}

function unknownTenant(call: Call): Problem {
  const { state, files } = call.world.made;
  const name = nameOf(call);
  const names = [...new Set([...state.tenants.keys(), ...(files?.tenants.keys() ?? [])])];
  const message = `there is no tenant ${quote(name)}${didYouMean(name, names)}`;
  const hint = 'create it with POST /v1/tenants, or look at GET /v1/tenants';
  return new Problem(problemAnswer(STATUS.tenant_unknown, 'tenant_unknown', message, hint));
}

function shownAnswer(
  call: Call,
  name: string,
  status: number,
  headers: Readonly<Record<string, string>> = {},
): AdminAnswer {
  requireTenant(call, name);
  const body = tenantShown(call.world, name);
  const { version } = body;
  return { status, headers: { ...headers, ...(version !== undefined && { etag: `"${version}"` }) }, body };
}

const invalid = (message: string): Problem =>
  new Problem(
    problemAnswer(400, 'invalid_request', message, 'GET /v1/openapi.json says what each route takes'),
  );

/** The version of the tenant that is to be changed; undefined: whichever it has. */
function ifMatch({ request }: Call): number | undefined {
  const header = request.headers['if-match'];
  if (header === undefined || header === '*') return undefined;
  const version = /^"(\d{1,15})"$/.exec(String(header))?.[1];
  if (version === undefined) throw invalid('the header If-Match must be an ETag of the tenant, as "12"');
  return Number(version);
}

async function bodyOf({ request, route }: Call): Promise<unknown> {
  const type = String(request.headers['content-type'] ?? '')
    .split(';', 1)[0]
    ?.trim()
    .toLowerCase();
  const body = await request.body();
  if (body === undefined) {
    const message = `a body has at most ${MAX_BODY_BYTES} bytes`;
    throw new Problem(problemAnswer(413, 'too_large', message, 'send less'));
  }
  if (body === '' && route.isBodyOptional === true) return {};
  if (type !== 'application/json' && type !== 'application/merge-patch+json') {
    const message = 'a body is JSON';
    throw new Problem(problemAnswer(415, 'not_json', message, 'send it with content-type: application/json'));
  }
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    throw invalid('the body is not JSON');
  }
  if (!isWithin(value, DEEPEST)) throw invalid('the body is nested too deeply');
  return value;
}

function isWithin(value: unknown, depth: number): boolean {
  if (typeof value !== 'object' || value === null) return true;
  return depth > 0 && Object.values(value).every((inner) => isWithin(inner, depth - 1));
}

function mappingOf(value: unknown): Mapping {
  if (isMapping(value)) return value;
  throw invalid('the body must be a mapping');
}

function shaped<T extends z.ZodType>(value: unknown, shape: T): z.output<T> {
  const read = shape.safeParse(value);
  if (read.success) return read.data;
  throw invalid(read.error.issues.slice(0, 5).map(issueText).join('; '));
}

function issueText(issue: z.core.$ZodIssue): string {
  const { path, message } = issue;
  const text =
    issue.code === 'unrecognized_keys'
      ? `unknown setting ${issue.keys.map((key) => JSON.stringify(key.slice(0, 64))).join(', ')}`
      : message;
  return path.length === 0 ? text : `${path.map(String).join('.')}: ${text}`;
}

function queryOf<T extends z.ZodObject>({ query }: Call, shape: T): z.output<T> {
  const names = [...query.keys()];
  if (new Set(names).size < names.length) throw invalid('a parameter of the query is given twice');
  return shaped(Object.fromEntries(query), shape);
}

function noQuery({ query, route }: Call): void {
  const [name] = query.keys();
  if (name !== undefined) throw invalid(`${route.path} has no parameter ${quote(name)}`);
}
