import { createPublicKey, X509Certificate } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { createSelfSigned } from '../../../src/grpc/self-signed.ts';

const NOW = Date.parse('2026-11-28T09:30:00Z');

describe('a certificate of one’s own', () => {
  const { cert, key } = createSelfSigned('fairlane', NOW);
  const read = new X509Certificate(cert);

  it('is one that others can read, on its own key', () => {
    expect(read.subject).toBe('CN=fairlane');
    expect(read.issuer).toBe('CN=fairlane');
    expect(read.subjectAltName).toBe('DNS:fairlane');
    expect(read.ca).toBe(false);
    expect(read.verify(createPublicKey(key))).toBe(true);
    expect(read.checkHost('fairlane')).toBe('fairlane');
  });

  it('is good from a day before, for ten years', () => {
    expect(Date.parse(read.validFrom)).toBe(NOW - 86_400_000);
    expect(Date.parse(read.validTo)).toBe(NOW + 3_650 * 86_400_000);
  });

  it('writes each time in the form that its year has to have (RFC 5280, 4.1.2.5)', () => {
    const bytes = (nowMs: number) =>
      new X509Certificate(createSelfSigned('x', nowMs).cert).raw.toString('latin1');
    const [soon, late] = [bytes(NOW), bytes(Date.parse('2045-01-01T00:00:00Z'))];
    expect(soon).toContain('\x17\x0d261127093000Z\x17\x0d361125093000Z');
    expect(late).toContain('\x17\x0d441231000000Z\x18\x0f20541230000000Z');
  });

  it('is another one each time, with a positive number', () => {
    const others = Array.from({ length: 20 }, () => new X509Certificate(createSelfSigned('x', NOW).cert));
    expect(new Set(others.map(({ serialNumber }) => serialNumber)).size).toBe(20);
    expect(others.every(({ serialNumber }) => /^01[0-9A-F]{30}$/.test(serialNumber))).toBe(true);
    expect(new Set(others.map(({ fingerprint256 }) => fingerprint256)).size).toBe(20);
  });

  it('takes a name of any length', () => {
    for (const length of [1, 60, 127, 128, 300]) {
      const name = 'n'.repeat(length);
      expect(new X509Certificate(createSelfSigned(name, NOW).cert).subjectAltName).toBe(`DNS:${name}`);
    }
  });
});
