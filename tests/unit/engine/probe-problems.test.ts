/** Failed probes name the setting that mends them. */
import { describe, expect, it } from 'vitest';
import type { EndpointConfig } from '../../../src/config/config.ts';
import { failureText, refusalText } from '../../../src/engine/probe-problems.ts';

const plain: EndpointConfig = { url: 'http://engine:80', host: 'engine', port: 80, pool: 'main' };
const secure: EndpointConfig = { ...plain, tls: {} };
const identity = { value: 'k', cert: 'c', of: 'endpoint' } as const;
const fails = (code: string, endpoint = secure, message = 'as it is') =>
  failureText(Object.assign(new Error(message), { code }), endpoint);

describe('no answer', () => {
  it.each([
    ['SELF_SIGNED_CERT_IN_CHAIN', 'pools.main.tls.ca'],
    ['DEPTH_ZERO_SELF_SIGNED_CERT', 'pools.main.tls.ca'],
    ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'pools.main.tls.ca'],
    ['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'pools.main.tls.ca'],
    ['ERR_TLS_CERT_ALTNAME_INVALID', 'not for engine: set pools.main.tls.serverName'],
    ['CERT_HAS_EXPIRED', 'has expired: renew it at the engine'],
    ['CERT_NOT_YET_VALID', 'clocks'],
    ['ERR_SSL_WRONG_VERSION_NUMBER', 'http://'],
    ['ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED', 'pools.main.tls.cert'],
    ['ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE', 'pools.main.tls.cert'],
    ['ERR_SSL_TLSV1_ALERT_UNKNOWN_CA', 'does not take the client’s certificate'],
  ])('by %s: %s', (code, expected) => {
    expect(fails(code)).toContain(expected);
  });

  it('names the endpoint’s own setting where it has one', () => {
    const own = { ...secure, tls: { identity, ca: { value: 'x', of: 'endpoint' } as const } };
    expect(fails('ERR_SSL_TLSV1_ALERT_UNKNOWN_CA', own)).toContain('pools.main.endpoints.tls.cert');
    expect(fails('SELF_SIGNED_CERT_IN_CHAIN', own)).toContain('none of those given');
  });

  it.each(['ECONNREFUSED', 'ETIMEDOUT', 'ENOTFOUND', ''])('by %s is no setting’s fault', (code) => {
    expect(fails(code)).toBeUndefined();
    expect(fails(code, plain)).toBeUndefined();
  });

  it('in plain HTTP of a server that speaks TLS names the scheme', () => {
    expect(failureText(new Error('socket hang up'), plain, true)).toContain('https://');
    expect(failureText(new Error('socket hang up'), plain, false)).toBeUndefined();
  });

  it('says on one line and cut what others wrote', () => {
    const text = fails('ERR_TLS_CERT_ALTNAME_INVALID', secure, `a\n\u001b[31m${'x'.repeat(10_000)}`) ?? '';
    expect(text.length).toBeLessThan(400);
    expect(text).toMatch(/^[\x20-\x7e’]*$/);
  });
});

describe('an answer', () => {
  const says = (status: number, endpoint = plain, body = '') =>
    refusalText({ status, body }, '/v1/models', endpoint);
  const keyed: EndpointConfig = { ...plain, apiKey: { value: 'secret-key', of: 'pool' } };

  it('of 401 and 403 names the key', () => {
    expect(says(401)).toBe('engine answered 401 to /v1/models: it wants a key (pools.main.apiKey)');
    expect(says(401, keyed)).toBe(
      'engine answered 401 to /v1/models: it does not take the key of pools.main.apiKey',
    );
    expect(says(401, { ...keyed, apiKey: { value: 'secret-key', of: 'endpoint' } })).toContain(
      'pools.main.endpoints.apiKey',
    );
    expect(says(403)).toContain('403 to /v1/models');
    expect(says(403, keyed)).not.toContain('secret-key');
  });

  it.each([200, 404, 429, 500, 503])('of %d says nothing of a key', (status) => {
    expect(says(status)).toBeUndefined();
  });

  it('of a server that speaks TLS names the scheme', () => {
    const nginx = '400 The plain HTTP request was sent to HTTPS port';
    expect(says(400, plain, nginx)).toContain('https://');
    expect(says(400, secure, nginx)).toBeUndefined();
  });
});
