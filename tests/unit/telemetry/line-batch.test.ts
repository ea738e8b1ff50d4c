/** Lines that are written together: all of them, whole and in their order, and never more than a pipe takes at once. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LineBatch } from '../../../src/telemetry/line-batch.ts';

function batch() {
  const written: string[] = [];
  const asked: (() => void)[] = [];
  const lines = new LineBatch(
    (text) => written.push(text),
    (flush) => asked.push(flush),
  );
  return { lines, written, asked };
}

describe('lines that are written together', () => {
  it('wait for others a short while, which is asked for once', () => {
    const { lines, written, asked } = batch();
    lines.add('a\n');
    lines.add('b\n');
    expect([written, asked.length]).toEqual([[], 1]);
    asked[0]?.();
    expect(written).toEqual(['a\nb\n']);
    lines.add('c\n');
    expect(asked.length).toBe(2);
    asked[1]?.();
    expect(written).toEqual(['a\nb\n', 'c\n']);
  });

  it('go at once when they are told to, and nothing is written for nothing', () => {
    const { lines, written, asked } = batch();
    lines.flush();
    expect([written, asked.length]).toEqual([[], 0]);
    lines.add('a\n');
    lines.flush();
    asked[0]?.();
    expect(written).toEqual(['a\n']);
  });

  it('are all written, whole, in their order, in pieces that a pipe takes', () => {
    const event = fc.oneof(
      { weight: 8, arbitrary: fc.integer({ min: 0, max: 1_500 }) },
      { weight: 1, arbitrary: fc.integer({ min: 4_000, max: 9_000 }) },
      { weight: 2, arbitrary: fc.constantFrom('later', 'flush') },
    );
    fc.assert(
      fc.property(fc.array(event, { maxLength: 60 }), (events) => {
        const { lines, written, asked } = batch();
        let all = '';
        events.forEach((one, i) => {
          if (one === 'later') asked.shift()?.();
          else if (one === 'flush') lines.flush();
          else {
            const line = `${i}${'x'.repeat(one)}\n`;
            all += line;
            lines.add(line);
          }
          expect(asked.length).toBeLessThanOrEqual(1);
        });
        lines.flush();
        expect(written.join('')).toBe(all);
        for (const text of written) {
          expect(text.endsWith('\n')).toBe(true);
          expect(text.length <= 4_096 || text.indexOf('\n') === text.length - 1).toBe(true);
        }
      }),
      { seed: 4_096, numRuns: 300 },
    );
  });
});
