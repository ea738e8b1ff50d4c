import { expect, it } from 'vitest';
import type { ModelConfig } from '../../../src/config/config.ts';
import { DEFAULT_COST } from '../../../src/domain/cost.ts';
import { modelStatuses } from '../../../src/service/model-status.ts';

const model = (name: string, change: Partial<ModelConfig> = {}): [string, ModelConfig] => [
  name,
  {
    name,
    pool: 'main',
    cost: DEFAULT_COST,
    fallback: [],
    ...change,
  },
];

it('models are shown with all that leads to them and all that serves in their place', () => {
  const statuses = modelStatuses({
    config: {
      models: new Map([model('chat', { fallback: ['small'] }), model('next')]),
      aliases: new Map([
        ['gpt', 'chat'],
        ['gpt-latest', 'gpt'],
        ['style', 'tone'],
      ]),
      adapters: new Map([
        ['tone', { name: 'tone', base: 'chat' }],
        ['lost', { name: 'lost', base: 'nowhere' }],
      ]),
    },
    served: [
      ['chat', 'main'],
      ['next', 'main'],
      ['found', 'other'],
      ['tone', 'main'],
    ],
    canaries: [{ model: 'chat', canary: 'next', weight: 0, rolledBack: { gate: 'ttft', detail: 'slower' } }],
    mirrors: [{ model: 'chat', pool: 'shadow', fraction: 0.1, running: 2 }],
    contextOf: (pool, name) => (pool === 'main' && name === 'chat' ? 8_192 : undefined),
    places: [
      { endpoint: 'http://a:1', max: 2, loaded: [{ adapter: 'tone', inFlight: 3 }], loading: [] },
      // Another program's.
      { endpoint: 'http://b:1', max: 2, loaded: [{ adapter: 'other', inFlight: 0 }], loading: ['tone'] },
    ],
  });
  expect(statuses).toEqual([
    {
      name: 'chat',
      kind: 'configured',
      pool: 'main',
      aliases: ['gpt', 'gpt-latest'],
      contextTokens: 8_192,
      fallback: ['small'],
      canary: { model: 'next', weight: 0, rolledBack: 'slower' },
      mirror: { pool: 'shadow', fraction: 0.1, running: 2 },
    },
    { name: 'found', kind: 'discovered', pool: 'other', aliases: [], fallback: [] },
    { name: 'lost', kind: 'adapter', aliases: [], fallback: [], base: 'nowhere', loaded: [] },
    { name: 'next', kind: 'configured', pool: 'main', aliases: [], fallback: [] },
    {
      name: 'tone',
      kind: 'adapter',
      pool: 'main',
      aliases: ['style'],
      contextTokens: 8_192,
      fallback: [],
      base: 'chat',
      loaded: [{ endpoint: 'http://a:1', inFlight: 3 }],
    },
  ]);
});
