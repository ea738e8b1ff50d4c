import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BodyBuffer } from '../../../src/ext-proc/body-buffer.ts';

describe('a body that arrives in parts', () => {
  it('is what has come, or nothing when that is too much', () => {
    const part = fc.oneof(
      fc.uint8Array({ maxLength: 50 }),
      fc.nat({ max: 90_000 }).map((n) => new Uint8Array(n).fill(n)),
    );
    fc.assert(
      fc.property(fc.array(part, { maxLength: 60 }), fc.nat({ max: 3_000_000 }), (parts, most) => {
        const buffer = new BodyBuffer(most);
        let size = 0;
        for (const bytes of parts) {
          size += bytes.length;
          const taken = buffer.add(Buffer.from(bytes));
          expect(taken).toBe(size <= most);
          if (!taken) {
            expect(buffer.take().length).toBe(0);
            return;
          }
        }
        expect(buffer.take().equals(Buffer.concat(parts))).toBe(true);
        expect(buffer.take().length).toBe(0);
      }),
      { numRuns: 50 },
    );
  });
});
