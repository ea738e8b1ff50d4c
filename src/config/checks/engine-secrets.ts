/** Keys and certificates for engines: looked up, and what is wrong with them. */
import type { EndpointConfig, EngineTls } from '../config.ts';
import { isKeyOf, lookUpCertificates, lookUpPrivateKey, validityOf } from '../pem.ts';
import { type Looked, lookUpKey, SECRET_REFERENCE, type Sources } from '../secrets.ts';
import { FILE_PATH } from '../values.ts';
import { at, entriesAt, isMapping } from '../written-data.ts';
import type { Path } from '../yaml-source.ts';
import type { Check } from './check.ts';

/** What stands in these settings of a pool, or of one of its endpoints, looked up. */
interface Secrets {
  readonly apiKey: Looked | undefined;
  readonly ca: Looked | undefined;
  readonly cert: Looked | undefined;
  readonly key: Looked | undefined;
}

const NO_SECRETS: Secrets = { apiKey: undefined, ca: undefined, cert: undefined, key: undefined };

interface Place {
  /** `pools.NAME`, or `pools.NAME.endpoints[i]`. */
  readonly path: Path;
  readonly written: unknown;
  readonly secrets: Secrets;
}

/** By their place, as text. */
export type EngineSecrets = ReadonlyMap<string, Place>;

const placeOf = (path: Path): string => JSON.stringify(path);

function findAt(path: Path, written: unknown, sources: Sources): Place {
  const textOf = (...keys: readonly string[]): string | undefined => {
    const text = at(written, ...keys);
    return typeof text === 'string' ? text : undefined;
  };
  const apiKey = textOf('apiKey');
  const pem = (key: string, lookUp: typeof lookUpCertificates): Looked | undefined => {
    const text = textOf('tls', key);
    return text !== undefined && FILE_PATH.test(text) ? lookUp(text, sources) : undefined;
  };
  const secrets = {
    // What is no reference is the schema's to refuse, but a secret all the same.
    apiKey: apiKey === undefined ? undefined : lookUpKey(apiKey, sources),
    ca: pem('ca', lookUpCertificates),
    cert: pem('cert', lookUpCertificates),
    key: pem('key', lookUpPrivateKey),
  };
  return { path, written, secrets };
}

export function findEngineSecrets(root: unknown, sources: Sources): EngineSecrets {
  const found = new Map<string, Place>();
  const add = (place: Place): void => {
    found.set(placeOf(place.path), place);
  };
  for (const [pool, settings] of entriesAt(root, 'pools')) {
    add(findAt(['pools', pool], settings, sources));
    const endpoints = at(settings, 'endpoints');
    if (!Array.isArray(endpoints)) continue;
    endpoints.forEach((entry: unknown, i) => {
      if (isMapping(entry)) add(findAt(['pools', pool, 'endpoints', i], entry, sources));
    });
  }
  return found;
}

/** Of a reference that nobody was to follow: it is there, and that is all that matters. */
const UNRESOLVED = 'unresolved';

/** For hiding: what was written, and what it stands for. */
export const engineKeyTexts = (
  found: EngineSecrets,
): readonly { readonly text: string; readonly looked: Looked }[] =>
  [...found.values()].flatMap(({ written, secrets: { apiKey } }) => {
    const text = at(written, 'apiKey');
    return typeof text === 'string' && apiKey !== undefined ? [{ text, looked: apiKey }] : [];
  });

/** What is wrong with each by itself; whether they fit each other is seen where they are used (`engineAccess`). */
export function checkEngineSecrets(found: EngineSecrets, { report, nowMs }: Check): void {
  for (const { path, written, secrets } of found.values()) {
    const apiKey = at(written, 'apiKey');
    // What is no reference was refused already.
    if (secrets.apiKey?.kind === 'bad' && typeof apiKey === 'string' && SECRET_REFERENCE.test(apiKey)) {
      report.problem([...path, 'apiKey'], secrets.apiKey.problem);
    }
    for (const name of ['ca', 'cert', 'key'] as const) {
      const looked = secrets[name];
      if (looked?.kind === 'bad') report.problem([...path, 'tls', name], looked.problem);
      else if (looked?.kind === 'ok' && name !== 'key' && nowMs !== undefined) {
        const told = validityOf(looked.value, nowMs);
        if (told !== undefined) report.warning([...path, 'tls', name], told);
      }
    }
    if (at(written, 'tls', 'insecureSkipVerify') === true) {
      report.warning(
        [...path, 'tls', 'insecureSkipVerify'],
        'takes whoever answers for the engine: keys and prompts go to it. Give tls.ca instead',
        'key',
      );
    }
  }
}

/**
 * How an endpoint is reached: by its own settings, and by its pool's where it has none.
 *
 * @param path of the endpoint, as an entry of the list.
 */
export function engineAccess(
  found: EngineSecrets,
  pool: string,
  path: Path,
  isSecure: boolean,
  { report }: Check,
): Pick<EndpointConfig, 'apiKey' | 'tls'> {
  const own = found.get(placeOf(path));
  const shared = found.get(placeOf(['pools', pool]));
  const pick = (name: keyof Secrets) => {
    const of = own?.secrets[name] === undefined ? ('pool' as const) : ('endpoint' as const);
    const { secrets = NO_SECRETS } = (of === 'endpoint' ? own : shared) ?? {};
    const looked = secrets[name];
    if (looked === undefined || looked.kind === 'bad') return undefined;
    return { value: looked.kind === 'ok' ? looked.value : UNRESOLVED, of };
  };
  const apiKey = pick('apiKey');
  if (!isSecure) {
    if (at(own?.written, 'tls') !== undefined) {
      report.problem([...path, 'tls'], 'needs an https:// URL; write it so, or remove tls', 'key');
    }
    return { ...(apiKey !== undefined && { apiKey }) };
  }
  const tls: { -readonly [K in keyof EngineTls]: EngineTls[K] } = {};
  const ca = pick('ca');
  if (ca !== undefined) tls.ca = ca;
  const setting = (name: string): unknown =>
    at(own?.written, 'tls', name) ?? at(shared?.written, 'tls', name);
  const serverName = setting('serverName');
  if (typeof serverName === 'string') tls.serverName = serverName;
  if (setting('insecureSkipVerify') === true) tls.insecureSkipVerify = true;
  const cert = pick('cert');
  const key = pick('key');
  if (cert !== undefined && key !== undefined) {
    const where = cert.of === 'endpoint' || key.of === 'endpoint' ? path : ['pools', pool];
    if (cert.value === UNRESOLVED || isKeyOf(key.value, cert.value))
      tls.identity = { cert: cert.value, ...key, of: key.of };
    else report.problem([...where, 'tls', 'key'], 'is not the key of the first certificate in tls.cert');
  }
  return { ...(apiKey !== undefined && { apiKey }), tls };
}

/** Pairs that are not whole, and TLS that nothing speaks. @param secure pools with https endpoints. */
export function checkEngineTls(found: EngineSecrets, secure: ReadonlySet<string>, check: Check): void {
  const { report } = check;
  for (const { path, written } of found.values()) {
    const [, pool = '', ...inner] = path;
    const shared = inner.length > 0 ? found.get(placeOf(['pools', pool]))?.written : undefined;
    const has = (name: string): boolean =>
      (at(written, 'tls', name) ?? at(shared, 'tls', name)) !== undefined;
    const hasOwn = (name: string): boolean => at(written, 'tls', name) !== undefined;
    if (hasOwn('cert') && !has('key')) {
      report.problem([...path, 'tls', 'cert'], 'needs tls.key: the private key of the certificate', 'key');
    }
    if (hasOwn('key') && !has('cert')) {
      report.problem([...path, 'tls', 'key'], 'needs tls.cert: the certificate that it is the key of', 'key');
    }
    if (inner.length === 0 && at(written, 'tls') !== undefined && !secure.has(String(pool))) {
      report.warning([...path, 'tls'], 'has no effect: no endpoint of this pool has an https:// URL', 'key');
    }
  }
}
