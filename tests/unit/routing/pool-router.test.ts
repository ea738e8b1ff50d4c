import { describe, expect, it } from 'vitest';
import { kvBytesPerToken, kvTokensIn } from '../../../src/domain/kv-size.ts';
import { type Candidate, type CandidateState, ISOLATED, UNHEALTHY } from '../../../src/routing/candidate.ts';
import { explainText } from '../../../src/routing/explain.ts';
import { createPoolRouter, type PoolRouter } from '../../../src/routing/pool-router.ts';
import { resolveProfile } from '../../../src/routing/profiles.ts';
import { createPromptHasher } from '../../../src/routing/prompt-hash.ts';
import { Sessions } from '../../../src/routing/sessions.ts';
import { jsonDocumentOf } from '../../support/documents.ts';
import { ALWAYS, request, SEED } from './fixtures.ts';

const hasher = createPromptHasher(SEED);
const asking = (text: string, sessionId?: string) => {
  const prompt = hasher.hash({
    route: 'chat.completions',
    document: jsonDocumentOf({ messages: [{ role: 'user', content: text }] }),
    scope: 'a',
    model: 'm',
    ...(sessionId !== undefined && { sessionId }),
  });
  return request({
    prompt,
    promptBytes: text.length,
    promptTokens: text.length / 4,
    totalTokens: text.length / 4 + 100,
  });
};
const DOCUMENT = asking('a long document '.repeat(1_000));

function poolOf(count: number): {
  readonly router: PoolRouter;
  readonly endpoints: readonly CandidateState[];
} {
  const router = createPoolRouter(resolveProfile({ profile: 'balanced' }));
  const endpoints = Array.from({ length: count }, (_, i) => {
    const candidate = router.join(`10.0.0.${i}:8000`);
    candidate.flags = 0;
    candidate.concurrencyLimit = 64;
    return candidate;
  });
  return { router, endpoints };
}
const slotFor = (router: PoolRouter, asked: ReturnType<typeof asking>, nowMs = 0) =>
  router.choose(asked, ALWAYS, nowMs)?.candidate.candidateIndex;

describe("a pool's router", () => {
  it('sends the same prompt where it was sent before, and says how much of it is there', () => {
    const { router, endpoints } = poolOf(4);
    const first = router.choose(DOCUMENT, ALWAYS, 0);
    expect(first?.matchedTokens).toBe(0);
    router.released(DOCUMENT, first?.candidate ?? (endpoints[0] as CandidateState), 0);
    for (let i = 0; i < 8; i += 1) expect(slotFor(router, DOCUMENT)).toBe(first?.candidate.candidateIndex);
    const matched = router.choose(DOCUMENT, ALWAYS, 0)?.matchedTokens ?? 0;
    expect(matched).toBeGreaterThan(0.9 * DOCUMENT.promptTokens);
    expect(matched).toBeLessThanOrEqual(DOCUMENT.promptTokens);
  });

  it('goes round while nothing is known', () => {
    const { router } = poolOf(3);
    const slots = ['x', 'y', 'z'].map((text) => slotFor(router, asking(text)));
    expect(new Set(slots).size).toBe(3);
  });

  it('forgets what an endpoint had when it restarts or leaves', () => {
    const { router, endpoints } = poolOf(2);
    const [first, second] = endpoints as [CandidateState, CandidateState];
    for (const gone of ['restarted', 'leave'] as const) {
      router.released(DOCUMENT, first, 0);
      router[gone](first);
      expect(router.sizes()).toMatchObject({ entries: 0, sessions: 0 });
    }
    expect(slotFor(router, DOCUMENT)).toBe(second.candidateIndex);
    second.flags = UNHEALTHY;
    expect(slotFor(router, DOCUMENT)).toBeUndefined();
  });

  it('tells what ends at an endpoint that left from what its successor has', () => {
    const { router, endpoints } = poolOf(2);
    const [first] = endpoints as [CandidateState];
    router.released(DOCUMENT, first, 0);
    router.leave(first);
    const successor = router.join('10.0.0.9:8000');
    expect(successor.candidateIndex).toBe(first.candidateIndex);
    router.ended(DOCUMENT, first);
    router.released(DOCUMENT, first, 0);
    router.leave(first);
    expect(router.sizes().entries).toBe(0);
    successor.flags = 0;
    expect(router.explain(DOCUMENT, ALWAYS, 0).endpoints).toHaveLength(2);
  });

  it('keeps a session at its endpoint, until that is overloaded', () => {
    const { router, endpoints } = poolOf(4);
    const home = endpoints[2] as CandidateState;
    router.released(asking('step', 'loop'), home, 0);
    home.sequences = 6;
    expect(slotFor(router, asking('step', 'loop'))).toBe(home.candidateIndex);
    expect(slotFor(router, asking('step', 'other'))).not.toBe(home.candidateIndex);
    home.sequences = 60;
    expect(slotFor(router, asking('step', 'loop'))).not.toBe(home.candidateIndex);
  });

  it('explains a choice as a table, without changing anything', () => {
    const { router, endpoints } = poolOf(3);
    const [first, second] = endpoints as [CandidateState, CandidateState];
    router.released(DOCUMENT, first, 0);
    second.flags = UNHEALTHY;
    const report = router.explain(DOCUMENT, ALWAYS, 0);
    expect(report).toEqual(router.explain(DOCUMENT, ALWAYS, 0));
    expect(report.chosen).toBe('10.0.0.0:8000');
    expect(report.endpoints[0]?.matchedTokens).toBeGreaterThan(3_000);
    expect(report.endpoints[1]?.filters).toContainEqual({ filter: 'healthy', passes: false });
    const [header, best] = explainText(report).split('\n');
    expect(header).toMatch(/endpoint +place +refused by +cached tokens +load +queue/);
    expect(best).toMatch(/10\.0\.0\.0:8000 +chosen +- +3\d\d\d of 4000/);
    expect(explainText(report)).toMatch(/10\.0\.0\.1:8000 +- +healthy/);
    for (const line of explainText(report).split('\n')) expect(line.length).toBeLessThanOrEqual(100);
    expect(slotFor(router, DOCUMENT)).toBe(first.candidateIndex);
  });

  it('explains what a slow client’s request borrows when its own side is full', () => {
    const { router, endpoints } = poolOf(2);
    router.setProfile(resolveProfile({ profile: 'slow-client-isolation' }));
    (endpoints[0] as CandidateState).flags = ISOLATED;
    const asks = {
      room: ({ candidateIndex: slot }: Candidate) => slot !== 0,
      permits: () => true,
      borrows: true,
    };
    const slow = request({ slow: true });
    const { chosen, endpoints: rows } = router.explain(slow, asks, 0);
    expect(chosen).toBe(router.choose(slow, asks, 0)?.candidate.address);
    expect(chosen).toBe('10.0.0.1:8000');
    expect(rows[1]?.filters.filter(({ passes }) => !passes)).toEqual([]);
    expect(router.explain(slow, { ...asks, borrows: false }, 0).chosen).toBeUndefined();
  });

  it('explains that nobody can take a request, and what an overloaded endpoint remembers in vain', () => {
    const { router, endpoints } = poolOf(2);
    const [first] = endpoints as [CandidateState];
    router.released(DOCUMENT, first, 0);
    first.sequences = 60;
    expect(explainText(router.explain(DOCUMENT, ALWAYS, 0))).toContain('(not counted)');
    for (const candidate of endpoints) candidate.flags = UNHEALTHY;
    expect(explainText(router.explain(DOCUMENT, ALWAYS, 0))).toContain('No endpoint passes all filters now.');
  });

  it('takes another profile while it runs', () => {
    const { router, endpoints } = poolOf(2);
    const [first] = endpoints as [CandidateState];
    router.released(DOCUMENT, first, 0);
    first.sequences = 8;
    expect(slotFor(router, DOCUMENT)).toBe(first.candidateIndex);
    router.setProfile(resolveProfile({ profile: 'balanced', weights: { prefix: 0, load: 5 } }));
    expect(slotFor(router, DOCUMENT)).not.toBe(first.candidateIndex);
  });
});

describe('sessions', () => {
  it('end with their endpoint and when they are idle, and are bounded in number', () => {
    const sessions = new Sessions({ max: 2, idleMs: 100 });
    sessions.served(1, 0, 0);
    sessions.served(2, 1, 10);
    sessions.served(1, 1, 20);
    sessions.served(3, 0, 30);
    expect([1, 2, 3].map((session) => sessions.find(session, 40))).toEqual([1, -1, 0]);
    expect(sessions.size()).toBe(2);
    sessions.end(1);
    expect(sessions.find(1, 40)).toBe(-1);
    expect(sessions.find(3, 130)).toBe(-1);
  });
});

describe('the size of a token in the KV cache', () => {
  it('is 128 KiB for Llama 3 8B in 16 bits, so that 56 GB hold 427,000', () => {
    const shape = { layers: 32, kvHeads: 8, headDim: 128, bytes: 2 };
    expect(kvBytesPerToken(shape)).toBe(131_072);
    expect(kvTokensIn(56e9, shape)).toBe(427_246);
    expect(kvTokensIn(-1, shape)).toBe(0);
  });
});
