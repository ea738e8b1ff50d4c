/** Files of certificates and private keys: what is wrong with one is said here, not at the first handshake. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { type Looked, readFailure, type Sources } from './secrets.ts';

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

type FileSources = Pick<Sources, 'readFile' | 'locate' | 'isUnresolved'>;

function lookUpFile(
  path: string,
  { readFile, locate, isUnresolved }: FileSources,
  problemOf: (content: string) => string | undefined,
): Looked {
  if (isUnresolved === true) return { kind: 'unresolved' };
  const located = locate(path.startsWith('file:') ? path.slice('file:'.length) : path);
  let value: string;
  try {
    value = readFile(located);
  } catch (error) {
    return {
      kind: 'bad',
      problem: `cannot read ${located} (${readFailure(error)}); create it or correct the path`,
    };
  }
  const problem = problemOf(value);
  return problem === undefined ? { kind: 'ok', value } : { kind: 'bad', problem: `${located} ${problem}` };
}

function succeeds(parse: () => unknown): boolean {
  try {
    parse();
    return true;
  } catch {
    return false;
  }
}

export const lookUpCertificates = (path: string, sources: FileSources): Looked =>
  lookUpFile(path, sources, (content) => {
    const found = content.match(CERTIFICATE) ?? [];
    if (found.length === 0) return 'holds no certificate; it must be PEM (-----BEGIN CERTIFICATE-----)';
    const broken = found.findIndex((text) => !succeeds(() => new X509Certificate(text)));
    return broken === -1
      ? undefined
      : `is broken: certificate ${broken + 1} of ${found.length} cannot be read`;
  });

export const lookUpPrivateKey = (path: string, sources: FileSources): Looked =>
  lookUpFile(path, sources, (content) =>
    succeeds(() => createPrivateKey(content))
      ? undefined
      : 'holds no private key that can be read; it must be PEM and without a passphrase',
  );

/** What is wrong with the time of certificates (PEM) that were looked up: a list where one is good is good. */
export function validityOf(pem: string, nowMs: number): string | undefined {
  const certificates = (pem.match(CERTIFICATE) ?? []).map((text) => new X509Certificate(text));
  const isGood = ({ validFrom, validTo }: X509Certificate): boolean =>
    Date.parse(validFrom) <= nowMs && nowMs <= Date.parse(validTo);
  const [first] = certificates;
  if (first === undefined || certificates.some(isGood)) return undefined;
  return Date.parse(first.validTo) < nowMs
    ? `has expired on ${dayOf(first.validTo)}; engines and Fairlane refuse it: put a new one in its place`
    : `is not valid before ${dayOf(first.validFrom)}; engines and Fairlane refuse it until then`;
}

const dayOf = (time: string): string => new Date(Date.parse(time)).toISOString().slice(0, 10);

/** Of PEM texts that were looked up. */
export const isKeyOf = (key: string, certificate: string): boolean =>
  new X509Certificate(certificate).checkPrivateKey(createPrivateKey(key));

/** Why Envoy takes no such private key for a listener; undefined: it does. @param key PEM that was looked up. */
export function unservableKey(key: string): string | undefined {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = createPrivateKey(key);
  if (type === 'rsa') {
    const { modulusLength = 0 } = details ?? {};
    return modulusLength >= 2_048
      ? undefined
      : `is RSA with ${modulusLength} bits; Envoy takes 2048 and more`;
  }
  if (type !== 'ec') return `is of the kind ${type ?? 'unknown'}; Envoy takes RSA and EC keys`;
  const curve = details?.namedCurve ?? 'unknown';
  return SERVABLE_CURVES.has(curve)
    ? undefined
    : `is on the curve ${curve}; Envoy takes prime256v1 (P-256), secp384r1 and secp521r1`;
}

const SERVABLE_CURVES: ReadonlySet<string> = new Set(['prime256v1', 'secp384r1', 'secp521r1']);

/** What time has done to a certificate; undefined: it is valid now. @param certificate PEM that was looked up. */
export function validityProblem(certificate: string, nowMs: number): string | undefined {
  const { validFrom, validTo } = new X509Certificate(certificate);
  if (Date.parse(validTo) < nowMs)
    return `the certificate has expired (${validTo}): clients refuse it; renew it`;
  if (Date.parse(validFrom) > nowMs)
    return `the certificate is not valid before ${validFrom}: clients refuse it`;
  return undefined;
}

/** The end of its validity, in Unix milliseconds. @param certificate PEM that was looked up. */
export const expiryOf = (certificate: string): number => Date.parse(new X509Certificate(certificate).validTo);
