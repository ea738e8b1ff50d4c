import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { unshowable } from '../../../src/config/fs-tls.ts';
import { configOf, minimal, parse, problemsOf, put, type Surroundings, warningsOf } from './parse.ts';

const pem = (name: string): string =>
  readFileSync(new URL(`../../fixtures/tls/${name}.pem`, import.meta.url), 'utf8');
const inPem = ({ privateKey }: { readonly privateKey: KeyObject }): string =>
  String(privateKey.export({ format: 'pem', type: 'pkcs8' }));

const files = { '/etc/cert.pem': pem('server'), '/etc/key.pem': pem('key'), '/etc/ca.pem': pem('ca') };
const tls = { cert: 'cert.pem', key: 'key.pem' };
const listen = (value: unknown) => put(minimal(), 'listen', value);
const withTls = (more: object = {}) => listen({ address: '0.0.0.0:8443', tls: { ...tls, ...more } });
const at: Surroundings = { files };
const replaced = (name: string, text: string): Surroundings => ({
  files: { ...files, [`/etc/${name}`]: text },
});

describe('listen', () => {
  it('is an address, a mapping, or a list of both', () => {
    const plain = { address: { host: '127.0.0.1', port: 8080 } };
    const secure = {
      address: { host: '0.0.0.0', port: 8443 },
      tls: { cert: files['/etc/cert.pem'], key: files['/etc/key.pem'] },
    };
    expect(configOf(listen('127.0.0.1:8080')).listen).toEqual([plain]);
    expect(configOf(withTls(), at).listen).toEqual([secure]);
    const both = listen(['127.0.0.1:8080', { address: '0.0.0.0:8443', tls: { ...tls, clientCa: 'ca.pem' } }]);
    expect(configOf(both, at).listen).toEqual([
      plain,
      { ...secure, tls: { ...secure.tls, clientCa: files['/etc/ca.pem'] } },
    ]);
  });

  it.each([
    [[], 'listen: must be an IP address and a port'],
    [['127.0.0.1:8080', 'nowhere'], 'listen[1]: must be an IP address and a port'],
    [{ tls }, 'listen.address: is missing'],
    [{ address: '127.0.0.1:8443', tls: { cert: 'cert.pem' } }, 'listen.tls.key: is missing'],
    [{ address: '127.0.0.1:8443', tsl: tls }, 'listen.tsl: unknown setting; known here: address, tls'],
    [[{ address: '127.0.0.1:8443', tls: { ...tls, clientCA: 'x' } }], 'did you mean "clientCa"?'],
    [['127.0.0.1:8080', '0.0.0.0:8080'], 'listen[1]: port 8080 is already taken by listen.0'],
    [{ address: '127.0.0.1:9464' }, 'service.metrics: port 9464 is already taken by listen.address'],
  ])('%j is refused where it stands', (value, problem) => {
    expect(problemsOf(listen(value), at).join('\n')).toContain(problem);
  });
});

describe('certificates', () => {
  it.each<readonly [what: string, Surroundings, problem: string]>([
    [
      'no file',
      { files: { '/etc/key.pem': pem('key') } },
      'listen.tls.cert: cannot read /etc/cert.pem (no such file)',
    ],
    ['no PEM', replaced('cert.pem', 'hello'), 'listen.tls.cert: /etc/cert.pem holds no certificate'],
    ['half of one', replaced('cert.pem', pem('server').replace('M', '')), '/etc/cert.pem is broken'],
    ['a key in its place', replaced('cert.pem', pem('key')), 'holds no certificate'],
    ['no key', replaced('key.pem', pem('server')), 'listen.tls.key: /etc/key.pem holds no private key'],
    [
      'another key',
      replaced('key.pem', pem('renewed-key')),
      'listen.tls.key: is not the key of the first certificate',
    ],
    [
      'a chain in the wrong order',
      replaced('cert.pem', pem('ca') + pem('server')),
      'listen.tls.key: is not the key of the first certificate',
    ],
    [
      'a short RSA key',
      replaced('key.pem', inPem(generateKeyPairSync('rsa', { modulusLength: 1_024 }))),
      'listen.tls.key: is RSA with 1024 bits; Envoy takes 2048 and more',
    ],
    [
      'a kind that Envoy does not take',
      replaced('key.pem', inPem(generateKeyPairSync('ed25519'))),
      'is of the kind ed25519',
    ],
    [
      'a curve that Envoy does not take',
      replaced('key.pem', inPem(generateKeyPairSync('ec', { namedCurve: 'secp256k1' }))),
      'is on the curve secp256k1',
    ],
  ])('%s: a clear error', (_, surroundings, problem) => {
    const problems = problemsOf(withTls(), surroundings).join('\n');
    expect(problems).toContain(problem);
    expect(problems).not.toContain('PRIVATE KEY');
  });

  it('of clients are from an authority that is PEM', () => {
    expect(problemsOf(withTls({ clientCa: 'ca.pem' }), replaced('ca.pem', 'x')).join('\n')).toContain(
      'listen.tls.clientCa: /etc/ca.pem holds no certificate',
    );
  });

  it('that are not valid now are a warning', () => {
    const expired = {
      files: { ...files, '/etc/cert.pem': pem('expired'), '/etc/key.pem': pem('renewed-key') },
      nowMs: Date.UTC(2026, 0),
    };
    expect(warningsOf(withTls(), expired).join('\n')).toMatch(
      /listen.tls.cert: the certificate has expired \(Jan/,
    );
    expect(warningsOf(withTls(), { files, nowMs: Date.UTC(2020, 0) }).join('\n')).toContain(
      'is not valid before',
    );
    expect(warningsOf(withTls(), { files, nowMs: Date.UTC(2027, 0) })).toEqual([]);
    expect(parse(withTls(), at).kind).toBe('ok');
  });
});

describe('service.tls', () => {
  /** Signed by another with SHA-1: Envoy shows it, Node.js does not. */
  const weak = `-----BEGIN CERTIFICATE-----
MIIBSDCB76ADAgECAhABSZRQDbqj20026MlTJKzaMAkGByqGSM49BAEwFzEVMBMG
A1UEAwwMYW4gYXV0aG9yaXR5MB4XDTI2MTEyNzA5MzAwMFoXDTM2MTEyNTA5MzAw
MFowEzERMA8GA1UEAwwIb2xkLnRlc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AATjNqvn9ziGBjUhe0K6MwMXcNI10pbv8nGXQ1IaDExM1wbyaZoEos05ipY521IH
/sCPevUNlImAHAOoa4ON5bNhoyIwIDATBgNVHREEDDAKgghvbGQudGVzdDAJBgNV
HRMEAjAAMAkGByqGSM49BAEDSQAwRgIhAMGvM3lP4SIvjwKHcvM9VumZxq27t0ar
AAhK6a8nYSm5AiEA68UBoa/9m8T14FiuOT9C/x3qTx0KVHdTSAd7aqbvs4o=
-----END CERTIFICATE-----
`;
  const key = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgbmVLEEFdeFWy+uVV
7jFvS86DrmEzPweQUXdWJLt8aO+hRANCAATjNqvn9ziGBjUhe0K6MwMXcNI10pbv
8nGXQ1IaDExM1wbyaZoEos05ipY521IH/sCPevUNlImAHAOoa4ON5bNh
-----END PRIVATE KEY-----
`;
  const service = (more: object = {}) => put(minimal(), 'service', { tls: { ...tls, ...more } });

  it('is read as that of a listener', () => {
    const read = configOf(service(), at).service.tls;
    expect(read).toEqual({ cert: files['/etc/cert.pem'], key: files['/etc/key.pem'] });
    expect(problemsOf(service({ key: 'ca.pem' }), at).join('\n')).toContain(
      'service.tls.key: /etc/ca.pem holds',
    );
  });

  it('is refused where nobody can listen with it: a reload would fail', () => {
    const found: Surroundings = { files: { '/etc/cert.pem': weak, '/etc/key.pem': key }, unshowable };
    expect(problemsOf(service(), found)).toEqual([
      expect.stringMatching(/service\.tls\.cert: cannot be listened with \(ca md too weak\); renew it/),
    ]);
    expect(problemsOf(withTls(), found)).toEqual([]);
  });
});
