/** The pure parts of an answer, with whatever comes in. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { answerText, BadCall, parseCall } from '../../../src/rate-limit-service/json-codec.ts';
import { nearHits } from '../../../src/rate-limit-service/near-limit.ts';
import { QuotaGroups } from '../../../src/rate-limit-service/quota-groups.ts';
import { jsonOf, merged, type Struct, type StructValue } from '../../../src/rate-limit-service/struct.ts';

const isMapping = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const structOf = (mapping: Readonly<Record<string, unknown>>): Struct =>
  new Map(
    Object.entries(mapping).map(([key, value]) => [
      key,
      isMapping(value) ? structOf(value) : (value as StructValue),
    ]),
  );

/** As the reference counts them, with whole numbers: src/limiter/base_limiter.go. */
function nearAsReference(limit: number, before: number, after: number): number {
  const near = Math.floor(Math.fround(Math.fround(limit) * Math.fround(0.8)));
  if (after > limit) return before >= limit ? 0 : limit - Math.max(near, before);
  if (after <= near) return 0;
  return before >= near ? after - before : after - near;
}

describe('hits near a limit', () => {
  it('are those of the reference, whatever was used before', () => {
    const count = fc.nat({ max: 100_000 });
    fc.assert(
      fc.property(count, count, fc.integer({ min: 1, max: 100_000 }), (limit, before, hits) => {
        expect(nearHits(limit, 0.8, before + hits, hits)).toBe(nearAsReference(limit, before, before + hits));
      }),
    );
  });

  it('are never more than the hits, and never negative, though a bucket fills between them', () => {
    const ratio = fc.double({ min: 0, max: 1, noNaN: true });
    const used = fc.double({ min: 0, max: 1e12, noNaN: true });
    fc.assert(
      fc.property(fc.nat(), ratio, used, fc.integer({ min: 1 }), (limit, part, now, hits) => {
        const near = nearHits(limit, part, now, hits);
        expect(near).toBeGreaterThanOrEqual(0);
        expect(near).toBeLessThanOrEqual(hits);
      }),
    );
  });
});

describe('a Struct', () => {
  it('never has a prototype', () => {
    const evil = new Map([['__proto__', new Map([['polluted', true]])]]);
    expect(Object.getPrototypeOf(jsonOf(evil))).toBeNull();
    jsonOf(merged(evil, evil));
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
  });

  it('keeps what was there first, and merges mappings, without a change of either', () => {
    const first = structOf({ a: 1, m: { x: 1 }, t: { y: 1 } });
    const second = structOf({ a: 2, m: { x: 2, z: 3 }, t: 'text', n: null });
    const before = JSON.stringify([jsonOf(first), jsonOf(second)]);
    expect(jsonOf(merged(first, second))).toEqual({ a: 1, m: { x: 1, z: 3 }, t: { y: 1 }, n: null });
    expect(JSON.stringify([jsonOf(first), jsonOf(second)])).toBe(before);
  });
});

describe('a call as JSON', () => {
  it('is read or refused, whatever it is', () => {
    const field = fc.constantFrom(
      'domain',
      'descriptors',
      'hitsAddend',
      'entries',
      'key',
      'limit',
      'unit',
      '__proto__',
    );
    const { value } = fc.letrec((tie) => ({
      value: fc.oneof(
        { maxDepth: 5 },
        fc.string(),
        fc.double(),
        fc.constant(null),
        fc.array(tie('value'), { maxLength: 3 }),
        fc.dictionary(field, tie('value'), { maxKeys: 3 }),
      ),
    }));
    const text = fc.oneof(
      fc.string(),
      value.map((one) => JSON.stringify(one) ?? ''),
    );
    fc.assert(
      fc.property(text, (body) => {
        try {
          expect(parseCall(body)).toHaveProperty('descriptors');
        } catch (error) {
          expect(error).toBeInstanceOf(BadCall);
        }
      }),
      { numRuns: 1_000 },
    );
  });

  it('has its hits as far as a double holds them', () => {
    const hits = (written: unknown): number | undefined =>
      parseCall(JSON.stringify({ descriptors: [{ hitsAddend: written }] })).descriptors[0]?.hits;
    expect([hits(0), hits('7'), hits('1e2'), hits(null)]).toEqual([0, 7, 100, undefined]);
    expect(hits('18446744073709551615')).toBe(Number.MAX_SAFE_INTEGER);
    for (const bad of ['', ' 7', '7 ', '07', '+7', '0x7', '18446744073709560000', true, {}]) {
      expect(() => hits(bad)).toThrow(BadCall);
    }
  });

  it('is answered without what is the default', () => {
    const answer = {
      over: true,
      statuses: [],
      headers: [],
      requestHeaders: [],
      metadata: structOf({ a: [structOf({ b: 1 })] }),
    };
    expect(JSON.parse(answerText(answer))).toEqual({
      overallCode: 'OVER_LIMIT',
      statuses: [],
      dynamicMetadata: { a: [{ b: 1 }] },
    });
  });
});

describe('quota groups', () => {
  const descriptor = (...pairs: readonly [string, string][]) => ({
    entries: pairs.map(([key, value]) => ({ key, value })),
    negative: false,
  });

  it('are those of a backend and a model, else of the same entries, which no clever value joins', () => {
    const groups = new QuotaGroups();
    groups.add(0, descriptor(['a', 'b;c=d']), true);
    groups.add(1, descriptor(['a', 'b'], ['c', 'd']), false);
    expect([groups.isExhausted(0), groups.isExhausted(1), groups.isExhausted(2), groups.isOver]).toEqual([
      true,
      false,
      false,
      false,
    ]);
    groups.add(3, descriptor(['backend_name', 'x|y']), true);
    groups.add(4, descriptor(['backend_name', 'x'], ['model_name_override', 'y']), false);
    expect([groups.isExhausted(3), groups.isExhausted(4)]).toEqual([true, false]);
  });

  it('refuse nothing while there are none', () => {
    expect(new QuotaGroups().isOver).toBe(false);
  });
});
