/** Models of a key: of what its tenant may use, those alone. */
import { describe, expect, it } from 'vitest';
import { refusalOfOwner } from '../../../src/admission/owned.ts';
import { responseNotFound } from '../../../src/openai/error-body.ts';
import { createCatalog } from '../../../src/routing/model-catalog.ts';
import { configOf } from '../config/parse.ts';

const config = configOf({
  pools: { main: { endpoints: ['http://127.0.0.1:8000'], adaptersPerEndpoint: 2 } },
  models: { llama: { pool: 'main', fallback: ['qwen'] }, qwen: { pool: 'main' }, phi: { pool: 'main' } },
  aliases: { fast: 'phi' },
  adapters: { legal: { base: 'llama', path: '/l', tenants: ['alice'] } },
  tenants: { alice: { keys: ['key-of-alice'], models: ['llama', 'qwen', 'phi'] } },
});
const catalog = createCatalog(config);
const alice = config.tenants.get('alice');
if (alice === undefined) throw new Error('there is no alice');

describe('the models of a key', () => {
  it.each<[readonly string[], readonly string[]]>([
    [['llama'], ['llama']],
    [['phi'], ['fast', 'phi']],
    [['fast'], ['fast']],
    [
      ['legal', 'qwen'],
      ['legal', 'qwen'],
    ],
    [['nothing'], []],
  ])('%j are %j', (models, listed) => {
    const tenant = { ...alice, keyModels: new Set(models) };
    expect(catalog.modelsOf(tenant)).toEqual(listed);
    for (const name of ['llama', 'qwen', 'phi', 'fast', 'legal']) {
      const choice = catalog.choose(tenant, name, () => undefined);
      expect([name, choice.kind]).toEqual([name, listed.includes(name) ? 'serve' : 'denied']);
    }
  });

  it('bound fallbacks, too', () => {
    const away = (model: string) => (model === 'llama' ? 'no-endpoint' : undefined);
    expect(catalog.choose(alice, 'llama', away)).toEqual({ kind: 'serve', model: 'qwen' });
    const tenant = { ...alice, keyModels: new Set(['llama']) };
    expect(catalog.choose(tenant, 'llama', away).kind).toBe('hindered');
  });

  it('bound whose stored responses it may have', () => {
    const owner = { tenant: 'alice', pool: 'main', endpoint: 'e', model: 'phi', asked: 'fast', tokens: 0 };
    const codeFor = (...models: readonly string[]) =>
      refusalOfOwner(
        { dispatcher: { canServe: () => true } } as never,
        owner,
        'resp_1',
        responseNotFound,
        models.length === 0 ? {} : { keyModels: new Set(models) },
      )?.code;
    expect([codeFor(), codeFor('phi'), codeFor('fast'), codeFor('llama')]).toEqual([
      undefined,
      undefined,
      undefined,
      'response_not_found',
    ]);
  });
});
