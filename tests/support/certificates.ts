/** Authorities of the tests' own, and what they certify: also what is wrong in one way. */
import { generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';

const der = (tag: number, ...parts: readonly Uint8Array[]): Buffer => {
  const body = Buffer.concat(parts);
  const length =
    body.length < 128
      ? [body.length]
      : body.length < 256
        ? [0x81, body.length]
        : [0x82, body.length >> 8, body.length & 255];
  return Buffer.concat([Buffer.from([tag, ...length]), body]);
};
const sequence = (...parts: readonly Uint8Array[]): Buffer => der(0x30, ...parts);

const ECDSA_SHA256 = sequence(der(0x06, Buffer.from('2a8648ce3d040302', 'hex')));
const COMMON_NAME = der(0x06, Buffer.from('550403', 'hex'));
const timeOf = (time: Date): Buffer =>
  der(0x18, Buffer.from(`${time.toISOString().replaceAll(/[-:T]/g, '').slice(0, 14)}Z`));

export interface Certificate {
  /** PEM. */
  readonly cert: string;
  readonly key: string;
}

interface Validity {
  readonly from: Date;
  readonly to: Date;
}

export interface Authority {
  /** PEM of its own certificate. */
  readonly ca: string;
  /** @param names of hosts; none: the certificate has no list of names. */
  issue(names: readonly string[], validity?: Validity): Certificate;
}

const DAY_MS = 86_400_000;
const around = (): Validity => ({
  from: new Date(Date.now() - DAY_MS),
  to: new Date(Date.now() + 365 * DAY_MS),
});
/** Good until yesterday. */
export const expired = (): Validity => ({
  from: new Date(Date.now() - 365 * DAY_MS),
  to: new Date(Date.now() - DAY_MS),
});

const nameOf = (name: string): Buffer =>
  sequence(der(0x31, sequence(COMMON_NAME, der(0x0c, Buffer.from(name)))));
const extension = (oid: string, value: Buffer): Buffer =>
  sequence(der(0x06, Buffer.from(oid, 'hex')), der(0x04, value));

/** @param own its public key; @param extensions of the certificate, none or some. */
function certificate(
  subject: string,
  own: KeyObject,
  issuer: string,
  signer: KeyObject,
  { from, to }: Validity,
  extensions: readonly Buffer[],
): string {
  const body = sequence(
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, Buffer.concat([Buffer.from([1]), randomBytes(8)])),
    ECDSA_SHA256,
    nameOf(issuer),
    sequence(timeOf(from), timeOf(to)),
    nameOf(subject),
    own.export({ type: 'spki', format: 'der' }),
    ...(extensions.length === 0 ? [] : [der(0xa3, sequence(...extensions))]),
  );
  const signature = der(0x03, Buffer.from([0]), sign('sha256', body, signer));
  const text = sequence(body, ECDSA_SHA256, signature).toString('base64');
  const lines = text.match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}

const pemOf = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }).toString();
const newKey = () => generateKeyPairSync('ec', { namedCurve: 'P-256' });

/** A private authority, of a test's own. */
export function createAuthority(title = 'An authority of a test'): Authority {
  const own = newKey();
  const isAuthority = extension('551d13', sequence(der(0x01, Buffer.from([255]))));
  const ca = certificate(title, own.publicKey, title, own.privateKey, around(), [isAuthority]);
  return {
    ca,
    issue(names, validity = around()) {
      const { publicKey, privateKey } = newKey();
      const list = sequence(
        ...names.map((name) =>
          /^[\d.]+$/.test(name)
            ? der(0x87, Buffer.from(name.split('.').map(Number)))
            : der(0x82, Buffer.from(name)),
        ),
      );
      const extensions = names.length === 0 ? [] : [extension('551d11', list)];
      const subject = names[0] ?? 'nameless';
      return {
        cert: certificate(subject, publicKey, title, own.privateKey, validity, extensions),
        key: pemOf(privateKey),
      };
    },
  };
}
