/** Redis as the program uses it, from a configuration that has been checked. */
import { type RedisSecrets, speaksTls } from './checks/redis.ts';
import type { RedisConfig } from './config.ts';
import type { WrittenConfig } from './schema/schema.ts';
import type { Looked } from './secrets.ts';

/** Where nobody is to connect. */
const UNRESOLVED_URL = 'redis://unresolved.invalid';

/** What the URL says of them comes first. */
function withCredentials(url: string, username = '', password = ''): string {
  const whole = new URL(url);
  if (whole.username === '') whole.username = encodeURIComponent(username);
  if (whole.password === '') whole.password = encodeURIComponent(password);
  return whole.href;
}

export function redisOf(written: NonNullable<WrittenConfig['redis']>, secrets: RedisSecrets): RedisConfig {
  const {
    sentinels,
    sentinelName = '',
    sentinelUsername,
    cluster,
    username,
    keyPrefix,
    maxWait,
    failureShare,
  } = written;
  const of = (looked: Looked | undefined): string | undefined =>
    looked?.kind === 'ok' ? looked.value : undefined;
  const password = of(secrets.password);
  const sentinelPassword = of(secrets.sentinelPassword);
  const pem = { ca: of(secrets.caFile), cert: of(secrets.certFile), key: of(secrets.keyFile) };
  return {
    target:
      sentinels !== undefined
        ? {
            kind: 'sentinel',
            sentinels,
            name: sentinelName,
            ...(sentinelUsername !== undefined && { username: sentinelUsername }),
            ...(sentinelPassword !== undefined && { password: sentinelPassword }),
          }
        : cluster !== undefined
          ? { kind: 'cluster', nodes: cluster }
          : { kind: 'url', url: withCredentials(of(secrets.url) ?? UNRESOLVED_URL, username, password) },
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
    ...(speaksTls(written.tls, secrets) && {
      tls: {
        ...(pem.ca !== undefined && { ca: pem.ca }),
        ...(pem.cert !== undefined && { cert: pem.cert }),
        ...(pem.key !== undefined && { key: pem.key }),
      },
    }),
    keyPrefix,
    maxWaitMs: maxWait,
    failureShare,
  };
}
