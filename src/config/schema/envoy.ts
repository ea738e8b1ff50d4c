/** `envoy`: the Envoy in front. */
import { adminAddress } from '../values.ts';
import { choice, duration, HEADER_NAME, integer, list, name, parsed, section, size, word } from './dsl.ts';

/** What bounds Envoy's memory, and what those get who are slow. */
const envoyMemory = {
  connectionBufferSize: size(
    '16KiB',
    '16MiB',
    '32KiB',
    'What Envoy reads ahead of an answer for each client and from each engine, and the kernel eight times as much.',
  ).prefault('32KiB'),
  maxHeapSize: size(
    '96MiB',
    '1024GiB',
    '224MiB',
    'Envoy’s heap. Close to it Envoy ends idle connections and resets what holds most, then refuses requests (503) and connections. Default: what one tenant can make it hold.',
  ).optional(),
  maxConnections: integer(16, 1_000_000, 'Connections of clients at once; more are closed at once.').prefault(
    50_000,
  ),
  idleTimeout: duration(
    '1s',
    '1h',
    '2m',
    'A connection without a request is closed after this, and an ended answer of which nothing more is read.',
  ).prefault('2m'),
  uploads: section(
    {
      minRate: size(
        '1KiB',
        '1GiB',
        '16KiB',
        'Bytes a second that an upload makes at least, over the whole: slower ones get 408. Without a `content-length` a body counts as `envoy.maxUnsizedBodySize`.',
      ).prefault('16KiB'),
      grace: duration('1s', '10m', '10s', 'Time that an upload has besides.').prefault('10s'),
    },
    'Slow uploads.',
  ).prefault({}),
};

export const envoy = section(
  {
    admin: parsed(
      adminAddress,
      'an IP address and a port, or unix:PATH, for example 127.0.0.1:9901, [::1]:9901 or unix:admin.sock',
      '`ip:port` or `unix:PATH`',
      'Envoy’s admin page. It only reads, and has no password: keep it on loopback, or on a Unix socket, which is for the owner only. A relative path lies in `envoy.directory`.',
    ).prefault('127.0.0.1:9901'),
    directory: word(
      /^\/[^\p{C}]{0,511}$/u,
      'an absolute path, for example /run/fairlane',
      'Folder of the files that Envoy watches and, by default, of the service’s socket; Envoy and Fairlane must both see it. Not a symbolic link, and nobody but this user (or root) may write to it or to the folders above it; a sticky one as `/tmp` is good. Default: `fairlane` in `$XDG_RUNTIME_DIR`, else `fairlane-UID` in the system’s temporary folder.',
    ).optional(),
    failureMode: choice(
      ['open', 'closed'],
      'While the service is away, `open` lets authenticated requests through to `fallbackPool` without limits, `closed` refuses them.',
    ).prefault('open'),
    fallbackPool: name(
      'Pool that serves requests while the service is away. Default: the first pool.',
    ).optional(),
    passHeaders: list(
      word(
        new RegExp(`^(?!x-fairlane-|x-envoy-)${HEADER_NAME}$`),
        'a header name in lower case, not of x-fairlane-* or x-envoy-*',
        'A header name.',
      ),
      16,
      'header names',
      'Request headers that engines get besides those that they always get (docs/threat-model.md lists them). What an engine obeys in such a header, it obeys from every tenant. Default: none.',
    ).optional(),
    maxBodySize: size(
      '1KiB',
      '128MiB',
      '32MiB',
      'Largest request body. Default: `32MiB`, some images in a conversation; or the smallest `maxHeldSize` and `queue.maxQueuedSize`, where one is smaller.',
    ).optional(),
    maxUnsizedBodySize: size(
      '1KiB',
      '128MiB',
      '8MiB',
      'Largest request body without a `content-length`, over HTTP/1.1 in chunks: its tenant is charged this much memory until all of it is there, so that a smaller one lets more of them come at once. At most `envoy.maxBodySize`. Default: `8MiB`; or `envoy.maxBodySize`, where that is written or smaller.',
    ).optional(),
    ...envoyMemory,
  },
  'Envoy, in front.',
).prefault({});
