/** Reports: exact in CSV and JSON, rounded and within 80 columns for people. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { invoiceCsv, invoiceJson, invoiceOf, invoiceText } from '../../../src/ledger/invoice.ts';
import {
  costPerCharge,
  type Dimension,
  isUnprofitable,
  totalOf,
  type UsageRow,
} from '../../../src/ledger/report.ts';
import { compact, grouped } from '../../../src/ledger/report-table.ts';
import {
  estimatedCsv,
  estimatedJson,
  estimatedTable,
  usageCsv,
  usageJson,
  usageTable,
} from '../../../src/ledger/usage-report.ts';

const period = { fromMs: Date.UTC(2026, 10, 1), toMs: Date.UTC(2026, 11, 1) };
const EUR = 10n ** 12n;

const row = (
  names: readonly string[],
  sums: Partial<UsageRow['sums']> = {},
  currencies: Partial<Pick<UsageRow, 'costCurrency' | 'chargeCurrency'>> = {},
): UsageRow => ({
  names,
  sums: {
    requests: 10n,
    completed: 9n,
    refused: 1n,
    aborted: 0n,
    failed: 0n,
    estimated: 0n,
    prompt_tokens: 1_234_567n,
    cached_tokens: 0n,
    completion_tokens: 98_765n,
    reasoning_tokens: 0n,
    images: 0n,
    audio_ms: 0n,
    gpu_us: 0n,
    kv_token_ms: 0n,
    cost_pico: 0n,
    price_pico: 0n,
    ...sums,
  },
  costCurrency: '',
  chargeCurrency: '',
  ...currencies,
});

const both = { costCurrency: 'EUR', chargeCurrency: 'EUR' };
const report = (by: readonly Dimension[], ...rows: readonly UsageRow[]) => ({ period, by, rows });

describe('cost and charge', () => {
  const of = (
    cost: bigint,
    price: bigint,
    currencies: Partial<Pick<UsageRow, 'costCurrency' | 'chargeCurrency'>> = both,
  ) => row([], { cost_pico: cost, price_pico: price }, currencies);

  it('a row that cost more than is charged is marked', () => {
    expect([of(2n, 1n), of(1n, 1n), of(1n, 2n), of(0n, 0n)].map(isUnprofitable)).toEqual([
      true,
      false,
      false,
      false,
    ]);
    expect(isUnprofitable(of(1n, 0n, { costCurrency: 'EUR' }))).toBe(true);
    expect(isUnprofitable(of(9n, 1n, { costCurrency: 'EUR', chargeCurrency: 'JPY' }))).toBe(false);
  });

  it('their ratio is rounded half up, and is none without a charge', () => {
    expect(costPerCharge(of(1n, 3n))).toBe(33n);
    expect(costPerCharge(of(5n, 1_000n))).toBe(1n);
    expect(costPerCharge(of(10n ** 30n, 1n))).toBe(10n ** 32n);
    expect(costPerCharge(of(1n, 0n))).toBeUndefined();
    expect(costPerCharge(of(1n, 1n, { costCurrency: 'EUR', chargeCurrency: 'USD' }))).toBeUndefined();
  });
});

describe('a total', () => {
  it('has a row for each currency; what has none is in the first', () => {
    const totals = totalOf([
      row(['a'], { price_pico: 5n }, { chargeCurrency: 'USD' }),
      row(['b'], { price_pico: 7n }, { chargeCurrency: 'EUR' }),
      row(['c']),
    ]);
    expect(
      totals.map(({ chargeCurrency, sums }) => [chargeCurrency, sums.requests, sums.price_pico]),
    ).toEqual([
      ['EUR', 20n, 7n],
      ['USD', 10n, 5n],
    ]);
  });
});

describe('the table', () => {
  it('shows sums of rows with what they cost and pay', () => {
    const lines = usageTable(
      report(
        ['tenant', 'model'],
        row(
          ['alice', 'llama'],
          { price_pico: 12n * EUR + 345n * 10n ** 9n, cost_pico: 3n * EUR, estimated: 2n },
          both,
        ),
        row(['bob', ''], { price_pico: EUR / 2n, cost_pico: 2n * EUR }, both),
      ),
      80,
    );
    expect(lines).toEqual([
      '2026-11-01 to 2026-12-01 (UTC, the end not included)',
      '',
      '                                             cost  charge  cost ÷',
      'tenant  model  requests     prompt   output   EUR     EUR  charge',
      'alice   llama        10  1,234,567   98,765  3.00   12.35    0.24',
      'bob     -            10  1,234,567   98,765  2.00    0.50    4.00  !',
      '--------------------------------------------------------------------',
      'total                20  2,469,134  197,530  5.00   12.85    0.39',
      '',
      '! cost more than is charged for it (--unprofitable shows these alone)',
      '2 requests counted by an estimate (--estimated lists them)',
      'Amounts are rounded; csv and json have them exactly.',
    ]);
  });

  it('has two totals of two currencies, each with its own', () => {
    const lines = usageTable(
      report(
        ['tenant'],
        row(['a'], { price_pico: EUR }, { chargeCurrency: 'USD' }),
        row(['b'], { price_pico: EUR }, { chargeCurrency: 'JPY' }),
      ),
      80,
    );
    expect(lines.slice(3, 7).map((line) => line.trim().split(/ {2,}/).at(-1))).toEqual([
      '1.00 USD',
      '1 JPY',
      expect.stringMatching(/^-+$/),
      '1 JPY',
    ]);
  });

  it('says that there is nothing', () => {
    expect(usageTable(report(['tenant']), 80).at(-1)).toBe('No usage.');
  });

  it('is no wider than 80 columns by up to two names, and keeps hostile names on their line', () => {
    const name = fc.oneof(
      fc.string({ maxLength: 64 }),
      fc.constant('x'.repeat(256)),
      fc.constant('a\u001b[2J\nb\u202e'),
    );
    const big = fc.bigInt(0n, 10n ** 14n - 1n);
    fc.assert(
      fc.property(
        fc.array(fc.tuple(name, name, name, big, big, big), { minLength: 1, maxLength: 5 }),
        fc.integer({ min: 1, max: 2 }),
        (rows, depth) => {
          const by = (['tenant', 'model', 'tag'] as const).slice(0, depth);
          const lines = usageTable(
            report(
              by,
              ...rows.map(([a, b, c, tokens, cost, price]) =>
                row(
                  [a, b, c].slice(0, depth),
                  {
                    prompt_tokens: tokens,
                    cached_tokens: tokens / 2n,
                    completion_tokens: tokens,
                    gpu_us: tokens,
                    images: 7n,
                    cost_pico: cost * 10n ** 4n,
                    price_pico: price * 10n ** 4n,
                  },
                  both,
                ),
              ),
            ),
            80,
          );
          expect(Math.max(...lines.map(({ length }) => length))).toBeLessThanOrEqual(80);
          expect(lines.join('')).not.toMatch(/\p{C}/u);
          expect(lines.filter((line) => line.startsWith('total'))).toHaveLength(1);
        },
      ),
    );
  });

  it('shows large counts in three digits and a unit, cut', () => {
    expect([0n, 999n, 9_999n, 10_000n, 12_399n, 999_999n, 1_239_999n, 10n ** 18n].map(compact)).toEqual([
      '0',
      '999',
      '9999',
      '10.0k',
      '12.3k',
      '999k',
      '1.23M',
      '1.00E',
    ]);
    expect(grouped(1_234_567n)).toBe('1,234,567');
  });
});

describe('CSV and JSON', () => {
  const exact = row(
    ['alice', '=cmd'],
    { price_pico: 123_456_789_012_345n, cost_pico: 1n, gpu_us: 1_500_001n, kv_token_ms: 2n ** 62n },
    both,
  );

  it('have amounts to the last digit', () => {
    expect(usageCsv(report(['tenant', 'tag'], exact))).toBe(
      'tenant,tag,requests,completed,refused,aborted,failed,estimated,prompt_tokens,cached_tokens,completion_tokens,reasoning_tokens,images,audio_seconds,kv_token_seconds,gpu_seconds,cost,cost_currency,charge,charge_currency,cost_per_charge\r\n' +
        "alice,'=cmd,10,9,1,0,0,0,1234567,0,98765,0,0,0.00,4611686018427387.904,1.500001,0.000000000001,EUR,123.456789012345,EUR,0.00\r\n",
    );
    expect(usageJson(report(['tenant', 'tag'], exact))).toMatchObject({
      from: '2026-11-01T00:00:00.000Z',
      to: '2026-12-01T00:00:00.000Z',
      rows: [
        {
          tenant: 'alice',
          tag: '=cmd',
          requests: 10,
          promptTokens: 1_234_567,
          gpuSeconds: '1.500001',
          charge: { amount: '123.456789012345', currency: 'EUR' },
          isUnprofitable: false,
        },
      ],
      total: [{ requests: 10, charge: { amount: '123.456789012345', currency: 'EUR' } }],
    });
  });

  it('JSON has counts beyond 2^53 as texts, and no amount where there is none', () => {
    const json = usageJson(report(['tenant'], row(['a'], { prompt_tokens: 2n ** 60n })));
    expect(json.rows[0]).toMatchObject({
      promptTokens: (2n ** 60n).toString(),
      cost: null,
      charge: null,
      costPerCharge: null,
    });
    expect(JSON.parse(JSON.stringify(json))).toBeTruthy();
  });

  it('list estimated requests', () => {
    const request = {
      id: '01890000-0000-7000-8000-000000000001',
      endedMs: Date.UTC(2026, 10, 3, 4, 5, 6),
      tenant: 'alice',
      model: 'llama',
      adapter: '',
      outcome: 'aborted',
      promptTokens: 11n,
      completionTokens: 7n,
      chargePico: 1_500_000_000n,
      chargeCurrency: 'EUR',
    };
    expect(estimatedTable(period, [request], 80).slice(2)).toEqual([
      '                                  id                 ended  tenant  model',
      '01890000-0000-7000-8000-000000000001  2026-11-03T04:05:06Z  alice   llama',
    ]);
    expect(estimatedCsv([request])).toBe(
      '01890000-0000-7000-8000-000000000001,2026-11-03T04:05:06.000Z,alice,llama,,aborted,11,7,0.0015,EUR\r\n',
    );
    expect(estimatedJson(period, [request]).requests[0]).toMatchObject({
      charge: { amount: '0.0015', currency: 'EUR' },
    });
    expect(estimatedTable(period, [], 80).at(-1)).toBe('No request is counted by an estimate.');
  });
});

describe('an invoice', () => {
  const charged = { chargeCurrency: 'EUR', costCurrency: 'EUR' };
  const rows = [
    row(['llama', ''], { price_pico: 5_004_000_000_000n, cost_pico: 99n * EUR, estimated: 1n }, charged),
    row(['legal', 'legal'], { price_pico: 5_004_000_000_000n }, charged),
    row(['small', '']),
    row(['', ''], { requests: 4n, refused: 4n, prompt_tokens: 0n, completion_tokens: 0n }),
  ];
  const over = invoiceOf('alice', period, period.toMs, rows);

  it('has a line for each model, and the exact sum, rounded once; no cost of ours', () => {
    const text = invoiceText(over, 80);
    expect(text).toEqual([
      'Invoice for alice, 2026-11',
      '2026-11-01 to 2026-12-01 (UTC, the end not included)',
      '',
      'model  requests     prompt  output     charge',
      'llama         9  1,234,567  98,765   5.00 EUR',
      'legal         9  1,234,567  98,765   5.00 EUR',
      'small         9  1,234,567  98,765       free',
      '---------------------------------------------',
      'total        27                     10.01 EUR',
      '',
      '1 request is counted by an estimate; they are listed by',
      '  fairlane usage --tenant alice --month 2026-11 --estimated',
      'Each amount is rounded by itself; a total is the exact sum, rounded once.',
    ]);
    expect(JSON.stringify([invoiceJson(over), invoiceCsv(over)])).not.toMatch(/cost|99/);
  });

  it('is exact in CSV and JSON', () => {
    expect(invoiceCsv(over).split('\r\n')).toEqual([
      'tenant,month,model,adapter,requests,prompt_tokens,cached_tokens,completion_tokens,images,charge,charge_currency',
      'alice,2026-11,llama,,9,1234567,0,98765,0,5.004,EUR',
      'alice,2026-11,legal,legal,9,1234567,0,98765,0,5.004,EUR',
      'alice,2026-11,small,,9,1234567,0,98765,0,,',
      '',
    ]);
    expect(invoiceJson(over)).toMatchObject({
      isOver: true,
      totals: [{ amount: '10.008', currency: 'EUR', rounded: '10.01' }],
      estimatedRequests: 1,
    });
  });

  it('has a total for each currency', () => {
    const two = invoiceOf('alice', period, period.toMs, [
      ...rows,
      row(['llama', ''], { price_pico: EUR }, { chargeCurrency: 'USD' }),
    ]);
    expect(
      invoiceText(two, 80)
        .filter((line) => /USD|10\.01/.test(line))
        .map((line) => line.slice(-9).trim()),
    ).toEqual(['1.00 USD', '10.01 EUR', '1.00 USD']);
  });

  it('of a month that is not over says so, and one without usage too', () => {
    expect(invoiceText(invoiceOf('alice', period, period.toMs - 3_600_000, rows), 80).join('\n')).toContain(
      'The month is not over: this is what there is at 2026-11-30T23:00Z.',
    );
    expect(invoiceText(invoiceOf('alice', period, period.toMs, []), 80).at(-1)).toBe('Nothing was used.');
  });
});
