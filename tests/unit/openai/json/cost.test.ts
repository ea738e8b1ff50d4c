import { describe, expect, it } from 'vitest';
import { costOf, MOST_MS, search, textOf } from '../../../prove/bodies.ts';

describe('the worst bodies of a short search', () => {
  it('take a turn of the event loop for no longer than it may', () => {
    // `npm run prove -- bodies` searches for longer, and on a machine that does nothing else.
    const found = search({ tries: 150, seed: 7, limit: 8 * 1024 * 1024 }).slice(0, 3);
    for (const { plan, cost } of found) {
      const text = textOf(plan);
      let least = cost.worstMs;
      for (let again = 0; again < 10; again += 1) least = Math.min(least, costOf(plan.route, text).worstMs);
      expect(least).toBeLessThan(MOST_MS);
    }
  }, 60_000);
});
