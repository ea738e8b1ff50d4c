/** `GET /v1/models` and `/v1/models/{id}`: whose names, in whose shape, and what engines say of them. */
import { describe, expect, it } from 'vitest';
import type { Config } from '../../../src/config/config.ts';
import { modelsRouteOf } from '../../../src/domain/routes.ts';
import { listedModels } from '../../../src/engine/listed-models.ts';
import { askModels, createWorld, type WorldOptions } from '../../support/lifecycle.ts';

const listing = listedModels({
  data: [
    { id: 'small', max_model_len: 8_192, root: 'small', parent: null, meta: { n_vocab: 3 } },
    { id: 'secret', max_model_len: 4_096, root: '/models/secret' },
    { id: 'org/tuned', parent: 'small', root: '/loras/tuned' },
  ],
});
const change = (config: Config): Config => ({
  ...config,
  aliases: new Map([['gpt', 'small']]),
  adapters: new Map([['org/tuned', { name: 'org/tuned', base: 'small' }]]),
});
const world = (options: WorldOptions = {}) => {
  const made = createWorld({ change, ...options });
  made.context.listedModel = (_pool, model) => listing.get(model);
  made.context.startedS = 1_770_000_000;
  return made;
};
const anthropic = { header: (name: string): string => (name === 'anthropic-version' ? '2023-06-01' : '') };
const base = { object: 'model', created: 1_770_000_000, owned_by: 'fairlane' };

describe('the list of models', () => {
  it('has the names that the tenant may use, with what the engines say of the models behind them', () => {
    const { status, json } = askModels(world({ models: new Set(['small', 'gpt']) }), {
      path: '/v1/models?x=1',
    });
    expect(status).toBe(200);
    const said = { max_model_len: 8_192, root: 'small', parent: null, meta: { n_vocab: 3 } };
    expect(json).toEqual({
      object: 'list',
      data: [
        { id: 'gpt', ...base, ...said },
        { id: 'small', ...base, ...said },
      ],
    });
  });

  it('has names alone where engines say nothing, and is empty for who may use none', () => {
    const silent = createWorld();
    silent.context.startedS = 1_770_000_000;
    expect(askModels(silent).json).toEqual({
      object: 'list',
      data: ['secret', 'small'].map((id) => ({ id, ...base })),
    });
    expect(askModels(world({ models: new Set() })).json).toEqual({ object: 'list', data: [] });
  });

  it('has a tenant’s own bound on the context, and the base’s for an adapter', () => {
    const { json } = askModels(world({ limits: { maxContext: 5_000 } }));
    const { data } = json as { data: { id: string; max_model_len: number }[] };
    expect(data.map(({ id, max_model_len: tokens }) => [id, tokens])).toEqual([
      ['gpt', 5_000],
      ['org/tuned', 5_000],
      ['secret', 4_096],
      ['small', 5_000],
    ]);
  });

  it('tells nobody the name of a model that it may not use', () => {
    const { json } = askModels(world({ models: new Set(['gpt', 'org/tuned']) }));
    expect(JSON.stringify(json)).not.toContain('"small"');
    expect((json as { data: { id: string }[] }).data.map(({ id }) => id)).toEqual(['gpt', 'org/tuned']);
  });

  it('has Anthropic’s shape for its clients, in pages', () => {
    const page = (query: string) => askModels(world(), { path: `/v1/models${query}`, ...anthropic });
    const all = page('').json as { data: object[] };
    expect(all.data[0]).toEqual({
      type: 'model',
      id: 'gpt',
      display_name: 'gpt',
      created_at: '2026-02-02T02:40:00Z',
      max_input_tokens: 8_192,
      lifecycle: 'active',
    });
    expect(all).toMatchObject({ has_more: false, first_id: 'gpt', last_id: 'small' });
    const ids = (query: string) => {
      const { data, ...rest } = page(query).json as { data: { id: string }[] };
      return { ids: data.map(({ id }) => id), ...rest };
    };
    expect(ids('?limit=2')).toEqual({
      ids: ['gpt', 'org/tuned'],
      has_more: true,
      first_id: 'gpt',
      last_id: 'org/tuned',
    });
    expect(ids('?limit=2&after_id=org%2Ftuned')).toMatchObject({ ids: ['secret', 'small'], has_more: false });
    expect(ids('?limit=1&before_id=secret')).toMatchObject({ ids: ['org/tuned'], has_more: true });
    // It has gone meanwhile.
    expect(ids('?after_id=mmm')).toMatchObject({ ids: ['org/tuned', 'secret', 'small'] });
    expect(ids('?after_id=zzz')).toEqual({ ids: [], has_more: false, first_id: null, last_id: null });
  });

  it.each([
    '?limit=0',
    '?limit=1001',
    '?limit=-1',
    '?limit=x',
    '?limit=1e2',
    '?limit=',
    '?after_id=a&before_id=b',
  ])('refuses %s in Anthropic’s shape; OpenAI has no such parameters', (query) => {
    expect(askModels(world(), { path: `/v1/models${query}`, ...anthropic })).toMatchObject({
      status: 400,
      json: { type: 'error', error: { type: 'invalid_request_error' } },
    });
    expect(askModels(world(), { path: `/v1/models${query}` }).status).toBe(200);
  });
});

describe('one model', () => {
  const one = (id: string, options: WorldOptions = {}, head: object = {}) =>
    askModels(world(options), { path: `/v1/models/${id}`, ...head });

  it.each(['org/tuned', 'org%2Ftuned', 'org%2ftuned', 'org%2Ftuned?beta=true'])('is found as %s', (id) => {
    expect(one(id)).toMatchObject({
      status: 200,
      json: { id: 'org/tuned', parent: 'small', root: '/loras/tuned' },
    });
    expect(one(id, {}, anthropic).json).toMatchObject({
      type: 'model',
      id: 'org/tuned',
      display_name: 'org/tuned',
    });
  });

  it.each(['nope', 'small%', 'small/', '%00', '../small', '__proto__', 'small%2F', 'x'.repeat(9_000)])(
    '%s is a 404 in the shape of the API',
    (id) => {
      expect(one(id)).toMatchObject({ status: 404, json: { error: { code: 'model_not_found' } } });
      expect(one(id, {}, anthropic)).toMatchObject({
        status: 404,
        json: { type: 'error', error: { type: 'not_found_error' } },
      });
    },
  );

  it('that the tenant may not use is an unknown one, word for word', () => {
    const text = (id: string, models: ReadonlySet<string>) =>
      JSON.stringify(one(id, { models }).json).replaceAll(id, 'NAME');
    expect(text('secret', new Set(['small']))).toBe(text('absent', new Set(['small'])));
    expect(one('secret', { models: new Set(['small']) }).status).toBe(404);
    expect(one('gpt', { models: new Set(['gpt']) })).toMatchObject({ status: 200, json: { id: 'gpt' } });
    expect(one('small', { models: new Set(['gpt']) }).status).toBe(404);
  });

  it('is not known yet while engines have not said which they have', () => {
    expect(one('any', { discover: true })).toMatchObject({
      status: 503,
      json: { error: { code: 'models_unknown' } },
    });
  });

  it('is a request of the tenant’s limits', () => {
    const limited = world({ limits: { requestsPerMinute: 1, requestBurst: 1 } });
    expect(askModels(limited, { path: '/v1/models/small' }).status).toBe(200);
    const refused = askModels(limited, { path: '/v1/models/small', ...anthropic });
    expect(refused).toMatchObject({
      status: 429,
      json: { type: 'error', error: { type: 'rate_limit_error' } },
    });
    expect(Object.fromEntries(refused.headers)).toMatchObject({ 'x-ratelimit-remaining-requests': '0' });
    expect(limited.records).toEqual([]);
  });

  it('is nobody’s without a tenant, and with too many headers', () => {
    expect(one('small', {}, { tenant: 'nobody' }).status).toBe(401);
    expect(one('small', {}, { oversized: true }).status).toBe(431);
  });
});

describe('a path', () => {
  it.each([
    ['GET', '/v1/models', undefined],
    ['HEAD', '/v1/models?limit=1', undefined],
    ['GET', '/v1/models/a', 'a'],
    ['HEAD', '/v1/models/a/b?x', 'a/b'],
    ['GET', '/v1/models/a%3Fb', 'a?b'],
    ['GET', '/v1/models/%E4%B8%AD', '中'],
    ['GET', '/v1/models/%zz', '%zz'],
  ])('%s %s asks for models', (method, path, id) => {
    expect(modelsRouteOf(method, path)).toMatchObject({ id });
  });

  it.each([
    ['POST', '/v1/models'],
    ['DELETE', '/v1/models/a'],
    ['GET', '/v1/models/'],
    ['GET', '/v1/modelsx'],
    ['GET', '/v1%2Fmodels'],
    ['GET', '/x/v1/models/a'],
    ['GET', '/'],
  ])('%s %s does not', (method, path) => {
    expect(modelsRouteOf(method, path)).toBeUndefined();
  });
});
