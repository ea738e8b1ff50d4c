/** The admin API as its server has it: what its document says is what it does, and what is too much, or wrong, is bounded. */
import { performance } from 'node:perf_hooks';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type AdminApiServer, startTenantApi, TenantApi } from '../../src/admin/http-tenant-api.ts';
import { openApiDocument } from '../../src/admin/tenant-openapi.ts';
import { ADMIN_ROUTES } from '../../src/admin/tenant-routes.ts';
import { madeWorld, READ_TOKEN, TOKEN } from '../support/made-tenants.ts';
import { freePorts } from '../support/ports.ts';
import { configOf, minimal } from '../unit/config/parse.ts';

let world: Awaited<ReturnType<typeof madeWorld>>;
let server: AdminApiServer;
const told: number[] = [];

beforeEach(async () => {
  const [port = 0] = await freePorts(1);
  const admin = {
    address: `127.0.0.1:${port}`,
    token: 'env:ADMIN',
    readToken: 'env:READER',
    directory: '/s',
  };
  const config = configOf(
    { ...minimal(), tiers: { gold: { weight: 2 } }, admin },
    { env: { ADMIN: TOKEN, READER: READ_TOKEN } },
  );
  world = await madeWorld(config);
  const settings = config.admin;
  if (settings === undefined) throw new Error('no admin section');
  server = await startTenantApi(
    new TenantApi({
      made: world.made,
      admin: () => settings,
      unixMs: () => world.clock.ms,
      onRefused: (requests) => told.push(requests),
      onAnswered: () => undefined,
    }),
  );
});
afterEach(async () => {
  told.length = 0;
  await Promise.all([server.close(), world.made.close()]);
});

const ask = (method: string, path: string, body?: unknown, token = TOKEN): Promise<Response> =>
  fetch(`http://127.0.0.1:${server.port}${path}`, {
    method,
    headers: {
      authorization: `Bearer ${token}`,
      ...(body !== undefined && { 'content-type': 'application/json' }),
    },
    ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });

// oxlint-disable-next-line no-explicit-any -- a document of OpenAPI
type Document = any;

/** Holds an answer against the document, as a client that knows nothing else does. */
function checkAnswer(document: Document, id: string, status: number, body: unknown): void {
  const operations: readonly Document[] = Object.values<Document>(document.paths).flatMap((path) =>
    Object.values(path),
  );
  const operation = operations.find(({ operationId }) => operationId === id);
  const schema = operation?.responses[String(status)]?.content['application/json'].schema;
  expect(schema, `${id} ${status} is in the document`).toBeDefined();
  const ajv = new Ajv2020({ strict: false, validateFormats: false });
  ajv.addSchema({ $id: 'doc', components: document.components });
  const text = JSON.stringify(schema).replaceAll('#/components', 'doc#/components');
  const isValid = ajv.compile(JSON.parse(text) as object);
  expect(isValid(body), `${id} ${status}: ${ajv.errorsText(isValid.errors)}`).toBe(true);
}

describe('the document', () => {
  it('is of OpenAPI 3.1, has every route, and what is answered is as it says', async () => {
    const document = (await (await ask('GET', '/v1/openapi.json')).json()) as Document;
    expect(document).toEqual(openApiDocument());
    expect(document.openapi).toBe('3.1.0');
    const ids = Object.values<Document>(document.paths).flatMap((path) =>
      Object.values<Document>(path).map((one) => one.operationId),
    );
    expect(ids).toEqual(ADMIN_ROUTES.map(({ id }) => id));
    expect(JSON.stringify(document)).not.toContain('"shown"');

    const check = async (id: string, status: number, answer: Promise<Response>): Promise<Document> => {
      const response = await answer;
      const body: unknown = await response.json();
      expect([id, response.status]).toEqual([id, status]);
      expect(response.headers.get('content-type')).toBe('application/json');
      checkAnswer(document, id, status, body);
      return body;
    };
    await check('createTenant', 201, ask('POST', '/v1/tenants', { name: 'acme', tier: 'gold' }));
    await check('createTenant', 409, ask('POST', '/v1/tenants', { name: 'acme' }));
    await check('createTenant', 400, ask('POST', '/v1/tenants', { name: 'b', tier: 'none' }));
    await check(
      'createTenant',
      415,
      fetch(`http://127.0.0.1:${server.port}/v1/tenants`, {
        method: 'POST',
        headers: { authorization: `Bearer ${TOKEN}` },
        body: 'x',
      }),
    );
    const key = await check('createKey', 201, ask('POST', '/v1/tenants/acme/keys', { name: 'ci' }));
    await check('createKey', 201, ask('POST', '/v1/tenants/alice/keys'));
    await check('rotateKey', 201, ask('POST', `/v1/tenants/acme/keys/${key.id}/rotate`, {}));
    await check('revokeKey', 200, ask('DELETE', `/v1/tenants/acme/keys/${key.id}`));
    await check('revokeKey', 404, ask('DELETE', '/v1/tenants/acme/keys/key_none'));
    await check('listKeys', 200, ask('GET', '/v1/tenants/acme/keys', undefined, READ_TOKEN));
    await check('patchTenant', 200, ask('PATCH', '/v1/tenants/acme', { limits: { weight: 3 } }));
    await check('patchTenant', 403, ask('PATCH', '/v1/tenants/acme', {}, READ_TOKEN));
    await check('getTenant', 200, ask('GET', '/v1/tenants/acme'));
    await check('getTenant', 200, ask('GET', '/v1/tenants/alice'));
    await check('getTenant', 401, ask('GET', '/v1/tenants/acme', undefined, 'wrong'));
    await check('listTenants', 200, ask('GET', '/v1/tenants?limit=1'));
    await check('disableTenant', 200, ask('DELETE', '/v1/tenants/acme'));
    await check('listAudit', 200, ask('GET', '/v1/audit'));
    world.store.isAway = true;
    await check('listAudit', 503, ask('GET', '/v1/audit'));
  });
});

describe('the server', () => {
  it('takes 64 KiB, and what is more is refused with 413', async () => {
    const tenant = (bytes: number): string => JSON.stringify({ name: 'acme', trustGroup: 'x'.repeat(bytes) });
    expect((await ask('POST', '/v1/tenants', tenant(60_000))).status).toBe(400);
    expect((await ask('POST', '/v1/tenants', tenant(70_000))).status).toBe(413);
    expect((await ask('GET', '/v1/tenants')).status).toBe(200);
  });

  it('answers wrong tokens late, only so many at once, and tells of them once a minute', async () => {
    const began = performance.now();
    const statuses = await Promise.all(
      Array.from({ length: 24 }, async () => (await ask('GET', '/v1/tenants', undefined, 'wrong')).status),
    );
    expect(performance.now() - began).toBeGreaterThan(450);
    expect([
      statuses.filter((status) => status === 401).length,
      statuses.filter((status) => status === 429).length,
    ]).toEqual([16, 8]);
    expect(told).toEqual([1]);
    world.clock.ms += 60_000;
    await ask('GET', '/v1/tenants', undefined, 'wrong');
    expect(told).toEqual([1, 24]);
  });
});
