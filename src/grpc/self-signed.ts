/**
 * A certificate that nobody but its owner vouches for (RFC 5280), on a key of its own. It encrypts; it proves nothing to
 * whoever does not know it. Node.js reads certificates and makes none.
 */
import { generateKeyPairSync, randomBytes, sign } from 'node:crypto';

export interface SelfSigned {
  /** PEM. */
  readonly cert: string;
  /** PEM. */
  readonly key: string;
}

const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  utf8: 0x0c,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
  /** Context tags of a certificate, and of an alternative name that is a DNS name. */
  version: 0xa0,
  extensions: 0xa3,
  dnsName: 0x82,
} as const;

const LONG_LENGTH = 0x80;

/** X.690, in the distinguished encoding: tag, length, content. */
function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(parts);
  const { length } = content;
  if (length < LONG_LENGTH) return Buffer.concat([Buffer.from([tag, length]), content]);
  const hex = length.toString(16);
  const bytes = Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex');
  return Buffer.concat([Buffer.from([tag, LONG_LENGTH + bytes.length]), bytes, content]);
}

const sequence = (...parts: readonly Uint8Array[]): Buffer => der(TAG.sequence, ...parts);
const oid = (hex: string): Buffer => der(TAG.oid, Buffer.from(hex, 'hex'));
/** RFC 5280, section 4.1.2.5: `261128093000Z` until 2049, `20500101000000Z` from then on. */
function timeOf(ms: number): Buffer {
  const time = new Date(ms);
  const text = `${time.toISOString().replaceAll(/[-:T]/g, '').slice(0, 14)}Z`;
  return time.getUTCFullYear() < 2050
    ? der(TAG.utcTime, Buffer.from(text.slice(2)))
    : der(TAG.generalizedTime, Buffer.from(text));
}
const pem = (kind: string, bytes: Buffer): string =>
  `-----BEGIN ${kind}-----\n${(bytes.toString('base64').match(/.{1,64}/g) ?? []).join('\n')}\n-----END ${kind}-----\n`;

const OID = {
  ecdsaWithSha256: '2a8648ce3d040302',
  commonName: '550403',
  subjectAltName: '551d11',
  basicConstraints: '551d13',
} as const;
const DAY_MS = 86_400_000;
const VALID_DAYS = 3_650;
const SERIAL_BYTES = 15;

/** On the curve P-256, good for ten years. @param name of whoever shows it: a DNS name. @param nowMs in Unix time. */
export function createSelfSigned(name: string, nowMs: number): SelfSigned {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const algorithm = sequence(oid(OID.ecdsaWithSha256));
  const owner = sequence(der(TAG.set, sequence(oid(OID.commonName), der(TAG.utf8, Buffer.from(name)))));
  const extension = (id: string, value: Buffer): Buffer => sequence(oid(id), der(TAG.octetString, value));
  const content = sequence(
    der(TAG.version, der(TAG.integer, Buffer.from([2]))),
    // A first byte of 1: the number is positive, and has no zeros before it.
    der(TAG.integer, Buffer.from([1]), randomBytes(SERIAL_BYTES)),
    algorithm,
    owner,
    // A day before: clocks differ.
    sequence(timeOf(nowMs - DAY_MS), timeOf(nowMs + VALID_DAYS * DAY_MS)),
    owner,
    publicKey.export({ type: 'spki', format: 'der' }),
    der(
      TAG.extensions,
      sequence(
        extension(OID.subjectAltName, sequence(der(TAG.dnsName, Buffer.from(name)))),
        extension(OID.basicConstraints, sequence()),
      ),
    ),
  );
  const signature = der(TAG.bitString, Buffer.from([0]), sign('sha256', content, privateKey));
  return {
    cert: pem('CERTIFICATE', sequence(content, algorithm, signature)),
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  };
}
