import { describe, expect, it } from 'vitest';
import { allowedLines, LIMITS, linesOver, MOST } from '../support/line-limits.ts';

describe('the lines that .oxlintrc.json allows beyond the limits', () => {
  it('are those that stand there: none is larger, and none is left over (tests/support/line-limits.ts writes them anew)', () => {
    expect(Object.fromEntries(allowedLines())).toEqual(Object.fromEntries(linesOver(LIMITS)));
  });

  it('are no more than the most', () => {
    for (const [file, lines] of allowedLines()) {
      expect([file, lines.file <= MOST.file, lines.function <= MOST.function]).toEqual([file, true, true]);
    }
  });
});
