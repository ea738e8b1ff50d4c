import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Request, TenantLoad } from '../../../src/loadtest/load.ts';
import { promptOf } from '../../../src/loadtest/prompt.ts';

const tenant = (sharedPrefix: number): TenantLoad => ({
  name: 'alice',
  weight: 1,
  quiet: false,
  arrivals: { kind: 'poisson', perSecond: 1 },
  prompt: { kind: 'fixed', tokens: 1 },
  output: { kind: 'fixed', tokens: 1 },
  sharedPrefix,
  saysLength: false,
});
const request = (at: number, promptTokens: number): Request => ({
  id: `alice-${at}`,
  tenant: 'alice',
  atMs: 0,
  promptTokens,
  outputTokens: 1,
});

describe('a prompt', () => {
  it('has four bytes a token', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 3_000 }), fc.nat(3_000), (tokens, shared) => {
        const text = promptOf(request(3, tokens), tenant(shared), 'run', 3);
        expect(Math.ceil(Buffer.byteLength(text) / 4)).toBe(tokens);
      }),
    );
  });

  it('shares the prefix with the tenant’s others and nothing after it', () => {
    const prompts = [0, 1, 63, 64, 65, 4_096].map((at) => promptOf(request(at, 200), tenant(100), 'run', at));
    const prefixes = new Set(prompts.map((text) => text.split(' ').slice(0, 100).join(' ')));
    const rests = new Set(prompts.map((text) => text.split(' ').slice(100, 116).join(' ')));
    expect(prefixes.size).toBe(1);
    expect(rests.size).toBe(prompts.length);
  });

  it('is another one in another run, prefix and all', () => {
    const first = promptOf(request(0, 50), tenant(20), 'one', 0).split(' ');
    const second = promptOf(request(0, 50), tenant(20), 'two', 0).split(' ');
    expect(first.slice(0, 16)).not.toEqual(second.slice(0, 16));
    expect(first.slice(20, 36)).not.toEqual(second.slice(20, 36));
  });
});
