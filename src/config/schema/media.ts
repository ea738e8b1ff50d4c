/** `media`: images, audio, video and files in prompts. */
import { choice, integer, openList, section, word } from './dsl.ts';

export const media = section(
  {
    urls: choice(
      ['refuse', 'allow-list', 'allow'],
      'Whether engines may fetch media (images, audio, video, files) from URLs in requests: from inside your network. `refuse` takes `data:` URLs only, `allow-list` also `http:` and `https:` from `hosts`, `allow` from anywhere. Other schemes are never taken.',
    ).prefault('refuse'),
    hosts: openList(
      word(
        /^(\*\.)?[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/,
        'a host name in lower case, for example images.example.com or *.example.com',
        'A host.',
      ),
      256,
      'hosts',
      'With `urls: allow-list`: hosts that media are taken from, on any port. `*.example.com` is every host below it. An engine may follow a redirect from there to anywhere.',
    ).prefault([]),
    tokens: section(
      {
        image: integer(1, 1_000_000, 'Of an image: about 1,000 for a megapixel.').prefault(1_024),
        audio: integer(1, 1_000_000, 'Of an audio clip, at least; longer ones count by their size.').prefault(
          256,
        ),
        video: integer(1, 1_000_000, 'Of a video, at least; longer ones count by their size.').prefault(
          2_048,
        ),
        file: integer(1, 1_000_000, 'Of a file, at least; larger ones count by their size.').prefault(1_024),
      },
      'Prompt tokens that one medium is predicted to take; the engine’s own count is charged in the end.',
    ).prefault({}),
  },
  'Media in prompts.',
).prefault({});
