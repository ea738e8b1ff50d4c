import { expect, it } from 'vitest';
import { measureRollback } from '../../bench/routing/rollback.ts';

it('a version that fails everything gets its last request a few seconds after its first bad one', async () => {
  const seconds = await measureRollback();
  expect(seconds).toBeGreaterThan(0.5);
  expect(seconds).toBeLessThan(4);
});
