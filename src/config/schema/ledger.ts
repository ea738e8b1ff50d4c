/** `ledger`: where a row is kept for each request. */
import * as z from 'zod';
import { must } from '../values.ts';
import { about, filePath, parsed, section, size } from './dsl.ts';

const DAY_MS = 86_400_000;
const [LEAST_DAYS, MOST_DAYS] = [7, 3_650];

function daysMs(text: string): number | undefined {
  const [, count] = /^(\d{1,4})d$/.exec(text) ?? [];
  const days = Number(count);
  return days >= LEAST_DAYS && days <= MOST_DAYS ? days * DAY_MS : undefined;
}

export const ledger = section(
  {
    directory: filePath(
      '/var/lib/fairlane',
      'State directory, for this user alone, made if it is missing: the SQLite file `ledger.db`, and the records that the database does not have yet. Relative to the configuration file’s folder; not on a network file system. Default: with `url` the folder `ledger` in `envoy.directory`; required without.',
    ).optional(),
    url: z
      .string({ error: must('a postgresql:// URL, env:NAME or file:PATH') })
      .meta(
        about(
          'A PostgreSQL database instead of the SQLite file: `postgresql://[user[:password]@]host[:port]/database`; `env:NAME` or `file:PATH` to keep the password out of this file. Replicas may share one. Default: SQLite.',
          'URL',
        ),
      )
      .optional(),
    keep: parsed(
      daysMs,
      `a number of days from ${LEAST_DAYS}d to ${MOST_DAYS}d, for example 90d`,
      `days, ${LEAST_DAYS}d to ${MOST_DAYS}d`,
      'How long a request’s row is kept. Sums by hour and by day are kept for ever.',
    ).prefault('90d'),
    maxSpool: size(
      '1MiB',
      '64GiB',
      '256MiB',
      'Most records that wait in `directory` while the database is away, at about 350 bytes each. More are lost, which metrics and the log tell.',
    ).prefault('256MiB'),
  },
  'What each request used, kept in a database: rows by request, sums by hour and by day. Default: nothing is kept.',
).optional();
