/** Endpoints of a pool whose routing goes by more than load. */

import { describe, expect, it } from 'vitest';
import { fixedLimit } from '../../../src/pool/concurrency-limit/fixed.ts';
import { createPoolEndpoints } from '../../../src/pool/pool-endpoints.ts';
import type { PoolEndpoints, Slot } from '../../../src/pool/types.ts';
import { createPromptHasher, type PromptHashes } from '../../../src/routing/prompt-hash.ts';
import { jsonDocumentOf } from '../../support/documents.ts';

const hasher = createPromptHasher(new Uint32Array([1, 2, 3, 4, 5, 6]));
const at = (n: number) => ({ url: `http://e${n}:8000`, address: `10.0.0.${n}:8000` });
const DOCUMENT = 'what everybody asks about '.repeat(400);

function hash(text: string, scope: string): PromptHashes {
  const hashes = hasher.hash({
    route: 'chat.completions',
    document: jsonDocumentOf({ messages: [{ role: 'user', content: text }] }),
    scope,
    model: 'm',
  });
  if (hashes === undefined) throw new Error('not hashed');
  return hashes;
}

function routed(count: number, window = 4, prefillTokens = 1_000_000): PoolEndpoints {
  const endpoints = createPoolEndpoints(fixedLimit);
  const all = Array.from({ length: count }, (_, i) => at(i + 1));
  endpoints.reconfigure(all, {
    concurrencyLimit: window,
    prefillTokens,
    headroom: 'auto',
    routing: { profile: 'prefix-cache' },
  });
  for (const { url } of all) endpoints.setHealthy(url, true, 0);
  return endpoints;
}

function demandOf(text: string, scope: string) {
  const prompt = hash(text, scope);
  const promptTokens = Math.ceil(text.length / 4);
  return {
    sequences: 1,
    promptTokens,
    totalTokens: promptTokens + 50,
    streamed: true,
    choice: {
      prompt,
      promptBytes: text.length,
      promptTokens,
      totalTokens: promptTokens + 50,
      stream: true,
      slow: false,
    },
  };
}

function ask(endpoints: PoolEndpoints, text: string, scope = 'tenant a', nowMs = 0): Slot | undefined {
  const got = endpoints.acquire(
    demandOf(text, scope),
    { belowFairShare: false, headroom: 0, tenant: scope },
    nowMs,
  );
  return got?.kind === 'slot' ? got : undefined;
}
/** The whole of a request: its first token, and its end. */
function serve(endpoints: PoolEndpoints, text: string, scope?: string): string {
  const slot = ask(endpoints, text, scope);
  slot?.firstToken(1);
  slot?.free(2);
  return slot?.address ?? '';
}

describe('endpoints chosen by what they have cached', () => {
  it('get what begins as something that they have had', () => {
    const endpoints = routed(4);
    const first = serve(endpoints, `${DOCUMENT} first question`);
    for (let i = 0; i < 6; i += 1) {
      serve(endpoints, `${'something else entirely '.repeat(300)}${i}`);
      expect(serve(endpoints, `${DOCUMENT} question ${i}`)).toBe(first);
    }
  });

  it('are not chosen by what another tenant has sent', () => {
    const endpoints = routed(4);
    const seen = new Set<string>();
    for (let i = 0; i < 8; i += 1) seen.add(serve(endpoints, DOCUMENT, `tenant ${i}`));
    expect(seen.size).toBe(4);
  });

  it('take no more than they have room for, however much they have cached', () => {
    const endpoints = routed(2, 4);
    const home = serve(endpoints, DOCUMENT);
    const slots = Array.from({ length: 9 }, () => ask(endpoints, DOCUMENT));
    expect(slots[0]?.address).toBe(home);
    expect(slots.filter((slot) => slot !== undefined)).toHaveLength(8);
    expect(endpoints.list(0).map(({ inFlight }) => inFlight)).toEqual([4, 4]);
  });

  it('are waited for while they hold others back, for as long as their cache saves and no longer', () => {
    const more = 'and much that is new '.repeat(200);
    const held = () => {
      const endpoints = routed(2, 8, 512);
      const home = serve(endpoints, DOCUMENT);
      const claim = { belowFairShare: true, headroom: 0, tenant: 'tenant a' };
      const quiet = endpoints.acquire(demandOf(`${DOCUMENT} quietly`, 'tenant a'), claim, 10);
      if (quiet?.kind !== 'slot' || quiet.address !== home) throw new Error('the quiet request is elsewhere');
      const demand = demandOf(`${DOCUMENT}${more}`, 'tenant a');
      const again = (nowMs: number) => {
        const got = endpoints.acquire(demand, { ...claim, belowFairShare: false }, nowMs);
        return got?.kind === 'slot' ? got.address : undefined;
      };
      return { endpoints, home, quiet, again };
    };
    const first = held();
    expect(first.again(10)).toBeUndefined();
    expect(first.again(20)).toBeUndefined();
    first.quiet.firstToken(30);
    expect(first.again(30)).toBe(first.home);

    const late = held();
    expect(late.again(10)).toBeUndefined();
    // A quiet prompt after the other: its turn does not come.
    const quietly = { belowFairShare: true, headroom: 0, tenant: 'tenant a' };
    late.endpoints.acquire(demandOf(`${DOCUMENT} again`, 'tenant a'), quietly, 600);
    expect(late.again(2_000)).toBeDefined();

    // What is mostly cached need not wait.
    const cheap = held();
    expect(ask(cheap.endpoints, `${DOCUMENT} too`, 'tenant a', 10)?.address).toBe(cheap.home);
    // What is cached nowhere goes where nobody is held back.
    expect(ask(cheap.endpoints, more.repeat(3), 'tenant a', 10)?.address).not.toBe(cheap.home);
  });

  it('that are drained, ill or gone get nothing, and count as empty when they are back', () => {
    const endpoints = routed(2);
    const home = serve(endpoints, DOCUMENT);
    const [url, other] = home === at(1).address ? [at(1).url, at(2).address] : [at(2).url, at(1).address];
    endpoints.setDrained(url, true);
    expect(serve(endpoints, `${DOCUMENT}a`)).toBe(other);
    endpoints.setDrained(url, false);
    endpoints.setHealthy(url, false, 3);
    expect(serve(endpoints, `${DOCUMENT}b`)).toBe(other);
    endpoints.setHealthy(url, true, 4);
    expect(serve(endpoints, `${DOCUMENT}c`)).toBe(other);
    const [kept] = [at(1), at(2)].filter(({ address }) => address === other);
    if (kept === undefined) throw new Error('no endpoint');
    endpoints.reconfigure([kept], { concurrencyLimit: 4, prefillTokens: 1_000_000, headroom: 'auto' });
    expect(serve(endpoints, DOCUMENT)).toBe(other);
  });

  it('name fallbacks that could serve it', () => {
    const endpoints = routed(3);
    const slot = ask(endpoints, DOCUMENT);
    expect(new Set(slot?.addresses)).toEqual(new Set([1, 2, 3].map((n) => at(n).address)));
  });
});
