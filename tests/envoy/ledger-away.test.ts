/** The ledger of a running service whose database goes away: no request notices, it is told, and each record arrives once. */
import { join } from 'node:path';
import Libsql from 'libsql';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openDatabase } from '../../src/database/open-database.ts';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { chatBody, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { startPostgresql, type TestPostgresql } from '../support/postgresql.ts';
import { KEYS, type Stack, startStack } from '../support/stack.ts';

interface Health {
  readonly status: string;
  readonly problems?: readonly string[];
  readonly ledger?: { readonly state: string; readonly spooled: number; readonly lost: number };
}

let engine: Simulator;
let server: TestPostgresql;

beforeAll(async () => {
  const profile = parseProfile('test', {});
  engine = await startSimulator({ profile, models: ['demo', 'embedder'], faults: true });
  server = await startPostgresql();
});
afterAll(async () => {
  await engine.close();
  await server.close();
});

/** What can go away, how it comes back, and what it has in the end. */
interface Kind {
  readonly name: string;
  section(directory: string): Promise<Record<string, unknown>>;
  /** @returns how it comes back. */
  away(stack: Stack): Promise<() => Promise<void>>;
}

let url = '';
const KINDS: readonly Kind[] = [
  {
    name: 'PostgreSQL, which is killed',
    async section(directory) {
      url = await server.createDatabase('away');
      return { url, directory };
    },
    async away() {
      await server.kill();
      return () => server.restart();
    },
  },
  {
    name: 'an SQLite file, which somebody has locked',
    section: (directory) => Promise.resolve({ directory }),
    away({ config }) {
      const target = config.ledger?.target;
      if (target?.kind !== 'sqlite') throw new Error('no file');
      const other = new Libsql(target.path, {});
      other.exec('BEGIN IMMEDIATE');
      return Promise.resolve(() => {
        other.exec('ROLLBACK');
        other.close();
        return Promise.resolve();
      });
    },
  },
];

const health = async ({ metricsUrl }: Stack): Promise<Health> =>
  (await (await fetch(`${metricsUrl}/health`)).json()) as Health;

const answered = async ({ url: api }: Stack, requests: number): Promise<void> => {
  const all = Array.from({ length: requests }, () => send(api, { key: KEYS.quiet, body: chatBody() }));
  expect((await Promise.all(all)).map(({ status }) => status)).toEqual(all.map(() => 200));
};

async function counts({ config }: Stack): Promise<readonly number[]> {
  if (config.ledger === undefined) throw new Error('no ledger');
  const database = openDatabase(config.ledger.target, { readOnly: true });
  const results = await database.batch([
    { sql: 'SELECT count(*) AS n, count(DISTINCT request_id) AS others FROM request' },
    { sql: 'SELECT sum(requests) AS n FROM usage_hour' },
    { sql: 'SELECT sum(requests) AS n FROM usage_month' },
  ]);
  await database.close();
  return results.flatMap(({ rows }) => Object.values(rows[0] ?? {}).map(Number));
}

describe.each(KINDS)('a ledger in $name', (kind) => {
  let stack: Stack;
  beforeAll(async () => {
    let directory = '';
    const own = await kind.section('DIRECTORY');
    stack = await startStack({
      engines: [engine.url],
      change(config) {
        directory = join(config['envoy']['directory'], 'ledger');
        config['ledger'] = { ...own, directory };
      },
    });
  });
  afterAll(() => stack.close());

  it('costs no request; metrics and /health say it; nothing is lost or doubled', async () => {
    await answered(stack, 5);
    await eventually(
      () => stack.metric('fairlane_ledger_rows_total'),
      (rows) => rows === 5,
      20_000,
    );
    expect(await health(stack)).toMatchObject({ ledger: { state: 'ok', spooled: 0, lost: 0 } });

    const back = await kind.away(stack);
    await answered(stack, 7);
    const told = await eventually(
      () => health(stack),
      ({ ledger }) => ledger?.state === 'away' && ledger.spooled === 7,
      20_000,
    );
    expect(told.status).toBe('degraded');
    expect(JSON.stringify(told)).toContain('ledger: 7 records wait');
    expect(await stack.metric('fairlane_ledger_spooled')).toBe(7);
    expect(await stack.metric('fairlane_ledger_lag_seconds')).toBeGreaterThan(0);
    expect(stack.logText()).toContain('ledger-away');

    await back();
    await eventually(
      () => health(stack),
      ({ ledger }) => ledger?.state === 'ok' && ledger.spooled === 0,
      30_000,
    );
    const [rows, others, hours, months] = await counts(stack);
    expect([rows, others, hours, months]).toEqual([12, 12, 12, 12]);
    expect(await stack.metric('fairlane_ledger_lost_total')).toBe(0);
  }, 120_000);
});
