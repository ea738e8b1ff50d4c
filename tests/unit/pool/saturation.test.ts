import { expect, it } from 'vitest';
import { saturationOf } from '../../../src/pool/saturation.ts';

it.each([
  [{ sequences: 0, concurrencyLimit: 8, waiting: 0 }, 0],
  [{ sequences: 6, concurrencyLimit: 8, waiting: 0 }, 0.75],
  [{ sequences: 8, concurrencyLimit: 8, waiting: 0 }, 1],
  // Headroom may be used beyond a limit that has just shrunk.
  [{ sequences: 9, concurrencyLimit: 8, waiting: 0 }, 1],
  [{ sequences: 1, concurrencyLimit: 8, waiting: 1 }, 1],
  // Its part of what replicas divide: none while it asks for none.
  [{ sequences: 0, concurrencyLimit: 0, waiting: 0 }, 0],
  [{ sequences: 1, concurrencyLimit: 0, waiting: 0 }, 1],
  [{ sequences: 0, concurrencyLimit: 0, waiting: 1 }, 1],
  [{ sequences: 0, concurrencyLimit: Number.NaN, waiting: 0 }, 1],
])('the saturation of %o is %d', (pool, expected) => {
  expect(saturationOf(pool, true)).toBe(expected);
});

it.each([0, 8, Number.NaN])('a pool where nothing serves is full, with a limit of %d', (concurrencyLimit) => {
  expect(saturationOf({ sequences: 0, concurrencyLimit, waiting: 0 }, false)).toBe(1);
});
