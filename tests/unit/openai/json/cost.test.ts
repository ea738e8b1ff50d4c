import { describe, expect, it } from 'vitest';
import { MOST_MS, search } from '../../../prove/bodies.ts';

describe('the worst body of a short search', () => {
  it('takes a turn of the event loop for no longer than it may', () => {
    // `npm run prove -- bodies` searches for longer.
    const [worst] = search({ tries: 150, seed: 7, limit: 8 * 1024 * 1024 });
    expect(worst?.cost.worstMs).toBeLessThan(MOST_MS);
  }, 60_000);
});
