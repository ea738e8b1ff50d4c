/** `redis`: one way to reach it, with secrets that can be read and TLS files that belong together. */
import { isKeyOf, lookUpCertificates, lookUpPrivateKey } from '../pem.ts';
import type { Report } from '../report.ts';
import { type Looked, lookUpKey, type Sources } from '../secrets.ts';
import { FILE_PATH } from '../values.ts';
import { at, isMapping, type Mapping } from '../written-data.ts';
import type { Check } from './check.ts';

/** What stands in these settings of `redis`, looked up. */
export interface RedisSecrets {
  readonly url: Looked | undefined;
  readonly password: Looked | undefined;
  readonly sentinelPassword: Looked | undefined;
  readonly caFile: Looked | undefined;
  readonly certFile: Looked | undefined;
  readonly keyFile: Looked | undefined;
}

export function findRedisSecrets(value: unknown, sources: Sources): RedisSecrets {
  const of = (key: string, lookUp: typeof lookUpKey, pattern = /^/): Looked | undefined => {
    const text = at(value, 'redis', key);
    return typeof text === 'string' && pattern.test(text) ? lookUp(text, sources) : undefined;
  };
  return {
    url: of('url', lookUpKey),
    password: of('password', lookUpKey),
    sentinelPassword: of('sentinelPassword', lookUpKey),
    caFile: of('caFile', lookUpCertificates, FILE_PATH),
    certFile: of('certFile', lookUpCertificates, FILE_PATH),
    keyFile: of('keyFile', lookUpPrivateKey, FILE_PATH),
  };
}

/** For hiding: what was written, and what it stands for. */
export function redisSecretTexts(
  value: unknown,
  { url, password, sentinelPassword }: Pick<RedisSecrets, 'url' | 'password' | 'sentinelPassword'>,
): readonly { readonly text: string; readonly looked: Looked }[] {
  return (
    [
      ['url', url],
      ['password', password],
      ['sentinelPassword', sentinelPassword],
    ] as const
  ).flatMap(([key, looked]) => {
    const text = at(value, 'redis', key);
    return typeof text === 'string' && looked !== undefined ? [{ text, looked }] : [];
  });
}

const REDIS_URL = /^rediss?:\/\/[^\s/?#]+(:\d+)?(\/\d+)?$/;

export const speaksTls = (tls: unknown, { url }: RedisSecrets): boolean =>
  tls === 'on' || (url?.kind === 'ok' && url.value.startsWith('rediss:'));

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}

export function checkRedis(secrets: RedisSecrets, { root, report }: Check): void {
  const { url, password, sentinelPassword } = secrets;
  const redis = at(root, 'redis');
  if (!isMapping(redis)) return;
  const given = ['url', 'sentinels', 'cluster'].filter((key) => redis[key] !== undefined);
  if (given.length !== 1) {
    report.problem(['redis'], 'needs exactly one of url, sentinels and cluster', 'key');
  }
  if (redis['sentinels'] !== undefined && redis['sentinelName'] === undefined) {
    report.problem(['redis', 'sentinels'], 'needs sentinelName: what the sentinels call the primary', 'key');
  }
  if (url?.kind === 'bad') report.problem(['redis', 'url'], url.problem);
  else if (url?.kind === 'ok' && (!REDIS_URL.test(url.value) || !URL.canParse(url.value))) {
    report.problem(
      ['redis', 'url'],
      'must be redis://[[user][:password]@]host[:port][/database], or rediss:// for TLS',
    );
  } else if (url?.kind === 'ok' && !isDecodable(url.value)) {
    report.problem(['redis', 'url'], 'has a % that begins no escape; write it as %25');
  }
  if (password?.kind === 'bad') report.problem(['redis', 'password'], password.problem);
  if (sentinelPassword?.kind === 'bad') {
    report.problem(['redis', 'sentinelPassword'], sentinelPassword.problem);
  }
  for (const key of ['sentinelUsername', 'sentinelPassword']) {
    if (redis[key] !== undefined && redis['sentinels'] === undefined) {
      report.problem(['redis', key], 'has no effect without sentinels; remove it', 'key');
    }
  }
  if (redis['sentinelUsername'] !== undefined && redis['sentinelPassword'] === undefined) {
    report.problem(['redis', 'sentinelUsername'], 'needs sentinelPassword: its password', 'key');
  }
  checkRedisTls(secrets, redis, report);
}

function checkRedisTls(secrets: RedisSecrets, redis: Mapping, report: Report): void {
  const speaks = speaksTls(redis['tls'], secrets);
  for (const name of ['caFile', 'certFile', 'keyFile'] as const) {
    const looked = secrets[name];
    if (looked?.kind === 'bad') report.problem(['redis', name], looked.problem);
    else if (looked !== undefined && !speaks) {
      report.problem(['redis', name], 'needs TLS: tls: on, or a url that begins with rediss://', 'key');
    }
  }
  const { certFile, keyFile } = secrets;
  if (certFile !== undefined && redis['keyFile'] === undefined) {
    report.problem(['redis', 'certFile'], 'needs keyFile: the private key of the certificate', 'key');
  }
  if (keyFile !== undefined && redis['certFile'] === undefined) {
    report.problem(['redis', 'keyFile'], 'needs certFile: the certificate that it is the key of', 'key');
  }
  if (certFile?.kind === 'ok' && keyFile?.kind === 'ok' && !isKeyOf(keyFile.value, certFile.value)) {
    report.problem(['redis', 'keyFile'], 'is not the key of the first certificate in certFile');
  }
}
