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

  it('leaves out buckets that make no sense', () => {
    const path = join(folder, 'odd.json');
    const buckets = [['k', 100, 60_000, 20], ['x', -1, 1, 1], ['y', 1, 1, 'z'], 5, ['z', 1, 1, 1e300], null];
    writeFileSync(path, JSON.stringify({ version: 1, savedAtMs: 1, buckets }));
    const store = createMemoryStore();
    expect(restoreSnapshot(path, store, 0, 1)).toEqual({ kind: 'restored', buckets: 1 });
    expect(left(store, 'k', 0)).toBe(20);
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
