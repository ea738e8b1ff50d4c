/** The levels of buckets over a restart. */
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { restoreSnapshot, saveSnapshot } from '../../src/limit/fs-snapshot.ts';
import { createMemoryStore, type MemoryStore } from '../../src/limit/memory-store.ts';

const folder = mkdtempSync(join(tmpdir(), 'fairlane-snapshot-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const limit = { amount: 100, unitMs: 60_000 };
const left = (store: MemoryStore, key: string, nowMs: number): number | undefined =>
  store.take([{ key, limit, hits: 0 }], nowMs)[0]?.remaining;

describe('a snapshot', () => {
  it('keeps levels and debts, and fills them by the time that passed', () => {
    const path = join(folder, 'levels.json');
    const before = createMemoryStore();
    before.take([{ key: 'used', limit, hits: 80 }], 0);
    before.take([{ key: 'debt', limit, hits: 150, mode: 'charge' }], 0);
    before.take([{ key: 'a "key"\nof a request', limit, hits: 10 }], 0);
    before.take([{ key: 'full', limit, hits: 0 }], 0);
    saveSnapshot(path, before, 0, 1_000_000);
    const after = createMemoryStore();
    expect(restoreSnapshot(path, after, 50, 1_030_000)).toEqual({ kind: 'restored', buckets: 3 });
    expect(['used', 'debt', 'a "key"\nof a request', 'full'].map((key) => left(after, key, 50))).toEqual([
      70, 0, 100, 100,
    ]);
    expect(left(after, 'debt', 50 + 1_000)).toBe(1);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readdirSync(folder)).toEqual(['levels.json']);
  });

  it('gives nothing for a clock that went back', () => {
    const path = join(folder, 'clock.json');
    const before = createMemoryStore();
    before.take([{ key: 'k', limit, hits: 80 }], 0);
    saveSnapshot(path, before, 0, 1_000_000);
    const after = createMemoryStore();
    restoreSnapshot(path, after, 0, 5);
    expect(left(after, 'k', 0)).toBe(20);
  });

  it.each([
    ['nothing', ''],
    ['no JSON', '{"version":1,'],
    ['another version', '{"version":2,"savedAtMs":1,"buckets":[]}'],
    ['no list', '{"version":1,"savedAtMs":1,"buckets":5}'],
    ['null', 'null'],
  ])('that holds %s is told, and buckets start full', (_, text) => {
    const path = join(folder, 'bad.json');
    writeFileSync(path, text);
    const store = createMemoryStore();
    expect(restoreSnapshot(path, store, 0, 0).kind).toBe('bad');
    expect(left(store, 'k', 0)).toBe(100);
  });

  it('counts buckets of which the level makes no sense as empty, leaves out others, and says so', () => {
    const path = join(folder, 'odd.json');
    const buckets = [
      ['k', 100, 60_000, 20],
      ['x', -1, 1, 1],
      ['y', 100, 60_000, 'z'],
      5,
      ['z', 100, 60_000, 1e300],
      null,
    ];
    writeFileSync(path, JSON.stringify({ version: 1, savedAtMs: 1, buckets }));
    const store = createMemoryStore();
    expect(restoreSnapshot(path, store, 0, 1)).toEqual({
      kind: 'restored',
      buckets: 3,
      problem: `${path}: of 6 buckets some make no sense: 2 count as empty, 3 as full`,
    });
    expect(['k', 'x', 'y', 'z'].map((key) => left(store, key, 0))).toEqual([20, 100, 0, 0]);
  });

  it.each([
    ['nothing', null],
    ['NaN', 'NaN'],
    ['more than there is', 101],
    ['a list', [1]],
    ['nothing left, deep below', -1e308],
  ])('gives no fresh tokens for a level of %s', (_, level) => {
    const path = join(folder, 'level.json');
    const month = 9_007_199_254_740_991;
    const buckets = [
      ['m', 100, month, level, 1e9],
      ['m', 100, month, 50, 1e9],
    ];
    writeFileSync(path, JSON.stringify({ version: 1, savedAtMs: 1, buckets }));
    const store = createMemoryStore();
    restoreSnapshot(path, store, 0, 1);
    const of = { amount: 100, unitMs: month, maxDebt: month, keepMs: 1e9 };
    expect(store.take([{ key: 'm', limit: of, hits: 1 }], 0)[0]).toMatchObject({ granted: false });
    // It is no debt beyond what numbers can hold.
    expect(Number.isFinite(store.take([{ key: 'm', limit: of, hits: 0 }], 0)[0]?.level)).toBe(true);
  });

  it('of this format or the one before has what was used, whatever the limit is by then', () => {
    const path = join(folder, 'changed.json');
    const month = 9_007_199_254_740_991;
    const key = 'tenant:a:tokens:2026-11';
    writeFileSync(
      path,
      `{"version":1,"savedAtMs":1000000,"buckets":[["${key}",1000,${month},0,3456000000],["k",100,60000,20]]}`,
    );
    for (const [amount, remaining] of [
      [1_000, 0],
      [1_500, 500],
      [400, 0],
    ] as const) {
      const store = createMemoryStore();
      restoreSnapshot(path, store, 0, 1_000_000);
      const of = { amount, unitMs: month, maxDebt: month, keepMs: 3_456_000_000 };
      const [taken] = store.take([{ key, limit: of, hits: 0 }], 0);
      expect(taken).toMatchObject({ remaining, used: 1_000 });
    }
    const store = createMemoryStore();
    restoreSnapshot(path, store, 0, 1_000_000);
    const [taken] = store.take([{ key: 'k', limit: { amount: 1_000, unitMs: 60_000 }, hits: 0 }], 0);
    expect(taken).toMatchObject({ remaining: 920 });
    saveSnapshot(path, store, 0, 1_000_000);
    expect(readFileSync(path, 'utf8')).toContain(`["${key}",1000,${month},0,3456000000]`);
  });

  it('that was never saved is none', () => {
    expect(restoreSnapshot(join(folder, 'none.json'), createMemoryStore(), 0, 0)).toEqual({ kind: 'none' });
  });

  it('that cannot be written leaves the old one', () => {
    const path = join(folder, 'kept.json');
    const store = createMemoryStore();
    saveSnapshot(path, store, 0, 1);
    const text = readFileSync(path, 'utf8');
    mkdirSync(`${path}.new`);
    expect(() => saveSnapshot(path, store, 0, 2)).toThrow();
    expect(readFileSync(path, 'utf8')).toBe(text);
  });
});

it('a store forgets buckets that are full again', () => {
  const store = createMemoryStore();
  for (let i = 0; i < 10_000; i += 1) store.take([{ key: `k${i}`, limit, hits: 1 }], i);
  for (let i = 0; i < 10_000; i += 1) store.take([{ key: 'one', limit, hits: 0 }], 1_000_000 + i);
  expect(store.size()).toBeLessThan(10);
});

it('a snapshot is believed only where nobody else could write it', () => {
  const path = join(folder, 'whose.json');
  const elsewhere = join(folder, 'elsewhere.json');
  const before = createMemoryStore();
  before.take([{ key: 'k', limit, hits: 80 }], 0);
  saveSnapshot(elsewhere, before, 0, 1_000);
  symlinkSync(elsewhere, path);
  expect(restoreSnapshot(path, createMemoryStore(), 0, 1_000)).toEqual({
    kind: 'bad',
    problem: `${path}: it is a symbolic link`,
  });
  // The link is replaced, and what it led to stays.
  saveSnapshot(path, createMemoryStore(), 0, 1_000);
  expect(restoreSnapshot(elsewhere, createMemoryStore(), 0, 1_000)).toMatchObject({ buckets: 1 });
  expect(restoreSnapshot(path, createMemoryStore(), 0, 1_000)).toMatchObject({ buckets: 0 });
  chmodSync(elsewhere, 0o620);
  expect(restoreSnapshot(elsewhere, createMemoryStore(), 0, 1_000)).toMatchObject({
    problem: `${elsewhere} may be written to by others (chmod 600)`,
  });
});
