/** `cors`: browser clients. */
import { duration, HEADER_NAME, list, section, word } from './dsl.ts';

/** As browsers write it: no path, no slash at the end, the name in lower case. */
const ORIGIN =
  /^(?:\*|https?:\/\/(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])(?::[1-9]\d{0,4})?)$/;

export const cors = section(
  {
    origins: list(
      word(
        ORIGIN,
        'an origin as browsers send it, for example https://app.example.com or http://localhost:3000, or "*"',
        'An origin: scheme, name and port, as the browser writes it. `*` for all.',
      ),
      64,
      'origins',
      'Whose pages may call. Everybody who opens such a page calls with the key that the page has.',
    ),
    headers: list(
      word(
        new RegExp(`^(?:\\*|${HEADER_NAME})$`),
        'a header name in lower case, or "*"',
        'A header name, or `*` for all.',
      ),
      64,
      'header names',
      'Request headers that pages may send; `authorization` always. Default: all.',
    ).prefault(['*']),
    maxAge: duration('0s', '24h', '10m', 'How long a browser may keep what a preflight said.').prefault(
      '10m',
    ),
  },
  'Browser clients. Preflights are answered without a key, and every answer says whose pages may read it. Default: none are told.',
).optional();
