/** Ids of usage records: of the form of RFC 9562, in the order of time, each once. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RECORD_ID_SEED_BYTES, RecordIds } from '../../../src/usage/record-ids.ts';

const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const NOW_MS = 1_796_000_000_000;
const arbSeed = fc.uint8Array({ minLength: RECORD_ID_SEED_BYTES, maxLength: RECORD_ID_SEED_BYTES });

describe('ids of records', () => {
  it('are UUIDs of version 7 with the time of day', () => {
    const id = new RecordIds(new Uint8Array(RECORD_ID_SEED_BYTES)).next(NOW_MS);
    expect(id).toMatch(UUID_V7);
    expect(Number.parseInt(id.replace('-', '').slice(0, 12), 16)).toBe(NOW_MS);
  });

  it('rise, also while the clock stands, goes back an hour or says nonsense', () => {
    const arbTime = fc.oneof(
      fc.nat(3_600_000).map((ms) => NOW_MS + ms),
      fc.constantFrom(NOW_MS, NOW_MS - 3_600_000, 0, -1, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 60),
    );
    fc.assert(
      fc.property(arbSeed, fc.array(arbTime, { maxLength: 50 }), (seed, times) => {
        const ids = new RecordIds(seed);
        let before = '';
        for (const unixMs of times) {
          const id = ids.next(unixMs);
          expect(id).toMatch(UUID_V7);
          expect(id > before).toBe(true);
          before = id;
        }
      }),
    );
  });

  it('rise where the counter begins anew', () => {
    const ids = new RecordIds(new Uint8Array([0x03, 0xff, 0xff, 0xfd, 1, 2, 3, 4, 5, 6]));
    const made = Array.from({ length: 6 }, () => ids.next(NOW_MS));
    expect([...made].sort()).toEqual(made);
    expect(new Set(made).size).toBe(made.length);
  });

  it('differ between processes of one millisecond and one count', () => {
    const seed = (last: number): Uint8Array => new Uint8Array([0, 0, 0, 1, 0, 0, 0, 0, 0, last]);
    const made = [1, 2].map((last) => new RecordIds(seed(last)).next(NOW_MS));
    expect(made[0]).not.toBe(made[1]);
  });

  it('are each made once, however many', () => {
    const ids = new RecordIds(new Uint8Array(RECORD_ID_SEED_BYTES).fill(255));
    const made = new Set<string>();
    for (let i = 0; i < 200_000; i += 1) made.add(ids.next(NOW_MS + Math.floor(i / 1_000)));
    expect(made.size).toBe(200_000);
  });
});
