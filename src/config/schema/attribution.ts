/** `attribution`: whom a tenant's requests are counted for. */
import { choice, headerName, integer, section } from './dsl.ts';

export const attribution = section(
  {
    by: choice(
      ['user', 'header'],
      'What names it: `user`, the body’s `user` or `safety_identifier`, with Anthropic’s API `metadata.user_id`; `header`, a request header.',
    ),
    header: headerName('With `by: header`: the request header, such as `x-team`. Default: none.').optional(),
    most: integer(
      1,
      100_000,
      'Different ones of a tenant and day, in UTC, that are told apart; the others are `(other)`.',
    ).prefault(1_000),
  },
  'Whom a tenant’s requests are counted for, in usage records: text of the clients’, of at most 64 bytes. Default: nobody.',
).optional();
