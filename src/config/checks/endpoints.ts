/** The endpoints of pools, and those of them that other settings name. */
import type { EndpointConfig } from '../config.ts';
import { didYouMean, quote } from '../report.ts';
import { lookUpEnv, type Resolved } from '../secrets.ts';
import { endpoint } from '../values.ts';
import { at, entriesAt, textsAt } from '../written-data.ts';
import type { Path } from '../yaml-source.ts';
import type { Check } from './check.ts';
import { checkEngineTls, type EngineSecrets, engineAccess } from './engine-secrets.ts';

/** Of an address that stands for another one, which nobody knows. */
const UNKNOWN_HOST = /^http:\/\/x[A-Za-z0-9_]+x\.invalid:/;

/** The endpoints of each pool, as far as they are right. */
export type Endpoints = ReadonlyMap<string, readonly FoundEndpoint[]>;

/** An address in `NAME.invalid` stands for a variable that is missing where that does not matter. */
function lookUpUrl(text: string, { env, isUnresolved }: Pick<Check, 'env' | 'isUnresolved'>): Resolved {
  const looked = lookUpEnv(text, env);
  const name = /^env:([A-Za-z0-9_]{1,60})$/.exec(text)?.[1];
  if (looked.kind === 'ok' || !isUnresolved || name === undefined) return looked;
  return { kind: 'ok', value: `http://x${name}x.invalid` };
}

interface FoundEndpoint {
  readonly config: EndpointConfig;
  /** Where its URL stands. */
  readonly path: Path;
}

/** An entry of `endpoints` as it is written: a URL, or a mapping that has one. */
interface Entry {
  readonly path: Path;
  /** Of the URL. */
  readonly urlPath: Path;
  readonly text: string;
  readonly weight: unknown;
}

function entriesOf(pool: string, settings: unknown): readonly Entry[] {
  const written = at(settings, 'endpoints');
  if (!Array.isArray(written)) return [];
  return written.flatMap((entry: unknown, i): readonly Entry[] => {
    const path = ['pools', pool, 'endpoints', i];
    if (typeof entry === 'string') return [{ path, urlPath: path, text: entry, weight: undefined }];
    const text = at(entry, 'url');
    if (typeof text !== 'string') return [];
    return [{ path, urlPath: [...path, 'url'], text, weight: at(entry, 'weight') }];
  });
}

export function checkEndpoints(secrets: EngineSecrets, check: Check): Endpoints {
  const { root, report, hide, env, isUnresolved } = check;
  const owners = new Map<string, string>();
  const secure = new Set<string>();
  const found = new Map<string, FoundEndpoint[]>();
  for (const [pool, settings] of entriesAt(root, 'pools')) {
    const list: FoundEndpoint[] = [];
    const taken = new Map<string, string>();
    found.set(pool, list);
    for (const { path, urlPath, text, weight } of entriesOf(pool, settings)) {
      const looked = lookUpUrl(text, { env, isUnresolved });
      const result = looked.kind === 'ok' ? endpoint(looked.value.trim()) : looked;
      if (result.kind === 'bad') {
        const isOfVariable = looked.kind === 'ok' && text.startsWith('env:');
        report.problem(urlPath, isOfVariable ? `the value of ${text} ${result.problem}` : result.problem);
        continue;
      }
      const { isSecure, ...address } = result.endpoint;
      if (isSecure) secure.add(pool);
      const access = engineAccess(secrets, pool, path, isSecure, check);
      const { url, host, port } = address;
      const owner = owners.get(url);
      const place = `${host}:${port}`;
      const other = taken.get(place);
      owners.set(url, pool);
      taken.set(place, url);
      if (owner !== undefined) {
        const where = owner === pool ? 'this pool' : `pool ${quote(hide(owner))}`;
        // Two concurrency limits on one engine would let twice as many requests in as it can run.
        report.problem(urlPath, `${url} is already an endpoint of ${where}; list it once`);
      } else if (other !== undefined) {
        // Envoy is told where a request goes by address and port.
        report.problem(urlPath, `${url} has the host and port of ${other}; put it into a pool of its own`);
      } else {
        list.push({
          config: {
            ...address,
            pool,
            ...access,
            ...(typeof weight === 'number' && weight !== 1 && { weight }),
          },
          path: urlPath,
        });
      }
    }
  }
  checkEngineTls(secrets, secure, check);
  return found;
}

/**
 * The pool's endpoints in a list of its settings, however they are written, and where each stands. What is none of the
 * pool's is a problem.
 */
export function ownUrlsAt(
  [pool, settings]: readonly [string, unknown],
  list: readonly string[],
  own: readonly string[],
  { report, hide, env, isUnresolved }: Check,
): ReadonlyMap<string, Path> {
  const urls = new Map<string, Path>();
  for (const [i, text] of textsAt(settings, ...list)) {
    const looked = lookUpUrl(text, { env, isUnresolved });
    const result = looked.kind === 'ok' ? endpoint(looked.value.trim()) : looked;
    const path = ['pools', pool, ...list, i];
    if (result.kind === 'bad') report.problem(path, result.problem);
    else if (own.includes(result.endpoint.url)) urls.set(result.endpoint.url, path);
    else if (!own.some((url) => UNKNOWN_HOST.test(url))) {
      const near = didYouMean(result.endpoint.url, own);
      report.problem(path, `${result.endpoint.url} is no endpoint of pool ${quote(hide(pool))}${near}`);
    }
  }
  return urls;
}

/** The URLs of each pool's endpoints that are to be drained. */
export function checkDrains(endpoints: Endpoints, check: Check): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, readonly string[]>();
  for (const entry of entriesAt(check.root, 'pools')) {
    const [pool] = entry;
    const own = (endpoints.get(pool) ?? []).map(({ config }) => config.url);
    const urls = [...ownUrlsAt(entry, ['drain'], own, check).keys()];
    if (own.length > 0 && urls.length === own.length) {
      check.report.warning(['pools', pool, 'drain'], 'leaves no endpoint: every request gets a 503', 'key');
    }
    found.set(pool, urls);
  }
  return found;
}
