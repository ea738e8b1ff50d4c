/** `rateLimit`: the rate limit service. */
import { choice, filePath, section } from './dsl.ts';

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
  },
  'The rate limit service (`envoy.service.ratelimit.v3`), on the port of `service.address`.',
).prefault({});
