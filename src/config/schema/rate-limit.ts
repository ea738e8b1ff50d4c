/** `rateLimit`: the rate limit service. */
import { anyHostPort, choice, filePath, number, section, word } from './dsl.ts';

const headerNameAsSent = (standard: string, description: string) =>
  word(/^[A-Za-z0-9][A-Za-z0-9-]{0,63}$/, `a header name, for example ${standard}`, description).prefault(
    standard,
  );

/** As the reference calls them. */
const headerNames = {
  limit: headerNameAsSent('RateLimit-Limit', 'Name of the header with the limit.'),
  remaining: headerNameAsSent('RateLimit-Remaining', 'Name of the header with what is left of it.'),
  reset: headerNameAsSent(
    'RateLimit-Reset',
    'Name of the header with the seconds until all of it is there again.',
  ),
};

const responseHeaders = section(
  {
    send: choice(['on', 'off'], 'Whether answers to clients have these headers.').prefault('on'),
    perUnit: choice(
      ['off', 'on'],
      'With `on` there are two headers more for each unit of which the call has a limit, with the tightest of that unit: `RateLimit-Limit-Minutes`, `RateLimit-Remaining-Minutes`.',
    ).prefault('off'),
    ...headerNames,
  },
  'Headers for the client, about the limit that refused, else the one of which least is left.',
).prefault({});

const requestHeaders = section(
  {
    send: choice(['off', 'on'], 'Whether requests to the upstream have these headers.').prefault('off'),
    ...headerNames,
  },
  'The same headers for the upstream.',
).prefault({});

export const rateLimit = section(
  {
    directory: filePath(
      '/etc/fairlane/limits',
      'Folder of rate limit files (`*.yaml`) in the language of envoyproxy/ratelimit; relative to the configuration file’s folder. Read again when they change. Default: the rate limit service knows no domain.',
    ).optional(),
    snapshot: filePath(
      '/var/lib/fairlane/limits.json',
      'File in which what is used of limits is kept over a restart; written every ten seconds and at the end, relative to the configuration file’s folder. With `redis`: what is used of the tenants’ months, for a start while Redis is away. Default: limits start full.',
    ).optional(),
    mergeDomains: choice(['off', 'on'], 'With `on` a domain may be spread over several files.').prefault(
      'off',
    ),
    shadowMode: choice(['off', 'on'], 'With `on` everything is counted and nothing refused.').prefault('off'),
    quotaMode: choice(
      ['off', 'on'],
      'With `on` all limits are quotas, as with `quota_mode` in the files: a call is refused only when no backend and model of it has anything left.',
    ).prefault('off'),
    chargeRefused: choice(
      ['on', 'off'],
      'With `off` a call that one limit refuses is not charged to its other limits.',
    ).prefault('on'),
    nearLimitRatio: number(
      [0, 1],
      'The part of a limit beyond which hits count in `fairlane_ratelimit_near_limit_hits_total`.',
    ).prefault(0.8),
    dynamicMetadata: choice(
      ['auto', 'on', 'off'],
      'Whether answers have dynamic metadata for Envoy: domain, descriptors, and the `metadata` of limits with room. `auto`: answers to calls of which a limit has `metadata`.',
    ).prefault('auto'),
    responseHeaders,
    requestHeaders,
    http: anyHostPort(
      'host:port with a port from 1 to 65535, for example 127.0.0.1:8081 or [::1]:8081',
      'Where `/json` takes calls as JSON over HTTP, and `/healthcheck` answers. Whoever reaches it can use limits up. Default: nowhere.',
    ).optional(),
  },
  'The rate limit service (`envoy.service.ratelimit.v3`), on the port of `service.address`.',
).prefault({});
