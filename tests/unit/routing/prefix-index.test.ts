import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PrefixIndex } from '../../../src/routing/prefix-index.ts';
import { endOfBlock } from '../../../src/routing/prompt-blocks.ts';
import { createPromptHasher } from '../../../src/routing/prompt-hash.ts';
import { jsonDocumentOf } from '../../support/documents.ts';
import { SEED } from './fixtures.ts';

const hasher = createPromptHasher(SEED);
const blocksOf = (prompt: string, scope = 'a'): Uint32Array =>
  hasher.hash({ route: 'completions', document: jsonDocumentOf({ prompt }), scope, model: 'm' })?.blocks ??
  new Uint32Array(0);

/** A chain of `ids`: the hash of each is of all before it too. */
const chainOf = (ids: readonly number[]): Uint32Array => {
  const words: number[] = [];
  let high = 1;
  let low = 2;
  for (const id of ids) {
    high = Math.imul(high ^ (id + 1), 0x9e3779b1) >>> 0;
    low = (Math.imul(low + id + 7, 0x85ebca6b) ^ (high >>> 15)) >>> 0;
    words.push(high, low);
  }
  return Uint32Array.from(words);
};
const BIG = { maxEntries: 2 ** 16, defaultBytes: 1e9 };
/** Bytes that an endpoint has of it. */
const found = (index: PrefixIndex, blocks: Uint32Array, slot: number): number => {
  const { matchedBytes, matchedEverywhere } = index.lookup(blocks);
  return Math.max(matchedEverywhere, matchedBytes[slot] ?? 0);
};
const attach = (index: PrefixIndex, count: number): number[] =>
  Array.from({ length: count }, () => index.attach());

const arbIds = fc.array(fc.nat(2), { maxLength: 6 });

describe('the prefix index', () => {
  it('finds the longest beginning that was sent to each endpoint, and nothing else', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ slot: fc.nat(4), ids: arbIds }), { maxLength: 40 }),
        arbIds,
        (sent, ids) => {
          const index = new PrefixIndex(BIG);
          attach(index, 5);
          for (const one of sent) index.touch(one.slot, chainOf(one.ids));
          const blocks = chainOf(ids);
          for (let slot = 0; slot < 5; slot += 1) {
            let longest = 0;
            for (const one of sent) {
              if (one.slot !== slot) continue;
              let same = 0;
              while (same < ids.length && same < one.ids.length && ids[same] === one.ids[same]) same += 1;
              longest = Math.max(longest, same);
            }
            expect(found(index, blocks, slot)).toBe(longest === 0 ? 0 : endOfBlock(longest - 1));
          }
        },
      ),
    );
  });

  it('finds the same whatever the order in which prompts were sent, while there is room', () => {
    fc.assert(
      fc.property(
        fc
          .array(fc.tuple(fc.nat(3), arbIds), { maxLength: 20 })
          .chain((sent) =>
            fc.tuple(fc.constant(sent), fc.shuffledSubarray(sent, { minLength: sent.length })),
          ),
        arbIds,
        ([sent, shuffled], ids) => {
          const [one, other] = [sent, shuffled].map((order) => {
            const index = new PrefixIndex(BIG);
            attach(index, 4);
            for (const [slot, its] of order) index.touch(slot, chainOf(its));
            return [0, 1, 2, 3].map((slot) => found(index, chainOf(ids), slot));
          });
          expect(one).toEqual(other);
        },
      ),
    );
  });

  it('keeps its bounds and its books whatever is sent, forgotten, joins and leaves', () => {
    const arbStep = fc.oneof(
      {
        weight: 8,
        arbitrary: fc.record({ kind: fc.constant('touch' as const), slot: fc.nat(5), ids: arbIds }),
      },
      fc.record({ kind: fc.constant('forget' as const), slot: fc.nat(5) }),
      fc.record({ kind: fc.constant('leave' as const), slot: fc.nat(5) }),
      fc.record({ kind: fc.constant('join' as const) }),
      fc.record({ kind: fc.constant('capacity' as const), slot: fc.nat(5), bytes: fc.nat(2_000) }),
    );
    fc.assert(
      fc.property(fc.array(arbStep, { maxLength: 200 }), fc.integer({ min: 1, max: 30 }), (steps, most) => {
        const index = new PrefixIndex({ maxEntries: most, defaultBytes: 2_000 });
        const sent = new Map<number, string[]>();
        for (const slot of attach(index, 3)) sent.set(slot, []);
        for (const step of steps) {
          if (step.kind === 'join' && sent.size < 6) sent.set(index.attach(), []);
          else if (step.kind === 'touch' && sent.has(step.slot)) {
            index.touch(step.slot, chainOf(step.ids));
            sent.get(step.slot)?.push(step.ids.join());
          } else if (step.kind === 'forget' && sent.has(step.slot)) {
            index.forget(step.slot);
            sent.set(step.slot, []);
          } else if (step.kind === 'leave' && sent.delete(step.slot)) index.detach(step.slot);
          else if (step.kind === 'capacity' && sent.has(step.slot)) index.setCapacity(step.slot, step.bytes);
          expect(index.size()).toBeLessThanOrEqual(most);
          const { matchedBytes, matchedEverywhere } = index.lookup(
            chainOf('ids' in step ? step.ids : [0, 1]),
          );
          matchedBytes.forEach((bytes, slot) => {
            if (bytes > 0) expect(sent.has(slot)).toBe(true);
          });
          if (matchedEverywhere > 0) expect(sent.size).toBeGreaterThan(0);
        }
        for (const [slot, list] of sent) {
          expect(index.bytesOf(slot)).toBeLessThanOrEqual(2_000);
          if (list.length === 0) expect(index.bytesOf(slot)).toBe(0);
          index.forget(slot);
        }
        expect(index.size()).toBe(0);
      }),
    );
  });

  it('an endpoint that has a block has all before it, also when its cache or the index is full', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(2), arbIds), { minLength: 1, maxLength: 60 }),
        fc.integer({ min: 4, max: 40 }),
        fc.integer({ min: 256, max: 4_000 }),
        (sent, most, bytes) => {
          const index = new PrefixIndex({ maxEntries: most, defaultBytes: bytes });
          attach(index, 3);
          for (const [slot, ids] of sent) index.touch(slot, chainOf(ids));
          for (const [slot, ids] of sent) {
            for (let length = 2; length <= ids.length; length += 1) {
              const longer = found(index, chainOf(ids.slice(0, length)), slot);
              const shorter = found(index, chainOf(ids.slice(0, length - 1)), slot);
              expect(shorter).toBe(Math.min(longer, endOfBlock(length - 2)));
            }
          }
        },
      ),
    );
  });

  it('evicts what was unused for longest, the end of a prompt first', () => {
    const index = new PrefixIndex(BIG);
    const slot = index.attach();
    index.setCapacity(slot, 4 * 256);
    const [old, recent] = [chainOf([1, 1]), chainOf([2, 2])];
    index.touch(slot, old);
    index.touch(slot, recent);
    index.touch(slot, chainOf([3]));
    expect(found(index, old, slot)).toBe(256);
    expect(found(index, recent, slot)).toBe(512);
    index.touch(slot, old);
    expect(found(index, recent, slot)).toBe(256);
  });

  it('never finds in one scope what was sent in another', () => {
    const index = new PrefixIndex(BIG);
    const slot = index.attach();
    const prompt = 'the same prompt '.repeat(500);
    index.touch(slot, blocksOf(prompt, 'a'));
    expect(found(index, blocksOf(prompt, 'b'), slot)).toBe(0);
    expect(found(index, blocksOf(prompt, 'a'), slot)).toBeGreaterThan(7_000);
  });

  it('says what all endpoints have without listing them', () => {
    const index = new PrefixIndex(BIG);
    for (const slot of attach(index, 20)) index.touch(slot, chainOf([1, 1]));
    index.touch(7, chainOf([1, 1, 1]));
    const { matchedBytes, matchedEverywhere } = index.lookup(chainOf([1, 1, 1, 1]));
    expect(matchedEverywhere).toBe(512);
    expect(matchedBytes[7]).toBe(768);
    expect(matchedBytes[3]).toBe(0);
  });

  it('stays within its memory under a million distinct prompts, and still finds the latest', () => {
    const index = new PrefixIndex({ maxEntries: 2 ** 16, defaultBytes: 1e12 });
    attach(index, 4);
    const firstBytes = index.memoryBytes();
    for (let i = 0; i < 1_000_000; i += 1) index.touch(i % 4, chainOf([i, i]));
    expect(index.size()).toBeLessThanOrEqual(2 ** 16);
    expect(index.memoryBytes()).toBeLessThan(70 * 2 ** 16);
    expect(index.memoryBytes()).toBeGreaterThan(firstBytes);
    expect(found(index, chainOf([999_999, 999_999]), 3)).toBe(512);
    expect(found(index, chainOf([5, 5]), 1)).toBe(0);
  });

  it('an endpoint that is new takes its share of a full index from the one with the most', () => {
    const index = new PrefixIndex({ maxEntries: 1_024, defaultBytes: 1e12 });
    const [old = 0, fresh = 0] = attach(index, 2);
    for (let i = 0; i < 5_000; i += 1) index.touch(old, chainOf([i]));
    for (let i = 0; i < 5_000; i += 1) index.touch(fresh, chainOf([i]));
    expect(index.bytesOf(fresh)).toBeGreaterThanOrEqual(500 * 256);
    expect(index.bytesOf(old)).toBeGreaterThanOrEqual(400 * 256);
  });

  it('gives a place that came free to the next endpoint, which has nothing of the former one', () => {
    const index = new PrefixIndex(BIG);
    const [first = 0] = attach(index, 2);
    index.touch(first, chainOf([1]));
    index.detach(first);
    index.detach(first);
    index.touch(first, chainOf([1]));
    expect(index.size()).toBe(0);
    expect(index.attach()).toBe(first);
    expect(found(index, chainOf([1]), first)).toBe(0);
  });

  it('takes a prompt without a full block, and one larger than the cache', () => {
    const index = new PrefixIndex(BIG);
    const slot = index.attach();
    index.touch(slot, blocksOf('short'));
    expect(index.size()).toBe(0);
    index.setCapacity(slot, 600);
    const long = blocksOf('long '.repeat(2_000));
    index.touch(slot, long);
    expect(found(index, long, slot)).toBe(512);
    index.setCapacity(slot, 0);
    index.touch(slot, long);
    expect(index.size()).toBe(0);
  });
});
