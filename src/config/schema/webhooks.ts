/** `webhooks`: who is told of events. */
import * as z from 'zod';
import { must } from '../values.ts';
import { WEBHOOK_TOPICS } from '../webhooks.ts';
import { about, choice, list, section, yes } from './dsl.ts';

const MOST_HOOKS = 16;

const hook = section(
  {
    url: z
      .string({ error: must('an https:// URL, env:NAME or file:PATH') })
      .meta(
        about(
          'Where events are sent, each as a POST: an `https://` URL, or `env:NAME` or `file:PATH` where it has a secret in it; `env:NAME?` or `file:PATH?`, which may be absent, and the receiver with it. `http://` only to this machine, or with `insecure`.',
          'URL',
        ),
      ),
    secret: z
      .string({ error: must('env:NAME or file:PATH') })
      .meta(
        about(
          'The key of the signatures, `whsec_` and 24 to 64 random bytes in base64: `env:NAME` or `file:PATH`, or the key itself.',
          '`env:NAME` or `file:PATH`',
        ),
      ),
    events: list(
      choice(WEBHOOK_TOPICS, 'Events.'),
      WEBHOOK_TOPICS.length,
      'topics',
      `What it is told of: ${WEBHOOK_TOPICS.map((topic) => `\`${topic}\``).join(', ')}. Default: \`budget\`.`,
    ).prefault(['budget']),
    insecure: yes(
      'Lets `url` be `http://` to another machine: anybody on the way reads the events.',
    ).prefault(false),
  },
  'A receiver of events.',
);

export const webhooks = list(
  hook,
  MOST_HOOKS,
  'receivers',
  'Who is told of events: JSON, signed as Standard Webhooks has it, sent again for up to a day while it fails. Default: nobody.',
).optional();
