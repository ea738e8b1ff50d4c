/** Reports of a ledger in SQLite and in PostgreSQL: sums equal those of a naive computation, and the commands say them. */
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Database } from '../../src/database/database.ts';
import { openDatabase } from '../../src/database/open-database.ts';
import { LEDGER_MIGRATIONS } from '../../src/ledger/migrations.ts';
import {
  DIMENSIONS,
  type Dimension,
  estimatedRequests,
  estimatedStatement,
  type UsageQuestion,
  type UsageRow,
  usageRows,
  usageStatements,
} from '../../src/ledger/report.ts';
import { startPostgresql, type TestPostgresql } from '../support/postgresql.ts';
import { builtProgram } from '../support/program.ts';
import { insertSums, requestStatement, type SumsRow, sumsRow } from '../support/usage-sums.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const NOVEMBER = Date.UTC(2026, 10, 1);
const period = { fromMs: NOVEMBER, toMs: Date.UTC(2026, 11, 1) };

const folder = mkdtempSync(join(tmpdir(), 'fairlane-reports-'));
let server: TestPostgresql;
const open: Database[] = [];

beforeAll(async () => {
  server = await startPostgresql();
}, 60_000);
afterAll(async () => {
  await Promise.all(open.map((database) => database.close()));
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

/** A generator of small whole numbers, the same in each run. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor((state / 2_147_483_648) * below);
  };
}

function someRows(): readonly SumsRow[] {
  const draw = numbers(7);
  return Array.from({ length: 240 }, (_, i) => {
    const day = (i % 60) - 15;
    const charged = ['', 'EUR', 'USD'][draw(3)] ?? '';
    return sumsRow({
      startMs: NOVEMBER + day * DAY_MS + draw(24) * HOUR_MS,
      tenant: ['alice', 'bob', 'carol'][draw(3)] ?? '',
      key_id: `k${Math.floor(i / 60)}`,
      tag: ['', '=SUM(A1)', 'team b'][draw(3)] ?? '',
      model: ['llama', 'small', ''][draw(3)] ?? '',
      adapter: ['', 'legal'][draw(2)] ?? '',
      pool: ['main', 'other'][draw(2)] ?? '',
      cost_currency: ['', 'EUR'][draw(2)] ?? '',
      price_currency: charged,
      requests: draw(1_000) + 1,
      estimated: draw(5),
      prompt_tokens: draw(1e6),
      cached_tokens: draw(1e5),
      completion_tokens: draw(1e6),
      gpu_us: draw(1e9),
      kv_token_ms: BigInt(draw(1e9)) * 9_000_000_000n,
      cost_pico: BigInt(draw(1e9)) * 1_000_001n,
      // Three of these are more than 63 bits.
      price_pico: charged === '' ? 0n : 4_000_000_000_000_000_000n + BigInt(draw(1e9)),
    });
  });
}

const ROWS = someRows();

const dayOf = (ms: number): string => new Date(ms).toISOString().slice(0, 10);
const NAMES: Readonly<Record<Dimension, (row: SumsRow) => string>> = {
  tenant: (row) => row.tenant,
  model: (row) => row.model,
  adapter: (row) => row.adapter,
  key: (row) => row.key_id,
  tag: (row) => row.tag,
  pool: (row) => row.pool,
  hour: ({ startMs }) => `${new Date(startMs).toISOString().slice(0, 13)}:00Z`,
  day: ({ startMs }) => dayOf(startMs),
  month: ({ startMs }) => dayOf(startMs).slice(0, 7),
};

/** By names: sums that no currency takes part in, and what is charged in each. */
function naive({ period: { fromMs, toMs }, by, tenant, model }: UsageQuestion) {
  const sums = new Map<string, Record<string, bigint>>();
  for (const row of ROWS) {
    if (row.startMs < fromMs || row.startMs >= toMs) continue;
    if (tenant !== undefined && row.tenant !== tenant) continue;
    if (model !== undefined && row.model !== model && row.adapter !== model) continue;
    const key = JSON.stringify(by.map((dimension) => NAMES[dimension](row)));
    const sum = sums.get(key) ?? {};
    sums.set(key, sum);
    const add = (name: string, value: bigint | number): void => {
      sum[name] = (sum[name] ?? 0n) + BigInt(value);
    };
    for (const name of [
      'requests',
      'estimated',
      'prompt_tokens',
      'completion_tokens',
      'gpu_us',
      'kv_token_ms',
    ] as const)
      add(name, row[name]);
    if (row.cost_pico > 0n) add(`cost ${row.cost_currency}`, row.cost_pico);
    if (row.price_pico > 0n) add(`charge ${row.price_currency}`, row.price_pico);
  }
  return sums;
}

function summed(rows: readonly UsageRow[]) {
  const sums = new Map<string, Record<string, bigint>>();
  for (const row of rows) {
    const key = JSON.stringify(row.names);
    const sum = sums.get(key) ?? {};
    sums.set(key, sum);
    const add = (name: string, value: bigint): void => {
      sum[name] = (sum[name] ?? 0n) + value;
    };
    for (const name of [
      'requests',
      'estimated',
      'prompt_tokens',
      'completion_tokens',
      'gpu_us',
      'kv_token_ms',
    ] as const)
      add(name, row.sums[name]);
    if (row.sums.cost_pico > 0n) add(`cost ${row.costCurrency}`, row.sums.cost_pico);
    if (row.sums.price_pico > 0n) add(`charge ${row.chargeCurrency}`, row.sums.price_pico);
  }
  return sums;
}

/** What has a cost and no currency is in the first one: such rows are not made here by the ledger. */
const CLEAN = (row: SumsRow): SumsRow => ({
  ...row,
  cost_pico: row.cost_currency === '' ? 0n : row.cost_pico,
});
for (const [i, row] of ROWS.entries()) (ROWS as SumsRow[])[i] = CLEAN(row);

const ESTIMATED = Array.from({ length: 25 }, (_, i) => ({
  id: `id-${String(i).padStart(2, '0')}`,
  // Several end in one millisecond.
  endedMs: NOVEMBER + Math.floor(i / 4) * DAY_MS - 1,
  tenant: i % 2 === 0 ? 'alice' : 'bob',
  model: i % 3 === 0 ? null : 'llama',
  usageSource: i % 5 === 0 ? 'engine' : 'estimate',
}));

async function filled(database: Database): Promise<Database> {
  open.push(database);
  await database.migrate('ledger', LEDGER_MIGRATIONS);
  await insertSums(database, ROWS);
  await database.batch(ESTIMATED.map(requestStatement));
  return database;
}

describe.each(['sqlite', 'postgresql'] as const)('sums of %s', (kind) => {
  let database: Database;
  beforeAll(async () => {
    database = await filled(
      openDatabase(
        kind === 'sqlite'
          ? { kind, path: join(folder, 'sums.db') }
          : { kind, url: await server.createDatabase('sums') },
      ),
    );
  }, 60_000);

  const ask = async (question: UsageQuestion): Promise<readonly UsageRow[]> => {
    const answers = await database.batch(usageStatements(question, database.dialect, 10_000));
    return usageRows(
      question,
      answers.flatMap(({ rows }) => rows),
    );
  };

  const questions: readonly UsageQuestion[] = [
    { period, by: [] },
    ...DIMENSIONS.map((dimension) => ({ period, by: [dimension] })),
    { period: { fromMs: 0, toMs: 2e12 }, by: ['month', 'tenant'] },
    { period, by: ['tenant', 'model', 'day'], tenant: 'alice' },
    { period, by: ['hour', 'pool'], model: 'legal' },
    { period: { fromMs: NOVEMBER + 5 * HOUR_MS, toMs: NOVEMBER + 9 * DAY_MS + HOUR_MS }, by: ['tenant'] },
    { period: { fromMs: 0, toMs: 1 }, by: ['tenant'] },
  ];
  it.each(questions)('are those of a naive computation, whatever their size: %j', async (question) => {
    const rows = await ask(question);
    expect(summed(rows)).toEqual(naive(question));
    const names = rows.map((row) => row.names);
    expect(names).toEqual(names.toSorted((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1)));
  });

  it('are the same whichever months, days and hours they are added up from', async () => {
    const hour = fc.integer({ min: -20 * 24, max: 50 * 24 });
    const time = fc.oneof(
      hour,
      hour.map((hours) => hours - (hours % 24)),
      fc.constantFrom(0, 30 * 24),
    );
    const coarse = DIMENSIONS.filter((dimension) => dimension !== 'hour');
    await fc.assert(
      fc.asyncProperty(time, time, time, fc.subarray(coarse, { maxLength: 3 }), async (a, b, c, by) => {
        const [from = 0, middle = 0, to = 0] = [a, b, c]
          .toSorted((x, y) => x - y)
          .map((hours) => NOVEMBER + hours * HOUR_MS);
        const whole = { period: { fromMs: from, toMs: to }, by };
        const inParts = [
          ...(await ask({ period: { fromMs: from, toMs: middle }, by })),
          ...(await ask({ period: { fromMs: middle, toMs: to }, by })),
        ];
        const expected = naive(whole);
        expect(summed(await ask(whole))).toEqual(expected);
        expect(summed(inParts)).toEqual(expected);
        // By hours alone, of whatever names.
        expect(summed(await ask({ ...whole, by: ['hour'] }))).toEqual(naive({ ...whole, by: ['hour'] }));
      }),
      { numRuns: 60, seed: 16 },
    );
  }, 60_000);

  it('a row has one currency of each, and what has none is not apart', async () => {
    const rows = await ask({ period, by: ['tenant'] });
    for (const tenant of ['alice', 'bob', 'carol']) {
      const own = rows.filter(({ names }) => names[0] === tenant);
      expect(own.map(({ chargeCurrency }) => chargeCurrency)).toEqual(['EUR', 'USD']);
    }
  });

  it('estimated requests come in pages, each once, in the order of their ends', async () => {
    const seen: string[] = [];
    let last: { readonly endedMs: number; readonly id: string } | undefined;
    for (;;) {
      const [answer] = await database.batch([estimatedStatement({ period, tenant: 'bob' }, last, 3)]);
      const page = estimatedRequests(answer?.rows ?? []);
      seen.push(...page.map(({ id }) => id));
      last = page.at(-1);
      if (last === undefined) break;
    }
    const expected = ESTIMATED.filter(
      ({ endedMs, tenant, usageSource }) =>
        endedMs >= NOVEMBER && tenant === 'bob' && usageSource === 'estimate',
    );
    expect(seen).toEqual(expected.map(({ id }) => id));
  });
});

interface Said {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

const run = (...args: readonly string[]): Promise<Said> =>
  new Promise((resolve) => {
    const env = { ...process.env, LEDGER_URL: '' };
    execFile(process.execPath, [builtProgram(), ...args], { env }, (error, out, err) =>
      resolve({ code: error === null ? 0 : Number(error.code), out, err }),
    );
  });

describe('the commands', () => {
  const config = join(folder, 'f.yaml');
  const state = join(folder, 'state');
  beforeAll(async () => {
    mkdirSync(state, { mode: 0o700 });
    await filled(openDatabase({ kind: 'sqlite', path: join(state, 'ledger.db') }));
    const settings = {
      pools: { main: { endpoints: ['http://127.0.0.1:8000'] } },
      models: { llama: { pool: 'main' } },
      // A report is made where the keys are not.
      tenants: { alice: { keys: ['env:NO_SUCH_KEY_HERE'] }, dora: { keys: ['env:NO_SUCH_KEY_THERE'] } },
      ledger: { directory: state },
    };
    writeFileSync(config, JSON.stringify(settings));
  }, 60_000);

  const usage = (...args: readonly string[]): Promise<Said> => run('usage', '-c', config, ...args);

  it('usage prints a table of 80 columns', async () => {
    const { code, out, err } = await usage('--month', '2026-11');
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out).toContain('2026-11-01 to 2026-12-01 (UTC, the end not included)');
    expect(out).toMatch(/^tenant +model +requests/m);
    expect(out).toMatch(/^total /m);
    expect(Math.max(...out.split('\n').map(({ length }) => length))).toBeLessThanOrEqual(80);
  });

  it('usage prints CSV that no spreadsheet calculates with, and JSON, with the same exact sums', async () => {
    const csv = await usage('--month', '2026-11', '--by', 'tag,tenant', '--format', 'csv');
    const json = await usage('--month', '2026-11', '--by', 'tag,tenant', '--format', 'json');
    const lines = csv.out
      .split('\r\n')
      .slice(1, -1)
      .map((line) => line.split(','));
    expect(lines.map(([tag]) => tag)).toContain("'=SUM(A1)");
    const told = JSON.parse(json.out) as {
      rows: { tag: string; requests: number; charge: { amount: string } | null }[];
    };
    expect(told.rows.map(({ requests, charge }) => [String(requests), charge?.amount ?? ''])).toEqual(
      lines.map((cells) => [cells[2], cells.at(-3)]),
    );
  });

  it('usage lists estimated requests, and says which are not there any more', async () => {
    const { out, err } = await usage('--month', '2026-11', '--estimated', '--format', 'csv');
    const ids = out
      .split('\r\n')
      .slice(1, -1)
      .map((line) => line.split(',')[0]);
    const expected = ESTIMATED.filter(
      ({ endedMs, usageSource }) => endedMs >= NOVEMBER && usageSource === 'estimate',
    );
    expect(ids).toEqual(expected.map(({ id }) => id));
    expect(err).toMatch(
      /\d+ were counted by an estimate, and \d+ are listed: rows of the others are not kept/,
    );
    expect((await usage('--month', '2026-11', '--estimated')).out).toContain('id-07');
  });

  it('an invoice is what a tenant is charged', async () => {
    const text = await run('invoice', 'alice', '--month', '2026-11', '-c', config);
    expect(text.out).toContain('Invoice for alice, 2026-11');
    const json = await run('invoice', 'alice', '--month', '2026-11', '-c', config, '--format', 'json');
    const { totals } = JSON.parse(json.out) as { totals: { amount: string; currency: string }[] };
    const charged = naive({ period, by: [], tenant: 'alice' }).get('[]') ?? {};
    const picoOf = (amount: string): bigint => {
      const [whole = '', fraction = ''] = amount.split('.');
      return BigInt(whole + fraction.padEnd(12, '0'));
    };
    expect(
      Object.fromEntries(totals.map(({ amount, currency }) => [`charge ${currency}`, picoOf(amount)])),
    ).toEqual(Object.fromEntries(Object.entries(charged).filter(([name]) => name.startsWith('charge'))));
  });

  it('a tenant or model without usage is empty, and the days that there are are told', async () => {
    expect(await usage('--tenant', 'dora', '--month', '2026-11')).toMatchObject({
      code: 0,
      out: expect.stringContaining('No usage.'),
      err: expect.stringMatching(/The ledger has 2026-10-\d\d to 2026-12-\d\d\./),
    });
    expect((await usage('--month', '2019-01')).out).toContain('No usage.');
    expect((await run('invoice', 'dora', '--month', '2026-11', '-c', config)).out).toContain(
      'Nothing was used.',
    );
  });

  it.each<[readonly string[], RegExp]>([
    [
      ['usage', '--tenant', 'alise'],
      /no tenant "alise", in the configuration or in the ledger; did you mean "alice"\? \(there are alice, bob, carol, dora\)/,
    ],
    [['invoice', 'nobody', '--month', '2026-11'], /no tenant "nobody".*there are alice, bob, carol, dora/],
    [
      ['usage', '--model', 'lama'],
      /no model "lama".*did you mean "llama"\? \(there are legal, llama, small\)/,
    ],
    [['usage', '--month', '2026-13'], /--month 2026-13: must be a month such as 2026-11/],
    [['usage', '--format', 'xml'], /Allowed choices are table, csv, json/],
    [['invoice', 'alice', '--month', '2026-11', '--format', 'table'], /Allowed choices are text, csv, json/],
    [['usage', '--by', 'tenant,modell'], /"modell" is none of tenant, model.*did you mean "model"\?/],
    [['usage', '--by', 'day,day'], /day is there twice/],
    [['usage', '--unprofitable', '--estimated'], /choose one/],
  ])('%j says what is wrong, and what there is', async (args, message) => {
    const { code, err } = await run(...args, '-c', config);
    expect(code).toBe(1);
    expect(err).toMatch(message);
  });

  it('says what is wrong with a ledger', async () => {
    const at = (name: string, ledger: object | undefined): string => {
      const path = join(folder, `${name}.yaml`);
      const settings = {
        pools: { main: { endpoints: ['http://127.0.0.1:8000'] } },
        tenants: { alice: { keys: ['k'.repeat(20)] } },
        ...(ledger !== undefined && { ledger }),
      };
      writeFileSync(path, JSON.stringify(settings));
      return path;
    };
    const empty = join(folder, 'empty');
    mkdirSync(empty);
    writeFileSync(join(empty, 'ledger.db'), '');
    const broken = join(folder, 'broken');
    mkdirSync(broken);
    writeFileSync(join(broken, 'ledger.db'), 'x'.repeat(10_000));
    const newer = join(folder, 'newer');
    mkdirSync(newer);
    const other = await filled(openDatabase({ kind: 'sqlite', path: join(newer, 'ledger.db') }));
    await other.batch([{ sql: "INSERT INTO fairlane_migration (feature, number) VALUES ('ledger', 1000)" }]);
    for (const [path, message] of [
      [at('none', undefined), /has no ledger, so that nothing is kept: add "ledger: \{ directory/],
      [
        at('missing', { directory: join(folder, 'nowhere') }),
        /no such file.*the service makes it when it starts/,
      ],
      [at('empty', { directory: empty }), /has no tables of this version's ledger yet: start the service/],
      [at('broken', { directory: broken }), /is no SQLite database/],
      [at('newer', { directory: newer }), /of version 1000.*run a newer Fairlane/],
      [
        at('away', { directory: folder, url: 'postgresql://127.0.0.1:1/x' }),
        /cannot be read: postgresql:\/\/127\.0\.0\.1:1\/x/,
      ],
      [
        at('variable', { directory: folder, url: 'env:LEDGER_URL_THAT_IS_NOT' }),
        /LEDGER_URL_THAT_IS_NOT is not set/,
      ],
    ] as const) {
      const said = await run('usage', '-c', path);
      expect(said.code).toBe(1);
      expect(said.err).toMatch(message);
      expect(said.err).not.toContain('    at ');
    }
  }, 60_000);

  it('reads PostgreSQL as well', async () => {
    const url = await server.createDatabase('commands');
    await filled(openDatabase({ kind: 'postgresql', url }));
    const path = join(folder, 'pg.yaml');
    writeFileSync(
      path,
      JSON.stringify({
        pools: { main: { endpoints: ['http://127.0.0.1:8000'] } },
        tenants: { alice: { keys: ['k'.repeat(20)] } },
        ledger: { directory: folder, url },
      }),
    );
    const args = ['--month', '2026-11', '--by', 'month,tenant', '--format', 'csv'];
    expect((await run('usage', '-c', path, ...args)).out).toBe((await usage(...args)).out);
  });
});
