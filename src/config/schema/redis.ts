/** `redis`: where replicas share what they count. */
import * as z from 'zod';
import { SECRET_REFERENCE } from '../secrets.ts';
import { must } from '../values.ts';
import {
  about,
  anyHostPort,
  choice,
  duration,
  filePath,
  list,
  name,
  number,
  section,
  visible,
} from './dsl.ts';

const pemFile = (description: string) => filePath('redis-ca.pem', description).optional();

export const redis = section(
  {
    url: z
      .string({ error: must('a redis:// or rediss:// URL, env:NAME or file:PATH') })
      .meta(
        about(
          'A Redis or Valkey: `redis://[[user][:password]@]host[:port][/database]`, `rediss://` with TLS; `env:NAME` or `file:PATH` to keep the password out of this file; `env:NAME?` or `file:PATH?`, which may be absent: there is no `redis` then. Default: `sentinels` or `cluster`.',
          'URL',
        ),
      )
      .optional(),
    sentinels: list(
      anyHostPort('host:port', 'A sentinel.'),
      16,
      'addresses',
      'Sentinels, `host:port`, that know where the primary is. Default: none.',
    ).optional(),
    sentinelName: name('What the sentinels call the primary. Default: none.').optional(),
    cluster: list(
      anyHostPort('host:port', 'A node.'),
      64,
      'addresses',
      'Some nodes of a Redis Cluster, `host:port`. Default: none.',
    ).optional(),
    username: visible(256, 'a name', 'Of an ACL, where `url` has none. Default: none.').optional(),
    password: z
      .string({ error: must('env:NAME or file:PATH') })
      .regex(SECRET_REFERENCE, { error: must('env:NAME or file:PATH') })
      .meta(about('Where `url` has none. Default: none.', '`env:NAME` or `file:PATH`'))
      .optional(),
    sentinelUsername: visible(
      256,
      'a name',
      'Of an ACL of the sentinels, which have users of their own. Default: none.',
    ).optional(),
    sentinelPassword: z
      .string({ error: must('env:NAME or file:PATH') })
      .regex(SECRET_REFERENCE, { error: must('env:NAME or file:PATH') })
      .meta(
        about(
          'Of the sentinels (`requirepass`, or of `sentinelUsername`); they are not asked with `password`. Default: none.',
          '`env:NAME` or `file:PATH`',
        ),
      )
      .optional(),
    tls: choice(
      ['off', 'on'],
      'With `on` TLS is spoken, to sentinels too; `rediss://` does so without it.',
    ).prefault('off'),
    caFile: pemFile(
      'The authorities (PEM) that a server’s certificate must be from. Default: those that Node.js trusts.',
    ),
    certFile: pemFile('This client’s certificate (PEM), where a server asks for one. Default: none.'),
    keyFile: pemFile('Its private key (PEM), without a passphrase. Default: none.'),
    keyPrefix: visible(64, '1 to 64 printable characters', 'Before every key in Redis.').prefault(
      'fairlane:',
    ),
    maxWait: duration(
      '1ms',
      '1s',
      '10ms',
      'Longest time that a decision waits for Redis; then it is made alone. Envoy’s filter waits 20 ms by default.',
    ).prefault('10ms'),
    failureShare: number(
      [0.01, 1],
      'Part of each limit that this replica grants alone while Redis does not answer: 1 divided by the number of replicas keeps to the limit.',
    ).prefault(0.5),
  },
  'Where replicas share the levels of the rate limit service, and where they outlast a restart.',
).optional();
