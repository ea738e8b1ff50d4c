/** Tokens (JWT) made by hand, so that wrong ones can be made too. */
import { createHmac, generateKeyPairSync, type KeyObject, sign as signBytes } from 'node:crypto';

type Fields = Readonly<Record<string, unknown>>;

export const part = (value: unknown): string =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

export interface TokenKey {
  readonly kid: string;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
  /** As it stands in a key set. */
  readonly jwk: Fields;
}

export function rsaKey(kid: string): TokenKey {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2_048 });
  return {
    kid,
    privateKey,
    publicKey,
    jwk: { ...publicKey.export({ format: 'jwk' }), kid, alg: 'RS256', use: 'sig' },
  };
}

export const keySet = (...keys: readonly TokenKey[]): string =>
  JSON.stringify({ keys: keys.map(({ jwk }) => jwk) });

export const ISSUER = 'https://issuer.test';
export const AUDIENCE = 'fairlane';
export const soon = (seconds: number): number => Math.floor(Date.now() / 1_000) + seconds;

/** Claims that are good: whatever is given replaces them, and undefined removes one. */
export const claims = (more: Fields = {}): Fields => ({
  iss: ISSUER,
  aud: AUDIENCE,
  exp: soon(300),
  tenant: 'quiet',
  ...more,
});

/** A token signed by RS256. @param payload as text it stays as it is. @param header what replaces it. */
export function token(key: TokenKey, payload: Fields | string = claims(), header: Fields = {}): string {
  const head = part({ alg: 'RS256', typ: 'JWT', kid: key.kid, ...header });
  const text = `${head}.${part(payload)}`;
  return `${text}.${signBytes('sha256', Buffer.from(text), key.privateKey).toString('base64url')}`;
}

/** Signed by HS256 with any bytes: of a public key, for one. */
export function hmacToken(secret: string, payload: Fields = claims(), header: Fields = {}): string {
  const text = `${part({ alg: 'HS256', typ: 'JWT', ...header })}.${part(payload)}`;
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
}
