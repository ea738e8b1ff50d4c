/** `fields`: what a request’s body may carry. */
import { DEFAULT_FORBIDDEN_FIELDS, DEFAULT_TOOLS } from '../forbidden-fields.ts';
import { choice, openList, section, word } from './dsl.ts';

export const fields = section(
  {
    onForbidden: choice(
      ['drop', 'refuse'],
      'A request that carries a forbidden field goes on without it (`drop`) or is refused with 400 (`refuse`).',
    ).prefault('drop'),
    forbidden: openList(
      word(
        /^[+-]?[A-Za-z0-9_.-]{1,128}\*?$/,
        'a field name of up to 128 letters, digits, "_", "." or "-"; a trailing "*" matches a prefix, a leading + or - changes the built-in list',
        'A field.',
      ),
      256,
      'field names',
      'Request fields that tenants may not set: `a.b` is `b` within `a`, or within every element of it; a trailing `*` matches a prefix. Names alone replace the built-in list; `+name` and `-name` add to it and remove from it.',
    ).prefault([...DEFAULT_FORBIDDEN_FIELDS]),
    tools: openList(
      word(
        /^[+-]?[A-Za-z0-9_.-]{0,64}\*?$/,
        'a type of tools of up to 64 letters, digits, "_", "." or "-"; a trailing "*" matches a prefix, a leading + or - changes the built-in list',
        'A type.',
      ),
      64,
      'types of tools',
      'Types of tools that a request may bring. Others act in the engine’s network or elsewhere (`mcp`, `code_interpreter`, `web_search`, …) and are refused with 400; with `onForbidden: drop` a `web_search` beside other tools, which the model may leave alone, is left out. `mcp_servers` and `web_search_options` are fields that count as such types. `"*"` allows all; `+name` and `-name` change the built-in list.',
    ).prefault([...DEFAULT_TOOLS]),
    state: choice(
      ['refuse', 'allow'],
      'What names something that is stored elsewhere (`conversation`, a stored `prompt`, `item_reference`, `file_id`, `container`): it is a prompt that is not counted, and may be another tenant’s. A `previous_response_id` of `/v1/responses` is taken from its owner alone, whatever this says.',
    ).prefault('refuse'),
  },
  'Fields of the request body.',
).prefault({});
