/** One set of claims for each database, and what goes wrong with files and servers. */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Database, DatabaseError, type Migration } from '../../src/database/database.ts';
import { openDatabase } from '../../src/database/open-database.ts';
import { startPostgresql, type TestPostgresql } from '../support/postgresql.ts';

const folder = mkdtempSync(join(tmpdir(), 'fairlane-database-'));
let server: TestPostgresql;
let files = 0;
const open: Database[] = [];
const opened = (database: Database): Database => {
  open.push(database);
  return database;
};

beforeAll(async () => {
  server = await startPostgresql();
}, 60_000);
afterAll(async () => {
  await Promise.all(open.map((database) => database.close()));
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

const nextName = (): string => {
  files += 1;
  return `d${files}`;
};
const newFile = (): string => join(folder, `${nextName()}.db`);
const sqliteAt = (path: string, readOnly = false): Database =>
  opened(openDatabase({ kind: 'sqlite', path }, { readOnly }));

const TABLE = 'CREATE TABLE thing (id TEXT NOT NULL PRIMARY KEY, many BIGINT NOT NULL, note TEXT)';
const STEPS: readonly Migration[] = [
  { number: 1, statements: [TABLE] },
  {
    number: 2,
    statements: [{ sqlite: 'CREATE INDEX i ON thing (many)', postgresql: 'CREATE INDEX i ON thing (many)' }],
  },
];
const INSERT = 'INSERT INTO thing (id, many, note) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING';

const problemOf = async (done: Promise<unknown>): Promise<DatabaseError> => {
  const error: unknown = await done.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof DatabaseError)) throw new Error(`no DatabaseError: ${String(error)}`);
  return error;
};

const KINDS = [
  { kind: 'sqlite', targets: async () => ({ kind: 'sqlite', path: newFile() }) as const },
  {
    kind: 'postgresql',
    targets: async () => ({ kind: 'postgresql', url: await server.createDatabase(nextName()) }) as const,
  },
];

describe.each(KINDS)('a database: $kind', ({ targets }) => {
  it('keeps what a batch says, exactly, and says how much it changed', async () => {
    const target = await targets();
    const database = opened(openDatabase(target));
    await database.migrate('things', STEPS);
    const large = 2n ** 62n;
    const written = await database.batch([
      { sql: INSERT, values: ['a', 5, 'it’s "?" \n'] },
      { sql: INSERT, values: ['a', 6, null] },
      { sql: INSERT, values: ['b', large, null] },
      { sql: "INSERT INTO thing VALUES ('?', 1, 'x?') RETURNING id" },
      { sql: 'UPDATE thing SET note = ? WHERE many = ?', values: ['new', 1] },
    ]);
    expect(written.map(({ changed }) => changed)).toEqual([1, 0, 1, 1, 1]);
    expect(written[3]?.rows).toEqual([{ id: '?' }]);
    const [all, sum] = await database.batch([
      { sql: 'SELECT * FROM thing ORDER BY id' },
      { sql: 'SELECT sum(many) AS all_many, ? / 2 AS half FROM thing', values: [3] },
    ]);
    expect(all).toEqual({
      changed: 0,
      rows: [
        { id: '?', many: 1, note: 'new' },
        { id: 'a', many: 5, note: 'it’s "?" \n' },
        { id: 'b', many: large, note: null },
      ],
    });
    expect(sum?.rows[0]).toEqual({ all_many: large + 6n, half: 1 });
    // Another connection sees it.
    const other = opened(openDatabase(target, { readOnly: true }));
    await expect(other.batch([{ sql: 'SELECT count(*) AS n FROM thing' }])).resolves.toMatchObject([
      { rows: [{ n: 3 }] },
    ]);
    expect((await problemOf(other.batch([{ sql: 'DELETE FROM thing' }]))).message).toMatch(/read-?only/i);
  });

  it('carries out one statement for many rows', async () => {
    const database = opened(openDatabase(await targets()));
    await database.migrate('things', STEPS);
    const rows = [
      ['a', 5, 'it’s "?" \n'],
      ['b', '4611686018427387904', null],
      ['a', 6, null],
    ];
    const [none, some] = await database.batch([
      { sql: INSERT, rows: '' },
      { sql: INSERT, rows: rows.map((row) => JSON.stringify(row)).join(',') },
    ]);
    expect([none?.changed, some?.changed]).toEqual([0, 2]);
    const [result] = await database.batch([{ sql: 'SELECT * FROM thing ORDER BY id' }]);
    expect(result?.rows).toEqual([
      { id: 'a', many: 5, note: 'it’s "?" \n' },
      { id: 'b', many: 2n ** 62n, note: null },
    ]);
    // All of it or nothing.
    const bad = [
      ['c', 1, null],
      ['d', null, null],
    ]
      .map((row) => JSON.stringify(row))
      .join(',');
    await problemOf(database.batch([{ sql: INSERT, rows: bad }]));
    const [count] = await database.batch([{ sql: 'SELECT count(*) AS n FROM thing' }]);
    expect(count?.rows).toEqual([{ n: 2 }]);
  });

  it('does all of a batch or nothing, in the order of the batches, and goes on after a failure', async () => {
    const database = opened(openDatabase(await targets()));
    await database.migrate('things', STEPS);
    const bad = problemOf(
      database.batch([
        { sql: INSERT, values: ['a', 1, null] },
        { sql: 'INSERT INTO thing VALUES (?, ?, ?)', values: ['a', 2, null] },
      ]),
    );
    const many = Array.from({ length: 50 }, (_, i) =>
      database.batch([{ sql: INSERT, values: ['a', i + 10, null] }]),
    );
    const changed = (await Promise.all(many)).map(([result]) => result?.changed);
    expect((await bad).kind).toBe('refused');
    expect(changed).toEqual([1, ...Array.from({ length: 49 }, () => 0)]);
    const [result] = await database.batch([{ sql: 'SELECT id, many FROM thing' }]);
    expect(result?.rows).toEqual([{ id: 'a', many: 10 }]);
  });

  it('takes each step once, also when several processes take them at once, and refuses tables of a newer version', async () => {
    const target = await targets();
    const both = Array.from({ length: 4 }, () => opened(openDatabase(target)));
    await Promise.all(both.map((database) => database.migrate('things', STEPS)));
    await both[0]?.migrate('things', STEPS);
    await both[0]?.migrate('others', [{ number: 1, statements: ['CREATE TABLE other (id TEXT)'] }]);
    const problem = await problemOf(
      both[1]?.migrate('things', STEPS.slice(0, 1)) ?? Promise.reject(new Error('none')),
    );
    expect(problem.kind).toBe('refused');
    expect(problem.message).toContain('of version 2, and this Fairlane knows up to version 1');
    // A step that fails leaves nothing of itself.
    const broken = [...STEPS, { number: 3, statements: ['CREATE TABLE third (id TEXT)', 'CREATE nothing'] }];
    await problemOf(both[0]?.migrate('things', broken) ?? Promise.reject(new Error('none')));
    const mended = [...STEPS, { number: 3, statements: ['CREATE TABLE third (id TEXT)'] }];
    await both[0]?.migrate('things', mended);
  });

  it('refuses batches after its end, and carries out those that were given before', async () => {
    const target = await targets();
    const database = openDatabase(target);
    await database.migrate('things', STEPS);
    const last = database.batch([{ sql: INSERT, values: ['last', 1, null] }]);
    await database.close();
    await expect(last).resolves.toMatchObject([{ changed: 1 }]);
    expect((await problemOf(database.batch([{ sql: 'SELECT 1' }]))).message).toContain('it is closed');
    await database.close();
  });
});

describe('a file that is not as it should be', () => {
  it('is made for its owner alone', async () => {
    const path = newFile();
    await sqliteAt(path).migrate('things', STEPS);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(statSync(`${path}-wal`).mode & 0o777).toBe(0o600);
  });

  it('is locked by another process: away, and there again when that is done', async () => {
    const path = newFile();
    const [holder, waiter] = [sqliteAt(path), sqliteAt(path)];
    await holder.migrate('things', STEPS);
    // Each statement alone, so that the transaction stays open.
    const python = `import sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None)
c.execute('BEGIN IMMEDIATE')
print('held', flush=True)
sys.stdin.readline()`;
    const { spawn } = await import('node:child_process');
    const child = spawn('python3', ['-c', python, path], { stdio: ['pipe', 'pipe', 'inherit'] });
    await new Promise((resolve) => child.stdout.once('data', resolve));
    const problem = await problemOf(waiter.batch([{ sql: INSERT, values: ['a', 1, null] }]));
    expect(problem.kind).toBe('away');
    expect(problem.message).toContain('another process has it locked');
    // Reading goes on.
    await expect(waiter.batch([{ sql: 'SELECT count(*) AS n FROM thing' }])).resolves.toHaveLength(1);
    child.stdin.end('\n');
    await new Promise((resolve) => child.once('exit', resolve));
    await expect(waiter.batch([{ sql: INSERT, values: ['a', 1, null] }])).resolves.toMatchObject([
      { changed: 1 },
    ]);
  });

  it.each([
    [
      'is no database',
      () => writeFileSync(join(folder, 'text.db'), 'no database '.repeat(1_000)),
      'text.db',
      'no SQLite database',
    ],
    ['has no folder', () => undefined, 'none/x.db', 'its folder does not exist'],
    ['is a folder', () => undefined, '.', 'it is a folder'],
  ])('%s: refused, with its path', async (_, prepare, name, text) => {
    prepare();
    const path = join(folder, name);
    const problem = await problemOf(sqliteAt(path).migrate('things', STEPS));
    expect(problem.kind).toBe('refused');
    expect(problem.message).toContain(path);
    expect(problem.message).toContain(text);
  });

  it('is damaged: refused; a missing one is not made to be read', async () => {
    const path = newFile();
    const first = openDatabase({ kind: 'sqlite', path });
    await first.migrate('things', STEPS);
    await first.batch([{ sql: INSERT, values: ['a', 1, 'x'.repeat(100_000)] }]);
    await first.close();
    const bytes = Buffer.alloc(statSync(path).size - 4_096, 0xab);
    execFileSync('dd', [`of=${path}`, 'bs=4096', 'seek=1', 'conv=notrunc', 'status=none'], { input: bytes });
    const problem = await problemOf(sqliteAt(path).batch([{ sql: 'SELECT * FROM thing' }]));
    expect(problem.kind).toBe('refused');
    expect(problem.message).toContain('the file is damaged');
    const missing = await problemOf(sqliteAt(newFile(), true).batch([{ sql: 'SELECT 1' }]));
    expect(missing.message).toContain('there is no such file');
  });

  it('is read-only: refused, until it is writable again', async () => {
    const path = newFile();
    const first = openDatabase({ kind: 'sqlite', path });
    await first.migrate('things', STEPS);
    await first.close();
    chmodSync(path, 0o400);
    if (process.getuid?.() === 0) execFileSync('chattr', ['+i', path], { stdio: 'ignore' });
    const database = sqliteAt(path);
    try {
      const problem = await problemOf(database.batch([{ sql: INSERT, values: ['a', 1, null] }]));
      expect(problem.kind).toBe('refused');
    } finally {
      if (process.getuid?.() === 0) execFileSync('chattr', ['-i', path], { stdio: 'ignore' });
    }
    chmodSync(path, 0o600);
    await expect(database.batch([{ sql: INSERT, values: ['a', 1, null] }])).resolves.toMatchObject([
      { changed: 1 },
    ]);
  });
});

describe('a server that is not as it should be', () => {
  it('is killed: away, and there again after its restart', async () => {
    const database = opened(
      openDatabase({ kind: 'postgresql', url: await server.createDatabase(nextName()) }),
    );
    await database.migrate('things', STEPS);
    await server.kill();
    const problem = await problemOf(database.batch([{ sql: INSERT, values: ['a', 1, null] }]));
    expect(problem.kind).toBe('away');
    await server.restart();
    await expect(database.batch([{ sql: INSERT, values: ['a', 1, null] }])).resolves.toMatchObject([
      { changed: 1 },
    ]);
  });

  it('has no such database: refused, without the password', async () => {
    const url = `postgresql://fairlane:secret@127.0.0.1:${server.port}/missing`;
    const database = opened(openDatabase({ kind: 'postgresql', url }));
    const problem = await problemOf(database.batch([{ sql: 'SELECT 1' }]));
    expect(problem.kind).toBe('refused');
    expect(problem.message).toContain('there is no such database');
    expect(problem.message).not.toContain('secret');
  });

  it('hangs: away after the time that a batch has', async () => {
    const url = await server.createDatabase(nextName());
    const database = opened(openDatabase({ kind: 'postgresql', url }, { timeoutMs: 2_000 }));
    await database.migrate('things', STEPS);
    const problem = await problemOf(database.batch([{ sql: 'SELECT pg_sleep(20)' }]));
    expect(problem.kind).toBe('away');
    await expect(database.batch([{ sql: INSERT, values: ['a', 1, null] }])).resolves.toHaveLength(1);
  });
});
