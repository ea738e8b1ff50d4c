import { describe, expect, it } from 'vitest';
import { credentialsScript, hintOf } from '../../../src/envoy/credentials.ts';
import { createWorld } from '../../support/lifecycle.ts';
import { plainKey } from '../../support/plain-key.ts';

describe('the hint of a key', () => {
  it('has 24 bits, and is another for another key', () => {
    const hints = Array.from({ length: 2_000 }, (_, i) => hintOf(`sk-fairlane-${i}`));
    expect(Math.max(...hints)).toBeLessThan(2 ** 24);
    expect(new Set(hints).size).toBeGreaterThan(1_990);
  });
  // tests/envoy/edges.test.ts runs the script, which computes the same.
  it('is of its bytes', () => {
    expect(hintOf('')).toBe(0);
    expect(hintOf('a')).toBe((97 * 65_599) % 2 ** 24);
    expect(hintOf('é')).not.toBe(hintOf('e'));
  });
});

it('no key is in the script', () => {
  const { config } = createWorld();
  const tenants = new Map(
    [...config.tenants].map(([name, tenant]) => [name, { ...tenant, keys: [plainKey(`secret-of-${name}`)] }]),
  );
  const text = JSON.stringify(credentialsScript({ tenants }));
  expect(text).not.toContain('secret-of');
  for (const name of tenants.keys()) expect(text).toContain(`[${hintOf(`secret-of-${name}`)}]=1`);
});
