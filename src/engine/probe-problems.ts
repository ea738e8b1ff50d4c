/** What the failure of a probe means, and which setting mends it. Pure. */
import type { EndpointConfig } from '../config/config.ts';

/** A setting, as the user finds it. */
function settingOf({ pool, apiKey, tls }: EndpointConfig, name: 'apiKey' | `tls.${string}`): string {
  const key = name === 'apiKey' ? apiKey : name === 'tls.ca' ? tls?.ca : tls?.identity;
  const list = key?.of === 'endpoint' ? '.endpoints' : '';
  return `pools.${pool ?? 'NAME'}${list}.${name}`;
}

const UNKNOWN_AUTHORITY = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'CERT_UNTRUSTED',
  'INVALID_CA',
]);
const LONGEST_DETAIL = 200;

/** What others wrote, on one line and cut. */
export const shown = (text: string): string => text.replaceAll(/[^\x20-\x7e]/g, ' ').slice(0, LONGEST_DETAIL);

/**
 * Why there was no answer, and what mends it; undefined: no setting does.
 *
 * @param speaksTls something speaks TLS where plain HTTP was spoken; undefined: not looked at.
 */
export function failureText(
  error: unknown,
  endpoint: EndpointConfig,
  speaksTls?: boolean,
): string | undefined {
  const { code = '', message = String(error) } = error as {
    readonly code?: string;
    readonly message?: string;
  };
  const { tls, host } = endpoint;
  if (tls === undefined) {
    return speaksTls === true
      ? 'it speaks TLS, and was spoken to in plain HTTP: write its URL as https://'
      : undefined;
  }
  const name = tls.serverName ?? host;
  if (UNKNOWN_AUTHORITY.has(code)) {
    const which = tls.ca === undefined ? 'none that Node.js knows' : 'none of those given';
    return `its certificate is from an authority that is ${which}: set ${settingOf(endpoint, 'tls.ca')} (${code})`;
  }
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    return `its certificate is not for ${name}: set ${settingOf(endpoint, 'tls.serverName')} to a name that it has (${shown(message)})`;
  }
  if (code === 'CERT_HAS_EXPIRED') return 'its certificate has expired: renew it at the engine';
  if (code === 'CERT_NOT_YET_VALID') return 'its certificate is not valid yet: look at the clocks';
  if (
    code === 'ERR_SSL_WRONG_VERSION_NUMBER' ||
    /wrong version number|packet length too long/.test(message)
  ) {
    return 'it speaks no TLS: write its URL as http://, or give the port that speaks TLS';
  }
  if (/certificate.required|handshake.failure|ALERT_CERTIFICATE_REQUIRED/i.test(`${code} ${message}`)) {
    return tls.identity === undefined
      ? `it wants a client’s certificate: set ${settingOf(endpoint, 'tls.cert')} and tls.key (${shown(code)})`
      : `it does not take the client’s certificate of ${settingOf(endpoint, 'tls.cert')} (${shown(code)})`;
  }
  if (
    /ALERT_(UNKNOWN_CA|BAD_CERTIFICATE|CERTIFICATE_|UNSUPPORTED_CERT|ACCESS_DENIED)|alert (unknown ca|bad certificate)/i.test(
      `${code} ${message}`,
    )
  ) {
    return `it does not take the client’s certificate of ${settingOf(endpoint, 'tls.cert')} (${shown(code)})`;
  }
  return undefined;
}

/** What an engine's answer says of its settings; undefined: nothing. */
export function refusalText(
  { status, body }: { readonly status: number; readonly body: string },
  path: string,
  endpoint: EndpointConfig,
): string | undefined {
  const setting = settingOf(endpoint, 'apiKey');
  const has = endpoint.apiKey !== undefined;
  if (status === 401) {
    return `engine answered 401 to ${path}: ${has ? `it does not take the key of ${setting}` : `it wants a key (${setting})`}`;
  }
  if (status === 403) {
    return `engine answered 403 to ${path}: ${has ? `the key of ${setting} may not do that` : `it may want a key (${setting})`}`;
  }
  if (status === 400 && endpoint.tls === undefined && /\bHTTPS\b/.test(body)) {
    return 'it speaks TLS, and was spoken to in plain HTTP: write its URL as https://';
  }
  return undefined;
}
