/** `routes`: what engines serve and the API does not have. */
import { choice, model, name, named, section, word } from './dsl.ts';

const route = section(
  {
    path: word(
      /^(?:\/[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,63}){1,8}$/,
      'a path of letters, digits, ".", "_", "~" and "-" between slashes, for example /v1/audio/music',
      'Exact path, as clients ask for it and the engine gets it. None of the API’s own, and none by which engines take orders or tell of themselves.',
      'path',
    ),
    method: choice(['POST', 'GET'], 'Its method.').prefault('POST'),
    body: choice(
      ['json', 'multipart', 'none'],
      'What its body is: a JSON object or a form (`multipart/form-data`), either with a field `model`, or nothing.',
    ).prefault('json'),
    metered: choice(
      ['requests', 'usage', 'none'],
      'What a request counts as: `requests` a request of `requestsPerMinute`, and no tokens; `usage` also the tokens that its answer reports as `usage`, and its prompt by its size where it reports none; `none` neither. All count for `maxConcurrent` and by their bytes, and wait in the queue.',
    ).prefault('requests'),
    model: model(
      'The model whose requests they are: a tenant that may not use it may not use the route, and its pool serves it. A body may then leave its `model` out, and may name no other. Needed with `body: none`. Default: each request names its own.',
    ).optional(),
  },
  'A route.',
);

export const routes = named(
  name('Name, for metrics and records.'),
  route,
  [0, 64],
  'routes by name',
  'Routes that the API does not have, by a name for metrics and records. What is known of their bodies is the model: fields of `fields.forbidden` are left out, and media, tools and addresses in them are not looked at. While the service is away nobody serves them.',
).prefault({});
