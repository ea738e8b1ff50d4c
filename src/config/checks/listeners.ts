/** `listen`: addresses, and certificates that can be served. */
import type { ListenerConfig } from '../config.ts';
import { isKeyOf, lookUpCertificates, lookUpPrivateKey, unservableKey, validityProblem } from '../pem.ts';
import type { Looked, Sources } from '../secrets.ts';
import { FILE_PATH, hostPort } from '../values.ts';
import { at, isMapping } from '../written-data.ts';
import type { Path } from '../yaml-source.ts';
import type { Check } from './check.ts';

const STANDARD = '127.0.0.1:8080';

/** One listener as written, with its files looked up. */
export interface FoundListener {
  readonly path: Path;
  /** Where its address stands. */
  readonly addressPath: Path;
  readonly address: unknown;
  readonly tls: { readonly [name in 'cert' | 'key' | 'clientCa']: Looked | undefined } | undefined;
}

/** A mapping of files, looked up; undefined: there is none. */
export type FoundTls = FoundListener['tls'];

export function findTls(tls: unknown, sources: Sources): FoundTls {
  if (!isMapping(tls)) return undefined;
  const file = (name: string, lookUp: typeof lookUpCertificates): Looked | undefined => {
    const text = at(tls, name);
    return typeof text === 'string' && FILE_PATH.test(text) ? lookUp(text, sources) : undefined;
  };
  return {
    cert: file('cert', lookUpCertificates),
    key: file('key', lookUpPrivateKey),
    clientCa: file('clientCa', lookUpCertificates),
  };
}

export function findListeners(root: unknown, sources: Sources): readonly FoundListener[] {
  const written = at(root, 'listen') ?? STANDARD;
  const one = (value: unknown, path: Path): FoundListener =>
    isMapping(value)
      ? {
          path,
          addressPath: [...path, 'address'],
          address: value['address'],
          tls: findTls(at(value, 'tls'), sources),
        }
      : { path, addressPath: path, address: value, tls: undefined };
  return Array.isArray(written)
    ? written.map((value: unknown, i) => one(value, ['listen', i]))
    : [one(written, ['listen'])];
}

export function checkListeners(listeners: readonly FoundListener[], check: Check): void {
  for (const { path, tls } of listeners) checkTls([...path, 'tls'], tls, check);
}

/** Whatever listens with it: keys are those that Envoy can serve. */
function checkTls(path: Path, tls: FoundTls, { report, nowMs }: Check): void {
  if (tls === undefined) return;
  const { cert, key } = tls;
  for (const [name, looked] of Object.entries(tls)) {
    if (looked?.kind === 'bad') report.problem([...path, name], looked.problem);
  }
  if (key?.kind === 'ok') {
    const unservable = unservableKey(key.value);
    if (unservable !== undefined) report.problem([...path, 'key'], unservable);
    else if (cert?.kind === 'ok' && !isKeyOf(key.value, cert.value)) {
      report.problem([...path, 'key'], 'is not the key of the first certificate in cert');
    }
  }
  const invalid = cert?.kind === 'ok' && nowMs !== undefined ? validityProblem(cert.value, nowMs) : undefined;
  if (invalid !== undefined) report.warning([...path, 'cert'], invalid);
}

/** Why Node.js listens with no such certificate (PEM); undefined: it does. */
export type Unshowable = (tls: { cert: string; key: string; ca: string | undefined }) => string | undefined;

/** Of Fairlane's own service: what Node.js does not take would end it in a reload. */
export function checkServiceTls(path: Path, tls: FoundTls, check: Check, unshowable: Unshowable): void {
  const before = check.report.problems().length;
  checkTls(path, tls, check);
  const { cert, key, clientCa } = tls ?? {};
  if (cert?.kind !== 'ok' || key?.kind !== 'ok' || check.report.problems().length > before) return;
  const ca = clientCa?.kind === 'ok' ? clientCa.value : undefined;
  const problem = unshowable({ cert: cert.value, key: key.value, ca });
  if (problem !== undefined) check.report.problem([...path, 'cert'], problem);
}

/** Of a file that nobody was to read, that it is there: no more of it matters. */
function textOf(looked: Looked | undefined): string | undefined {
  if (looked === undefined || looked.kind === 'bad') return undefined;
  return looked.kind === 'ok' ? looked.value : looked.kind;
}

/** Of one that was checked; undefined: there is none. */
export function tlsOf(tls: FoundTls): ListenerConfig['tls'] | undefined {
  const cert = textOf(tls?.cert);
  const key = textOf(tls?.key);
  const clientCa = textOf(tls?.clientCa);
  if (cert === undefined || key === undefined) return undefined;
  return { cert, key, ...(clientCa !== undefined && { clientCa }) };
}

/** Of listeners that were checked. */
export function listenersOf(listeners: readonly FoundListener[]): readonly ListenerConfig[] {
  return listeners.flatMap(({ address: written, tls: found }) => {
    const address = typeof written === 'string' ? hostPort(written, 'ip') : undefined;
    if (address === undefined) return [];
    const tls = tlsOf(found);
    return [{ address, ...(tls !== undefined && { tls }) }];
  });
}
