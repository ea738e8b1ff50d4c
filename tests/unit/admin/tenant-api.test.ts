/** The admin API over tenants in memory: who may, what each route does, and what is refused. */
import { createHash } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import { ADMIN_ROUTES, type AdminRoute, mayChange } from '../../../src/admin/tenant-routes.ts';
import { type AdminCall, madeWorld, READ_TOKEN, TOKEN } from '../../support/made-tenants.ts';
import { configOf, minimal } from '../config/parse.ts';

const env = { ADMIN: TOKEN, READER: READ_TOKEN };
const files = (more: Record<string, unknown> = {}) =>
  configOf(
    {
      ...minimal(),
      tiers: { gold: { weight: 2, requestsPerMinute: 10 } },
      admin: { token: 'env:ADMIN', readToken: 'env:READER', directory: '/state' },
      ...more,
    },
    { env },
  );

const open: Awaited<ReturnType<typeof madeWorld>>[] = [];
async function world(...args: Partial<Parameters<typeof madeWorld>>) {
  const [config = files(), ...rest] = args;
  const one = await madeWorld(config, ...rest);
  open.push(one);
  return one;
}
afterEach(async () => {
  await Promise.all(open.splice(0).map(({ made }) => made.close()));
});

type World = Awaited<ReturnType<typeof world>>;
// oxlint-disable-next-line no-explicit-any -- JSON, as a client has it
type Body = any;

const post = (url: string, body?: unknown): AdminCall => ({ method: 'POST', url, body });
const get = (url: string): AdminCall => ({ method: 'GET', url });
const bodyOf = async (one: World, call: AdminCall): Promise<Body> => (await one.call(call)).body;
const codeOf = async (one: World, call: AdminCall): Promise<string> => {
  const { status, body } = await one.call(call);
  return `${status} ${(body as Body).error?.code ?? 'ok'}`;
};

/** A tenant acme with one key. */
async function acme(one: World): Promise<{ readonly id: string; readonly key: string }> {
  await one.call(post('/v1/tenants', { name: 'acme', tier: 'gold' }));
  return (await bodyOf(one, post('/v1/tenants/acme/keys', { name: 'ci' }))) as { id: string; key: string };
}

const callOf = ({ method, path, body }: AdminRoute, id: string, token: string | null): AdminCall => ({
  method,
  url: path.replace('{name}', 'acme').replace('{id}', id),
  ...(body !== undefined && { body: {} }),
  token,
});

describe.each(ADMIN_ROUTES.map((route) => [`${route.method} ${route.path}`, route] as const))(
  '%s',
  (_, route) => {
    it('is refused without a token, with a wrong one, and with any in the query', async () => {
      const one = await world();
      const { id } = await acme(one);
      const before = one.store.state;
      for (const token of [null, `${TOKEN}x`, TOKEN.slice(1), '', 'Bearer']) {
        expect(await codeOf(one, callOf(route, id, token))).toBe('401 unauthorized');
      }
      for (const name of ['token', 'access_token', 'api_key', 'ToKeN', 'password']) {
        const call = callOf(route, id, TOKEN);
        expect(await codeOf(one, { ...call, url: `${call.url}?${name}=${TOKEN}` })).toBe(
          '400 token_in_query',
        );
      }
      const basic = { authorization: `Basic ${Buffer.from(`x:${TOKEN}`).toString('base64')}` };
      expect(await codeOf(one, { ...callOf(route, id, null), headers: basic })).toBe('401 unauthorized');
      expect(one.store.state).toBe(before);
    });

    it('is for a token that may only read where it only reads', async () => {
      const one = await world();
      const { id } = await acme(one);
      const before = one.store.state;
      const answer = await codeOf(one, callOf(route, id, READ_TOKEN));
      expect(answer).toBe(mayChange(route) ? '403 read_only' : '200 ok');
      expect(one.store.state).toBe(before);
    });

    it('is not for a web page, nor under a name that is not of this machine', async () => {
      const one = await world();
      const { id } = await acme(one);
      const before = one.store.state;
      for (const [headers, code] of [
        [{ origin: 'http://127.0.0.1:9465' }, '403 origin_refused'],
        [{ 'sec-fetch-site': 'cross-site' }, '403 origin_refused'],
        [{ host: 'evil.test:9465' }, '403 host_refused'],
        [{ host: '' }, '403 host_refused'],
      ] as const) {
        expect(await codeOf(one, { ...callOf(route, id, TOKEN), headers })).toBe(code);
      }
      expect(one.store.state).toBe(before);
    });
  },
);

describe('a tenant', () => {
  it('is made, shown, changed one setting at a time, disabled and enabled', async () => {
    const one = await world();
    const made = await one.call(
      post('/v1/tenants', { name: 'acme', tier: 'gold', limits: { maxQueued: 5 } }),
    );
    expect(made).toMatchObject({
      status: 201,
      headers: { etag: '"1"', location: '/v1/tenants/acme' },
      body: {
        name: 'acme',
        source: 'made',
        disabled: false,
        settings: { tier: 'gold', limits: { maxQueued: 5 } },
        inForce: { tier: 'gold', models: '*', limits: { requestsPerMinute: 10, weight: 2, maxQueued: 5 } },
        keys: 0,
        version: 1,
      },
    });
    const patch = { limits: { requestsPerMinute: 600, maxQueued: null }, trustGroup: 'g' };
    const changed = await one.call({ method: 'PATCH', url: '/v1/tenants/acme', body: patch });
    expect(changed).toMatchObject({
      status: 200,
      headers: { etag: '"2"' },
      body: { settings: { tier: 'gold', limits: { requestsPerMinute: 600 }, trustGroup: 'g' } },
    });
    expect((changed.body as Body).settings.limits).toEqual({ requestsPerMinute: 600 });
    expect(one.inUse.config.tenants.get('acme')?.limits.requestsPerMinute).toBe(600);

    const { retakes } = one.inUse;
    expect((await one.call({ method: 'PATCH', url: '/v1/tenants/acme', body: patch })).status).toBe(200);
    expect([one.store.state.version, one.inUse.retakes]).toEqual([2, retakes]);

    expect(await bodyOf(one, { method: 'DELETE', url: '/v1/tenants/acme' })).toMatchObject({
      disabled: true,
    });
    expect(one.inUse.config.tenants.has('acme')).toBe(false);
    await one.call({ method: 'PATCH', url: '/v1/tenants/acme', body: { disabled: false } });
    expect(one.inUse.config.tenants.has('acme')).toBe(true);
    expect(one.store.entries.map(({ action }) => action)).toEqual([
      'tenant.enable',
      'tenant.disable',
      'tenant.set',
      'tenant.create',
    ]);
  });

  it('is not changed by who looked at it before somebody else changed it', async () => {
    const one = await world();
    await acme(one);
    const patch = (version: string, tier: string | null): Promise<string> =>
      codeOf(one, {
        method: 'PATCH',
        url: '/v1/tenants/acme',
        body: { tier },
        headers: { 'if-match': version },
      });
    expect(await patch('"1"', null)).toBe('200 ok');
    expect(await patch('"1"', 'gold')).toBe('412 version_differs');
    expect(await patch('*', 'gold')).toBe('200 ok');
    expect(await patch('W/"4"', null)).toBe('400 invalid_request');
  });

  it.each([
    [{}, 'name: is missing'],
    [{ name: 7 }, 'name: is missing'],
    [{ name: 'a\nb' }, 'name: must be 1 to 64'],
    [{ name: '__proto__' }, 'name: must be 1 to 64'],
    ['{"name":"x","__proto__":{"tier":"gold"}}', '__proto__'],
    ['{"name":"x","limits":{"__proto__":1}}', '__proto__'],
    [{ name: 'x'.repeat(65) }, 'name: must be 1 to 64'],
    [{ name: 'x', tier: 'silver' }, 'tier: there is no tier "silver"'],
    [{ name: 'x', tiers: 'gold' }, 'tiers: unknown setting; did you mean "tier"?'],
    [{ name: 'x', keys: ['a-key-of-somebody'] }, 'keys: unknown setting'],
    [{ name: 'x', limits: { requestsPerMinute: '600' } }, 'limits.requestsPerMinute: must be a whole number'],
    [{ name: 'x', limits: { requestsPerMinute: 1e300 } }, 'limits.requestsPerMinute: must be a whole number'],
    [{ name: 'x', limits: { maxHeldSize: '1KiB' } }, 'limits.maxHeldSize: is smaller than envoy.maxBodySize'],
    [{ name: 'x', limits: [] }, 'limits: must be a mapping'],
    [{ name: 'x', models: [] }, 'models: must be a list'],
    [{ name: 'x', models: 7 }, 'models: must be a list'],
    ['[]', 'the body must be a mapping'],
    ['null', 'the body must be a mapping'],
    ['{"name":', 'is not JSON'],
    ['', 'is not JSON'],
    [`${'{"a":'.repeat(5_000)}1${'}'.repeat(5_000)}`, 'nested too deeply'],
    ['['.repeat(30_000), 'is not JSON'],
  ])('%j is refused with what is wrong', async (body, message) => {
    const one = await world();
    const { status, body: answer } = await one.call(post('/v1/tenants', body));
    expect([status, (answer as Body).error.message]).toEqual([400, expect.stringContaining(message)]);
    expect((answer as Body).error.hint).not.toBe('');
    expect(one.store.state.version).toBe(0);
  });

  it('that is there already, or is nowhere, is told', async () => {
    const one = await world();
    await acme(one);
    expect(await codeOf(one, post('/v1/tenants', { name: 'acme' }))).toBe('409 tenant_exists');
    expect(await codeOf(one, get('/v1/tenants/nobody'))).toBe('404 tenant_unknown');
    expect(await codeOf(one, { method: 'PATCH', url: '/v1/tenants/nobody', body: {} })).toBe(
      '404 tenant_unknown',
    );
    expect(await codeOf(one, { method: 'PATCH', url: '/v1/tenants/alice', body: {} })).toBe(
      '409 tenant_in_file',
    );
    expect(await codeOf(one, post('/v1/tenants/nobody/keys'))).toBe('404 tenant_unknown');
    expect(await codeOf(one, get('/v1/tenants/%E0%A4%A'))).toBe('404 not_found');
    expect(await codeOf(one, get('/v2/tenants'))).toBe('404 not_found');
    expect(await codeOf(one, { method: 'PUT', url: '/v1/tenants' })).toBe('405 method_refused');
  });

  it('of the files wins, and what differs is told', async () => {
    const one = await world();
    await one.call(post('/v1/tenants', { name: 'alice', tier: 'gold' }));
    expect(await bodyOf(one, get('/v1/tenants/alice'))).toMatchObject({
      source: 'both',
      settings: { tier: 'gold' },
      differs: expect.arrayContaining(['tier: file default, made "gold"', 'limits.weight: file 1, made 2']),
    });
    expect(one.inUse.config.tenants.get('alice')?.tier).toBeUndefined();
    expect(await bodyOf(one, get('/v1/tenants'))).toMatchObject({
      tenants: [{ name: 'alice', source: 'both' }],
    });
  });

  it('is listed by pages', async () => {
    const one = await world();
    for (let i = 0; i < 5; i += 1) await one.call(post('/v1/tenants', { name: `t${i}` }));
    const first = await bodyOf(one, get('/v1/tenants?limit=4'));
    expect(first.tenants.map(({ name }: Body) => name)).toEqual(['alice', 't0', 't1', 't2']);
    const last = await bodyOf(one, get(`/v1/tenants?limit=4&after=${first.next}`));
    expect([last.tenants.map(({ name }: Body) => name), last.next]).toEqual([['t3', 't4'], undefined]);
    for (const query of ['limit=0', 'limit=1001', 'limit=x', 'limit=1&limit=2', 'page=1']) {
      expect(await codeOf(one, get(`/v1/tenants?${query}`))).toBe('400 invalid_request');
    }
  });
});

describe('a key', () => {
  it('is shown once, and kept as its digest', async () => {
    const one = await world();
    const { id, key } = await acme(one);
    expect(key).toMatch(/^fl_[0-9A-Za-z]{40}$/);
    expect(key.length).toBeLessThanOrEqual(55);
    const digest = createHash('sha256').update(key).digest('hex');
    expect(one.store.state.keys.get(id)?.digest).toBe(digest);
    expect(one.inUse.config.tenants.get('acme')?.keys).toEqual([
      { id, name: 'ci', secret: { kind: 'sha256', digest } },
    ]);
    const all = JSON.stringify([
      await bodyOf(one, get('/v1/tenants/acme/keys')),
      await bodyOf(one, get('/v1/audit')),
      one.store.entries,
      one.events,
    ]);
    for (const secret of [key, digest]) expect(all).not.toContain(secret);
  });

  it('may be made for a tenant of the files', async () => {
    const one = await world();
    const { id } = await bodyOf(one, post('/v1/tenants/alice/keys'));
    const keys = one.inUse.config.tenants.get('alice')?.keys.map((key) => key.id);
    expect(keys).toEqual([expect.stringMatching(/^cfg_/), id]);
    const { keys: shown } = await bodyOf(one, get('/v1/tenants/alice/keys'));
    expect(shown.map(({ source }: Body) => source)).toEqual(['file', 'made']);
  });

  it('has scopes and an end', async () => {
    const one = await world();
    await acme(one);
    const wish = { name: 'scoped', models: ['m'], routes: ['embeddings'], expires: '2026-11-30' };
    const made = await bodyOf(one, post('/v1/tenants/acme/keys', wish));
    expect(made).toMatchObject({ state: 'active', expiresAt: '2026-11-30T00:00:00.000Z', models: ['m'] });
    const inForce = (): Body => one.inUse.config.tenants.get('acme')?.keys.find(({ id }) => id === made.id);
    expect(inForce()).toMatchObject({ models: new Set(['m']), routes: new Set(['embeddings']) });
    one.clock.ms += 24 * 3_600_000;
    const { keys } = await bodyOf(one, get('/v1/tenants/acme/keys'));
    expect(keys.find(({ id }: Body) => id === made.id).state).toBe('expired');
    expect(await codeOf(one, post(`/v1/tenants/acme/keys/${made.id}/rotate`))).toBe('409 key_ended');
  });

  it.each([
    [{ name: 'a\nb' }, 'name: must be'],
    [{ name: '' }, 'name: must be'],
    [{ name: 'x'.repeat(65) }, 'name: must be'],
    [{ expires: '2020-01-01' }, 'expires: is not in the future'],
    [{ expires: 'tomorrow' }, 'expires: must be a date'],
    [{ expires: 1_900_000_000 }, 'expires: must be a date'],
    [{ expires: '+275760-09-13' }, 'expires: must be a date'],
    [{ routes: ['chat'] }, 'routes.0: must be one of'],
    [{ routes: [] }, 'routes: must be a list'],
    [{ models: 'm' }, 'models: must be a list'],
    [{ scopes: [] }, 'unknown setting "scopes"'],
    ['7', 'must be a mapping'],
  ])('%j is refused', async (body, message) => {
    const one = await world();
    await acme(one);
    const { status, body: answer } = await one.call(post('/v1/tenants/acme/keys', body));
    expect([status, (answer as Body).error.message]).toEqual([400, expect.stringContaining(message)]);
  });

  it('is rotated: the old one goes on for a while', async () => {
    const one = await world();
    const old = await acme(one);
    const rotated = await bodyOf(one, post(`/v1/tenants/acme/keys/${old.id}/rotate`, { graceFor: '1h' }));
    expect(rotated).toMatchObject({ name: 'ci', state: 'active' });
    const ids = (): readonly string[] => one.inUse.config.tenants.get('acme')?.keys.map(({ id }) => id) ?? [];
    expect(ids()).toEqual([old.id, rotated.id]);
    expect(one.store.state.keys.get(old.id)?.expiresMs).toBe(one.clock.ms + 3_600_000);
    await one.call(post(`/v1/tenants/acme/keys/${rotated.id}/rotate`, { graceFor: '0s' }));
    expect(ids()).toHaveLength(2);
    expect(ids()).not.toContain(rotated.id);
    expect(await codeOf(one, post(`/v1/tenants/acme/keys/${old.id}/rotate`, { graceFor: '9000h' }))).toBe(
      '400 invalid_request',
    );
  });

  it('may have limits, which a rotation takes along with what was used', async () => {
    const one = await world();
    await acme(one);
    const limits = {
      tokensPerMonth: 1_000,
      budgetPerMonth: '5 EUR',
      raises: [{ until: '2100-01-01', tokensPerMonth: 2_000 }],
    };
    const old = await bodyOf(one, post('/v1/tenants/acme/keys', { name: 'paid', limits }));
    expect(old).toMatchObject({ limits });
    const byKey = () => one.inUse.config.tenants.get('acme')?.limits.byKey;
    expect(byKey()?.get(old.id)).toMatchObject({
      tokensPerMonth: 1_000,
      budgetPerMonth: { currency: 'EUR', nano: 5e9 },
    });
    const next = await bodyOf(one, post(`/v1/tenants/acme/keys/${old.id}/rotate`));
    const last = await bodyOf(one, post(`/v1/tenants/acme/keys/${next.id}/rotate`, { graceFor: '0s' }));
    expect([next, last]).toMatchObject([
      { limits, originId: old.id },
      { limits, originId: old.id },
    ]);
    expect([...(byKey() ?? [])].map(([id, { bucketsOf }]) => [id, bucketsOf])).toEqual([
      [old.id, undefined],
      [last.id, old.id],
    ]);
    // Of a tenant of the file, too, whose own keys keep theirs.
    const ofFile = await bodyOf(one, post('/v1/tenants/alice/keys', { limits: { requestsPerMinute: 5 } }));
    const { limits: merged } = one.inUse.config.tenants.get('alice') ?? {};
    expect(merged?.byKey?.get(ofFile.id)).toMatchObject({ requestsPerMinute: 5 });
    const { entries } = await bodyOf(one, get('/v1/audit?limit=1'));
    expect(entries[0].after).toMatchObject({ limits: { requestsPerMinute: 5 } });
    expect(JSON.stringify(entries)).not.toMatch(/digest/);
  });

  it.each([
    [{ weight: 2 }, 'weight'],
    [{ tokensPerMonth: 0 }, 'tokensPerMonth: must be a whole number'],
    [{ budgetPerMonth: 'much' }, 'budgetPerMonth: must be an amount with its currency'],
    [{ budgetPerMonth: '5 USD' }, 'limits.budgetPerMonth: is in USD, and prices are in EUR'],
    [7, 'must be a mapping'],
    [[], 'must be a mapping'],
  ])('with the limits %j is refused', async (limits, message) => {
    const one = await world(files({ prices: { default: { prompt: '1 EUR' } } }));
    await acme(one);
    const { status, body } = await one.call(post('/v1/tenants/acme/keys', { limits }));
    expect([status, (body as Body).error.message]).toEqual([400, expect.stringContaining(message)]);
    const budget = { limits: { budgetPerMonth: '5 USD' } };
    expect((await one.call({ method: 'PATCH', url: '/v1/tenants/acme', body: budget })).status).toBe(400);
  });

  it('whose limits fit no more opens nothing, and is told', async () => {
    const one = await world();
    await acme(one);
    const made = await bodyOf(one, post('/v1/tenants/acme/keys', { limits: { budgetPerMonth: '5 USD' } }));
    const merged = one.made.merge(files({ prices: { default: { prompt: '1 EUR' } } }));
    expect(merged.tenants.get('acme')?.keys.map(({ name }) => name)).toEqual(['ci']);
    expect(one.made.keptOut()).toEqual([
      {
        tenant: 'acme',
        problems: [expect.stringContaining(`key ${made.id}: limits.budgetPerMonth: is in USD`)],
      },
    ]);
  });

  it('is revoked, once and for all', async () => {
    const one = await world();
    const { id } = await acme(one);
    const url = `/v1/tenants/acme/keys/${id}`;
    expect(await bodyOf(one, { method: 'DELETE', url })).toMatchObject({ id, state: 'revoked' });
    expect(one.inUse.config.tenants.get('acme')?.keys).toEqual([]);
    const { version } = one.store.state;
    expect((await one.call({ method: 'DELETE', url })).status).toBe(200);
    expect(one.store.state.version).toBe(version);
    expect(await codeOf(one, { method: 'DELETE', url: url.replace('acme', 'alice') })).toBe(
      '404 key_unknown',
    );
  });

  it('of a tenant there are at most 64, each with a name of its own', async () => {
    const one = await world();
    const { id } = await acme(one);
    expect(await codeOf(one, post('/v1/tenants/acme/keys', { name: 'ci' }))).toBe('409 key_name_exists');
    for (let i = 1; i < 64; i += 1) await one.call(post('/v1/tenants/acme/keys'));
    expect(await codeOf(one, post('/v1/tenants/acme/keys'))).toBe('409 too_many_keys');
    expect(await codeOf(one, post(`/v1/tenants/acme/keys/${id}/rotate`))).toBe('409 too_many_keys');
    expect(await codeOf(one, post(`/v1/tenants/acme/keys/${id}/rotate`, { graceFor: '0s' }))).toBe('201 ok');
  });

  it('says when it was used last', async () => {
    const one = await world();
    const { id } = await acme(one);
    one.made.noteUse(id);
    one.made.noteUse('key_of_nobody');
    const { keys } = await bodyOf(one, get('/v1/tenants/acme/keys'));
    expect(keys[0].lastUsedAt).toBe(new Date(one.clock.ms).toISOString());
    await one.made.close();
    expect([...one.store.state.keys.values()].map(({ usedMs }) => usedMs)).toEqual([one.clock.ms]);
  });
});

describe('settings in force', () => {
  it('are shown as they can be written, with those of models and keys', async () => {
    const of = {
      budgetPerMonth: '5 EUR',
      raises: [{ until: '2100-01-01', budgetPerMonth: 'unlimited', tokensPerMonth: 'unlimited' }],
      tokensPerMonth: 10,
    };
    const shown = {
      budgetPerMonth: '5.00 EUR',
      tokensPerMonth: 10,
      raises: [
        { until: '2100-01-01T00:00:00.000Z', budgetPerMonth: 'unlimited', tokensPerMonth: 'unlimited' },
      ],
    };
    const one = await world(
      files({
        tenants: {
          alice: {
            keys: [{ key: 'key-of-alice-0123456789', limits: of }],
            limits: of,
            modelLimits: { gpt: of },
          },
        },
      }),
    );
    const { inForce } = await bodyOf(one, get('/v1/tenants/alice'));
    expect(inForce).toMatchObject({ limits: shown, modelLimits: { gpt: shown } });
    expect(inForce.limits).not.toHaveProperty('byKey');
    const { keys } = await bodyOf(one, get('/v1/tenants/alice/keys'));
    expect(keys[0].limits).toEqual(shown);
    const modelLimits = { gpt: { tokensPerMonth: 5 } };
    await one.call(post('/v1/tenants', { name: 'acme', modelLimits }));
    expect(one.inUse.config.tenants.get('acme')?.limits.byModel?.get('gpt')).toMatchObject({
      tokensPerMonth: 5,
    });
  });
});

describe('the audit log', () => {
  it('has who did what, before and after, by pages', async () => {
    const one = await world();
    await acme(one);
    await one.call({ method: 'PATCH', url: '/v1/tenants/acme', body: { tier: null } });
    const { entries, next } = await bodyOf(one, get('/v1/audit?limit=2'));
    expect(entries).toEqual([
      {
        version: 3,
        at: '2026-11-29T12:00:00.000Z',
        actor: 'admin',
        action: 'tenant.set',
        tenant: 'acme',
        before: { tier: 'gold', disabled: false },
        after: { disabled: false },
      },
      expect.objectContaining({
        version: 2,
        action: 'key.create',
        after: expect.objectContaining({ name: 'ci' }),
      }),
    ]);
    expect((await bodyOf(one, get(`/v1/audit?limit=2&before=${next}`))).entries).toHaveLength(1);
    expect((await bodyOf(one, get('/v1/audit?tenant=alice'))).entries).toEqual([]);
  });
});

describe('a store that is away', () => {
  it('is said with 503, and what is in force stays', async () => {
    const one = await world();
    const { id } = await acme(one);
    one.store.isAway = true;
    const answer = await one.call(post('/v1/tenants', { name: 'late' }));
    expect(answer).toMatchObject({
      status: 503,
      headers: { 'retry-after': '5' },
      body: { error: { code: 'store_away' } },
    });
    expect(await codeOf(one, get('/v1/audit'))).toBe('503 store_away');
    expect(await codeOf(one, get('/v1/tenants/acme'))).toBe('200 ok');
    expect(one.inUse.config.tenants.get('acme')?.keys[0]?.id).toBe(id);
    expect(one.made.status().away?.reason).toBe('no connection');
    one.store.isAway = false;
    expect(await codeOf(one, post('/v1/tenants', { name: 'late' }))).toBe('201 ok');
    const told = one.events.flatMap((event) => (event.kind === 'tenant-store' ? [event.connected] : []));
    expect(told).toEqual([false, true]);
  });
});
