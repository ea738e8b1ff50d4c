/** `lanes`: traffic classes, and the conditions by which a request gets into one. */
import { API_ROUTES, type RouteName } from '../../domain/routes.ts';
import {
  choice,
  duration,
  headerName,
  integer,
  list,
  model,
  name,
  named,
  number,
  printable,
  section,
  word,
} from './dsl.ts';

const condition = section(
  {
    tenants: list(name('A tenant.'), 1_000, 'tenants', 'One of these tenants.').optional(),
    tiers: list(name('A tier.'), 256, 'tiers', 'A tenant of one of these tiers.').optional(),
    models: list(model('A model.'), 1_000, 'models', 'One of these models.').optional(),
    routes: list(
      choice(API_ROUTES as [RouteName, ...RouteName[]], 'A route.'),
      API_ROUTES.length,
      'routes',
      'One of these routes.',
    ).optional(),
    header: section(
      {
        name: headerName(
          'Name, in lower case. Your Envoy must set or remove it, or clients choose their lane themselves.',
        ),
        value: printable(256, 'The value that it must have.'),
      },
      'A request header.',
    ).optional(),
    minPromptTokens: integer(1, 10_000_000, 'Predicted prompt tokens, at least.').optional(),
    maxPromptTokens: integer(1, 10_000_000, 'Predicted prompt tokens, at most.').optional(),
    minOutputTokens: integer(1, 10_000_000, 'The request’s own cap on its output, at least.').optional(),
    maxOutputTokens: integer(1, 10_000_000, 'The request’s own cap on its output, at most.').optional(),
  },
  'A condition: all that it says must be true.',
  'mapping',
);

const lane = section(
  {
    weight: number(
      [0.01, 1_000],
      'Its part of the concurrency limit while other lanes have requests waiting too: its weight ÷ the sum of these lanes’ weights. What a lane does not use, others borrow until the next release.',
    ).prefault(1),
    when: list(
      condition,
      64,
      'conditions',
      'Requests for which one of the conditions is true. The first lane that takes a request has it; a lane without `when` takes every request. What no lane takes goes into the first. A condition may name `tenants`, `tiers`, `models`, `routes`, a `header` (`name`, `value`), `minPromptTokens`, `maxPromptTokens`, `minOutputTokens`, `maxOutputTokens`; all that it names must be true. Default: every request.',
    ).optional(),
    order: choice(
      ['fcfs', 'shortest'],
      'Order among one tenant’s requests: first come first served, or the least predicted cost first.',
    ).prefault('fcfs'),
    maxAge: duration(
      '100ms',
      '55m',
      '10s',
      'With `order: shortest`: a request that has waited for so long goes first.',
    ).prefault('10s'),
    ttft: duration(
      '1ms',
      '10m',
      '200ms',
      'Largest time from the release to the first token: the concurrency limit is kept small enough for it in nine of ten requests. Default: none.',
    ).optional(),
    itl: duration('1ms', '1m', '30ms', 'Largest mean inter-token time, likewise. Default: none.').optional(),
    stalledAfter: duration(
      '100ms',
      '1h',
      '10s',
      'A stream whose client has stopped reading for so long gives its slot to others, once the engine must have ended it.',
    ).prefault('10s'),
  },
  'A traffic class with its own weight and order.',
);

export const lanes = named(
  word(
    /^[A-Za-z][A-Za-z0-9._-]{0,63}$/,
    'a letter, then up to 63 letters, digits, ".", "_" or "-"',
    'Lane name.',
  ),
  lane,
  [0, 32],
  'lanes',
  'Traffic classes, in the order in which they are asked whether a request is theirs. Without any there is one, `default`.',
).prefault({});
