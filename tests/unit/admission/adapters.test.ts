/** A request that names an adapter, from its headers to its end. */
import { describe, expect, it } from 'vitest';
import type { RequestLifecycle } from '../../../src/admission/request-lifecycle.ts';
import type { LoraAdapterConfig } from '../../../src/config/config.ts';
import { SGLANG } from '../../../src/engine/sglang.ts';
import { createPoolAdapters, type PoolAdapters } from '../../../src/lora/pool-adapters.ts';
import { createWorld, type Said, type World, type WorldOptions } from '../../support/lifecycle.ts';

const URL = 'http://10.0.0.1:8000';
const ADAPTERS = new Map<string, LoraAdapterConfig>([
  ['legal', { name: 'legal', base: 'small', path: '/legal', tenants: new Set(['a']) }],
  ['given', { name: 'given', base: 'small' }],
]);

function setup(options: WorldOptions = {}): { readonly world: World; readonly adapters: PoolAdapters } {
  const adapters = createPoolAdapters({ load: () => undefined, suspect: () => undefined });
  adapters.reconfigure([URL], 1, ADAPTERS);
  const world = createWorld({
    adapters,
    change: (config) => ({ ...config, adapters: ADAPTERS, aliases: new Map([['lawyer', 'legal']]) }),
    ...options,
  });
  return { world, adapters };
}
function ask(
  world: World,
  model: string,
  tenant = 'a',
): { readonly request: RequestLifecycle; readonly said: readonly Said[] } {
  const { request, said } = world.open();
  const header = () => '';
  const head = { method: 'POST', path: '/v1/chat/completions', tenant, requestId: 'r', header };
  request.headers({ ...head, contentLength: undefined, endOfStream: false }, 0);
  request.body(Buffer.from(JSON.stringify({ model, messages: [{ role: 'user', content: 'hello' }] })), 0);
  return { request, said };
}
const errorOf = (said: readonly Said[]): readonly [number, string, boolean] => {
  const last = said.at(-1);
  if (last?.kind !== 'respond') throw new Error(`expected a refusal, got ${last?.kind}`);
  const { error } = JSON.parse(last.response.body) as { readonly error: { readonly code: string } };
  return [last.response.status, error.code, last.response.headers.some(([name]) => name === 'retry-after')];
};
const sentModel = (said: readonly Said[]): unknown => {
  const one = said.find((entry) => entry.kind === 'send-on');
  if (one?.kind !== 'send-on') throw new Error('not sent on');
  return (JSON.parse(Buffer.concat(one.request.body ?? []).toString()) as { readonly model: unknown }).model;
};

describe('a request for an adapter', () => {
  it('waits until it is loaded, and then asks the engine for it by its name', () => {
    const { world, adapters } = setup();
    for (const model of ['legal', 'lawyer']) {
      const { said } = ask(world, model);
      if (model === 'legal') {
        expect(said.at(-1)?.kind).toBe('hold');
        adapters.loaded(URL, 'legal', 1);
        world.dispatcher.adaptersChanged('main', 'legal', 1);
      }
      expect(sentModel(said)).toBe('legal');
    }
    expect(adapters.list()[0]?.loaded).toEqual([{ adapter: 'legal', inFlight: 2 }]);
  });

  it('asks SGLang for it by base and name', () => {
    const { world, adapters } = setup({
      adapterName: (_, { base, name }) => SGLANG.lora.modelOf?.(base, name),
    });
    adapters.reported(URL, ['legal', 'given'], 0);
    expect(sentModel(ask(world, 'legal').said)).toBe('small:legal');
    expect(sentModel(ask(world, 'given', 'b').said)).toBe('small:given');
    expect(SGLANG.lora.modelOf?.('org/m:8b', 'a:b')).toBe('org/m-8b:a:b');
  });

  it('of another tenant is one for an unknown model', () => {
    const { world } = setup();
    for (const model of ['legal', 'lawyer', 'small:legal']) {
      expect(errorOf(ask(world, model, 'b').said)).toEqual([404, 'model_not_found', false]);
    }
    expect(world.records.every(({ outcome }) => outcome === 'refused')).toBe(true);
  });

  it('that cannot be loaded is told so, while it waits and at once', () => {
    const { world, adapters } = setup();
    const { said } = ask(world, 'legal');
    adapters.loadFailed(URL, 'legal', 1);
    world.dispatcher.adaptersChanged('main', 'legal', 1);
    expect(errorOf(said)).toEqual([503, 'adapter_unavailable', true]);
    expect(errorOf(ask(world, 'legal').said)).toEqual([503, 'adapter_unavailable', true]);
    expect(errorOf(ask(world, 'given').said)).toEqual([503, 'no_healthy_endpoint', true]);
    expect(world.records.map(({ model, reason }) => [model, reason])).toEqual([
      ['legal', 'adapter_unavailable'],
      ['legal', 'adapter_unavailable'],
      ['given', 'no_healthy_endpoint'],
    ]);
  });

  it('that the engine does not know any more may be sent again: the engine’s 404 says otherwise', () => {
    const { world, adapters } = setup();
    adapters.reported(URL, ['legal'], 0);
    const answer = { contentType: 'application/json', contentEncoding: '', endOfStream: false };
    const { request, said } = ask(world, 'legal');
    request.responseHeaders({ ...answer, status: 404, upstream: '10.0.0.1:8000' }, 1);
    expect(errorOf(said)).toEqual([503, 'adapter_unavailable', true]);
    expect(world.records[0]).toMatchObject({ outcome: 'failed', reason: 'engine', status: 503 });
    expect(adapters.list()[0]?.loaded).toEqual([{ adapter: 'legal', inFlight: 0 }]);
    // Of a model that is no adapter it is the client's to read, and so is any other error.
    for (const [model, status] of [
      ['small', 404],
      ['legal', 400],
    ] as const) {
      const other = ask(world, model);
      other.request.responseHeaders({ ...answer, status, upstream: '10.0.0.1:8000' }, 2);
      expect(other.said.at(-1)?.kind).toBe('response-headers');
    }
  });

  it('may be a fallback’s, to whom may use it', () => {
    const { world, adapters } = setup({
      change: (config) => ({
        ...config,
        adapters: ADAPTERS,
        models: new Map(
          [...config.models].map(([name, model]) => [
            name,
            name === 'secret' ? { ...model, pool: 'gone', fallback: ['legal'] } : model,
          ]),
        ),
      }),
    });
    adapters.reported(URL, ['legal'], 0);
    expect(sentModel(ask(world, 'secret').said)).toBe('legal');
    expect(errorOf(ask(world, 'secret', 'b').said)[0]).toBe(503);
  });
});
