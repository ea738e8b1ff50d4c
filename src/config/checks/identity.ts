/** `identity`: where an issuer's public keys are, and what contradicts a token. */
import type { JwtConfig } from '../config.ts';
import { lookUpCertificates } from '../pem.ts';
import { type Looked, readFailure, type Sources } from '../secrets.ts';
import { FILE_PATH } from '../values.ts';
import { at, entriesAt, isMapping } from '../written-data.ts';
import type { Check } from './check.ts';
import type { KeyEntry } from './keys.ts';
import { noSuch } from './references.ts';

/** What `identity.jwt` names. */
export interface FoundJwt {
  readonly jwks:
    | { readonly kind: 'ok'; readonly jwks: JwtConfig['jwks'] }
    | { readonly kind: 'bad'; readonly problem: string }
    | undefined;
  readonly ca: Looked | undefined;
}

/** What Envoy reads as a token; a key of this form would never be looked at as a key. */
const TOKEN_FORM = /^eyJ[\w-]*\.[\w-]*\.[\w-]*$/;
const PATH = ['identity', 'jwt'] as const;

/** @param standardAuthorities PEM of those that a system trusts. */
export function findJwt(root: unknown, sources: Sources, standardAuthorities: () => string): FoundJwt {
  const written = at(root, ...PATH, 'jwks');
  const caPath = at(root, ...PATH, 'jwksCa');
  const ca =
    typeof caPath === 'string' && FILE_PATH.test(caPath) ? lookUpCertificates(caPath, sources) : undefined;
  if (typeof written !== 'string') return { jwks: undefined, ca };
  if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(written)) return { jwks: fromFile(written, sources), ca };
  const authorities = (): string => (ca?.kind === 'ok' ? ca.value : standardAuthorities());
  return { jwks: fromUrl(written, authorities), ca };
}

const bad = (problem: string) => ({ kind: 'bad', problem }) as const;

/** The problem never repeats the URL: it may carry credentials. */
function fromUrl(text: string, authorities: () => string): FoundJwt['jwks'] {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
    return bad('must be an https:// or http:// URL, or the path of a file');
  }
  if (url.username !== '' || url.password !== '') return bad('must not carry credentials: keys are public');
  if (url.hash !== '') return bad('must not have a fragment');
  const isTls = url.protocol === 'https:';
  const standardPort = isTls ? 443 : 80;
  return {
    kind: 'ok',
    jwks: {
      kind: 'url',
      url: url.href,
      host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
      port: url.port === '' ? standardPort : Number(url.port),
      ...(isTls && { ca: authorities() }),
    },
  };
}

function fromFile(path: string, { readFile, locate, isUnresolved }: Sources): FoundJwt['jwks'] {
  if (!FILE_PATH.test(path)) return bad('must be an https:// or http:// URL, or the path of a file');
  // That it is in a file is all that matters then.
  if (isUnresolved === true) return { kind: 'ok', jwks: { kind: 'keys', text: 'unresolved' } };
  const located = locate(path);
  let text: string;
  try {
    text = readFile(located);
  } catch (error) {
    return bad(`cannot read ${located} (${readFailure(error)}); create it or correct the path`);
  }
  const problem = keySetProblem(text);
  return problem === undefined ? { kind: 'ok', jwks: { kind: 'keys', text } } : bad(`${located} ${problem}`);
}

/** What is wrong with a JSON Web Key Set. Nothing of it is repeated. */
function keySetProblem(text: string): string | undefined {
  let set: unknown;
  try {
    set = JSON.parse(text);
  } catch {
    return 'is no JSON; it must be a JSON Web Key Set: {"keys": [...]}';
  }
  const keys = at(set, 'keys');
  if (!Array.isArray(keys)) return 'has no "keys"; it must be a JSON Web Key Set: {"keys": [...]}';
  if (keys.length === 0) return 'has no key in "keys"';
  for (const [i, key] of keys.entries()) {
    if (!isMapping(key) || typeof key['kty'] !== 'string') return `has no "kty" in keys[${i}]`;
    if (key['kty'] === 'oct') {
      return `has a shared secret in keys[${i}] (kty oct): whoever can check a token with it can make one; use public keys`;
    }
    if (key['d'] !== undefined) return `has a private key in keys[${i}]; keep only public keys in it`;
  }
  return undefined;
}

export function checkIdentity(found: FoundJwt, keys: readonly KeyEntry[], check: Check): void {
  const { root, report } = check;
  const jwt = at(root, ...PATH);
  if (!isMapping(jwt)) return;
  const { jwks, ca } = found;
  if (jwks?.kind === 'bad') report.problem([...PATH, 'jwks'], jwks.problem);
  if (ca?.kind === 'bad') report.problem([...PATH, 'jwksCa'], ca.problem);
  else if (
    ca !== undefined &&
    jwks?.kind === 'ok' &&
    (jwks.jwks.kind === 'keys' || jwks.jwks.ca === undefined)
  ) {
    report.problem([...PATH, 'jwksCa'], 'needs an https:// URL in jwks', 'key');
  }
  if (jwks?.kind === 'ok' && jwks.jwks.kind === 'url' && jwks.jwks.ca === undefined) {
    report.warning(
      [...PATH, 'jwks'],
      'is read without TLS: whoever is on the way can give keys of his own; use https://',
    );
  }
  if (jwt['audience'] === undefined) {
    report.warning(
      PATH,
      'has no audience: a token that the issuer made for any other service is taken too; set audience',
      'key',
    );
  }
  const tiers = entriesAt(root, 'tiers').map(([tier]) => tier);
  const { unknownTenants } = jwt;
  if (typeof unknownTenants === 'string' && !tiers.includes(unknownTenants)) {
    report.problem([...PATH, 'unknownTenants'], noSuch('tier', tiers, unknownTenants, check.hide));
  }
  for (const name of ['tierClaim', 'maxUnknownTenants']) {
    if (jwt[name] === undefined || unknownTenants !== undefined) continue;
    report.warning(
      [...PATH, name],
      'has no effect without unknownTenants: a configured tenant has its own tier',
      'key',
    );
  }
  for (const { path, looked } of keys)
    if (looked.kind === 'ok' && isTokenLike(looked.value)) report.problem(path, TOKEN_KEY);
}

/** What is wrong with a key of the form of a token, where tokens are taken. */
export const TOKEN_KEY =
  'has the form of a token (JWT), and identity.jwt would take it for one; give another key';
export const isTokenLike = (key: string): boolean => TOKEN_FORM.test(key);
