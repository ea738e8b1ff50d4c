/** `models`, `aliases` and `adapters`: what clients may ask for, and which pool serves it. */
import { cost } from './cost.ts';
import {
  about,
  choice,
  duration,
  headerName,
  integer,
  list,
  loadable,
  model,
  name,
  named,
  number,
  printable,
  section,
} from './dsl.ts';

const mirror = section(
  {
    pool: name(
      'Pool that gets the copies. It must serve the model under the same name, and no model of this mapping.',
    ),
    percent: number([0, 100], 'Part of the model’s requests that are copied, in percent.'),
    maxConcurrent: integer(
      1,
      1_000,
      'Copies that run at once. Of models with one mirror pool the numbers are added up.',
    ).prefault(8),
    perSecond: number(
      [0.01, 10_000],
      'Copies that begin in a second, on average; as many may begin at once (at least one).',
    ).prefault(5),
    maxDuration: duration(
      '100ms',
      '1h',
      '60s',
      'A copy that takes longer is broken off. Models with one mirror pool must agree on it.',
    ).prefault('60s'),
  },
  'A pool that gets copies of part of the requests: nobody sees its answers, and nothing is charged for them. Default: none.',
);

export const models = named(
  model('Model name, as clients send it.'),
  section(
    {
      pool: name('Pool that serves the model.'),
      cost: cost
        .meta(about('Its own cost weights, all of them. Default: `cost`.', 'the keys of `cost`'))
        .optional(),
      fallback: list(
        model('A model or an alias.'),
        16,
        'models',
        'Models or aliases that serve in its place, in this order, while no healthy endpoint serves it or its pool’s queue is full for everybody; only those that the tenant may use. Default: none.',
      ).optional(),
      canary: section(
        {
          model: model(
            'The new version: another model of this mapping. Who may use the old one may be served by it.',
          ),
          weight: number(
            [0, 100],
            'Its part of the requests, in percent. 0 sends none; after a rollback another number begins anew.',
          ).prefault(5),
          by: choice(
            ['tenant', 'session'],
            'Whose requests all go to one version: a tenant’s, or a session’s of a tenant. With few tenants the parts are uneven: then take `session`.',
          ).prefault('tenant'),
          sessionHeader: headerName(
            'With `by: session`: request header that names the session. Requests without it are one session of their tenant.',
          ).prefault('x-session-id'),
          salt: printable(64, 'Another one is another draw, and a new beginning. Default: none.').optional(),
        },
        'A new version that has part of the requests until it fails or is slow more often. Default: none.',
      ).optional(),
      mirror: mirror.optional(),
    },
    'A model.',
  ),
  [0, 1_000],
  'models',
  'Which pool serves which model. Not needed for a pool whose engines announce their models at `/v1/models`.',
).prefault({});

export const aliases = named(
  model('Another name, as clients send it.'),
  model('The model, or another alias.'),
  [0, 1_000],
  'aliases',
  'Other names of models.',
)
  .meta(
    about(
      'Other names: what clients send, and the model that it means (or another alias). A tenant may use an alias if its `models` has the alias or the model. See [changes.md](changes.md).',
      'mapping of names to models',
    ),
  )
  .prefault({});

export const adapters = named(
  model('Adapter name, as clients send it in `model` and as engines know it.'),
  section(
    {
      base: model('Model that it adapts; the pool of that model serves the adapter, at its cost.'),
      path: loadable(
        'Where the engine finds it. Default: Fairlane never loads it, and uses it where an engine lists it.',
      ).optional(),
      tenants: list(
        name('A tenant.'),
        1_000,
        'tenants',
        'Who may use it, and nobody else. Default: tenants whose `models` has it, or is `"*"`.',
      ).optional(),
    },
    'A LoRA adapter.',
  ),
  [0, 1_000],
  'adapters',
  'LoRA adapters, by the name that clients send as `model`. See [adapters.md](adapters.md).',
).prefault({});
