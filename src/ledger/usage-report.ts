/** Sums of usage as a table for people, and as CSV and JSON for programs, which have each amount to its last digit. */
import { csvLine } from '../domain/csv.ts';
import { coinDigits } from '../domain/currency.ts';
import { decimalOf } from '../domain/money.ts';
import { COUNTS } from './counts.ts';
import { type Period, periodText } from './period.ts';
import {
  costPerCharge,
  type Dimension,
  type EstimatedRequest,
  isUnprofitable,
  type Sum,
  totalOf,
  type UsageRow,
} from './report.ts';
import { compact, firstThatFits, grouped, type ReportColumn } from './report-table.ts';

export interface UsageReport {
  readonly period: Period;
  readonly by: readonly Dimension[];
  readonly rows: readonly UsageRow[];
}

const PICO_PER_MICRO = 10n ** 6n;
const PICO_PER_MILLI = 10n ** 9n;

const secondsOfUs = (us: bigint): string => decimalOf(us * PICO_PER_MICRO);
const secondsOfMs = (ms: bigint): string => decimalOf(ms * PICO_PER_MILLI);
const HUNDREDTH = 10n ** 10n;
/** In hundredths; larger ones say no more in a table. */
const MOST_RATIO = 999_99n;

export const coins = (pico: bigint, currency: string): string =>
  currency === '' ? '' : decimalOf(pico, coinDigits(currency));

const ratioText = (row: UsageRow): string => {
  const ratio = costPerCharge(row);
  if (ratio !== undefined) return ratio > MOST_RATIO ? '>999' : decimalOf(ratio * HUNDREDTH, 2);
  return isUnprofitable(row) ? 'free' : '';
};

/** The only currency of some rows, which then stands above them; undefined: there are none, or several. */
function onlyCurrency(rows: readonly UsageRow[], of: 'costCurrency' | 'chargeCurrency'): string | undefined {
  const all = new Set(rows.map((row) => row[of]).filter((currency) => currency !== ''));
  return all.size === 1 ? [...all][0] : undefined;
}

function moneyColumn(
  rows: readonly UsageRow[],
  title: string,
  sum: 'cost_pico' | 'price_pico',
  of: 'costCurrency' | 'chargeCurrency',
): readonly ReportColumn[] {
  if (rows.every((row) => row[of] === '')) return [];
  const only = onlyCurrency(rows, of);
  const cells = rows.map((row) => {
    const amount = coins(row.sums[sum], row[of]);
    return only === undefined && amount !== '' ? `${amount} ${row[of]}` : amount;
  });
  return [{ heading: only === undefined ? [title] : [title, only], cells, kind: 'figure' }];
}

function figureColumn(
  rows: readonly UsageRow[],
  heading: ReportColumn['heading'],
  sum: Sum,
  show: (count: bigint) => string,
): ReportColumn {
  return { heading, cells: rows.map(({ sums }) => show(sums[sum])), kind: 'figure' };
}

const US_PER_S = 1_000_000n;

function columnsOf(
  by: readonly Dimension[],
  rows: readonly UsageRow[],
  totals: number,
  show: (count: bigint) => string,
  isNarrow: boolean,
): readonly ReportColumn[] {
  const has = (sum: Sum): boolean => rows.some(({ sums }) => sums[sum] > 0n);
  const named = rows.length - totals;
  const names = by.map((dimension, i): ReportColumn => {
    const cells = rows.map((row, at) => (at < named ? (row.names[i] ?? '') || '-' : i === 0 ? 'total' : ''));
    return { heading: [dimension], cells, kind: 'name' };
  });
  const optional = (sum: Sum, heading: ReportColumn['heading']): readonly ReportColumn[] =>
    has(sum) && !isNarrow ? [figureColumn(rows, heading, sum, show)] : [];
  const costs = moneyColumn(rows, 'cost', 'cost_pico', 'costCurrency');
  return [
    ...names,
    figureColumn(rows, ['requests'], 'requests', show),
    figureColumn(rows, ['prompt'], 'prompt_tokens', show),
    ...optional('cached_tokens', ['cached']),
    figureColumn(rows, ['output'], 'completion_tokens', show),
    ...optional('images', ['images']),
    ...(has('gpu_us') && !isNarrow
      ? [figureColumn(rows, ['GPU', 'seconds'], 'gpu_us', (us) => show((us + US_PER_S / 2n) / US_PER_S))]
      : []),
    ...costs,
    ...moneyColumn(rows, 'charge', 'price_pico', 'chargeCurrency'),
    ...(costs.length === 0
      ? []
      : [
          { heading: ['cost ÷', 'charge'], cells: rows.map(ratioText), kind: 'figure' } as const,
          {
            heading: [''],
            cells: rows.map((row) => (isUnprofitable(row) ? '!' : '')),
            kind: 'figure',
          } as const,
        ]),
  ];
}

const NOTHING = 'No usage.';

/** @param width of the terminal; a table by more than two names may be wider. */
export function usageTable({ period, by, rows }: UsageReport, width: number): readonly string[] {
  if (rows.length === 0) return [periodText(period), '', NOTHING];
  const total = totalOf(rows);
  const all = [...rows, ...total];
  const table = (show: (count: bigint) => string, isNarrow: boolean) => () => ({
    columns: columnsOf(by, all, total.length, show, isNarrow),
    sums: total.length,
  });
  const lines = firstThatFits([table(grouped, false), table(compact, false), table(compact, true)], width);
  const estimated = total.reduce((sum, { sums }) => sum + sums.estimated, 0n);
  return [
    periodText(period),
    '',
    ...lines,
    '',
    ...(all.some(isUnprofitable)
      ? ['! cost more than is charged for it (--unprofitable shows these alone)']
      : []),
    ...(estimated === 0n
      ? []
      : [
          `${grouped(estimated)} request${estimated === 1n ? '' : 's'} counted by an estimate (--estimated lists them)`,
        ]),
    ...(total.some(({ chargeCurrency }) => chargeCurrency !== '')
      ? ['Amounts are rounded; csv and json have them exactly.']
      : []),
  ];
}

const amountOf = (pico: bigint, currency: string): string => (currency === '' ? '' : decimalOf(pico));

/** Without a row of sums, which a spreadsheet would count again. */
export function usageCsv({ by, rows }: UsageReport): string {
  const head = csvLine([
    ...by,
    ...COUNTS,
    'audio_seconds',
    'kv_token_seconds',
    'gpu_seconds',
    'cost',
    'cost_currency',
    'charge',
    'charge_currency',
    'cost_per_charge',
  ]);
  const lines = rows.map((row) => {
    const { sums, costCurrency, chargeCurrency } = row;
    const ratio = costPerCharge(row);
    return csvLine([
      ...row.names,
      ...COUNTS.map((sum) => sums[sum]),
      secondsOfMs(sums.audio_ms),
      secondsOfMs(sums.kv_token_ms),
      secondsOfUs(sums.gpu_us),
      amountOf(sums.cost_pico, costCurrency),
      costCurrency,
      amountOf(sums.price_pico, chargeCurrency),
      chargeCurrency,
      ratio === undefined ? '' : decimalOf(ratio * HUNDREDTH, 2),
    ]);
  });
  return `${head}${lines.join('')}`;
}

/** Exact beyond 2^53 as a text. */
const numberOf = (count: bigint): number | string =>
  count <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(count) : count.toString();

export const moneyJson = (pico: bigint, currency: string) =>
  currency === '' ? null : { amount: decimalOf(pico), currency };

export const isoText = (ms: number): string => new Date(ms).toISOString();

function rowJson(by: readonly Dimension[], row: UsageRow) {
  const { names, sums, costCurrency, chargeCurrency } = row;
  const ratio = costPerCharge(row);
  return {
    ...Object.fromEntries(by.slice(0, names.length).map((dimension, i) => [dimension, names[i] ?? ''])),
    ...Object.fromEntries(COUNTS.map((sum) => [camel(sum), numberOf(sums[sum])])),
    audioSeconds: secondsOfMs(sums.audio_ms),
    kvTokenSeconds: secondsOfMs(sums.kv_token_ms),
    gpuSeconds: secondsOfUs(sums.gpu_us),
    cost: moneyJson(sums.cost_pico, costCurrency),
    charge: moneyJson(sums.price_pico, chargeCurrency),
    costPerCharge: ratio === undefined ? null : decimalOf(ratio * HUNDREDTH, 2),
    isUnprofitable: isUnprofitable(row),
  };
}

const camel = (name: string): string =>
  name.replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());

export function usageJson({ period, by, rows }: UsageReport) {
  return {
    from: isoText(period.fromMs),
    to: isoText(period.toMs),
    by,
    rows: rows.map((row) => rowJson(by, row)),
    total: totalOf(rows).map((row) => rowJson([], row)),
  };
}

export function estimatedTable(
  period: Period,
  requests: readonly EstimatedRequest[],
  width: number,
): readonly string[] {
  if (requests.length === 0) return [periodText(period), '', 'No request is counted by an estimate.'];
  const names = (heading: string, of: (request: EstimatedRequest) => string): ReportColumn => ({
    heading: [heading],
    cells: requests.map(of),
    kind: 'name',
  });
  const columns = [
    // Whole: it is what a request is found by.
    { ...names('id', ({ id }) => id.padEnd(36)), kind: 'figure' } as const,
    { ...names('ended', ({ endedMs }) => `${isoText(endedMs).slice(0, 19)}Z`), kind: 'figure' } as const,
    names('tenant', ({ tenant }) => tenant),
    names('model', ({ model, adapter }) => adapter || model || '-'),
  ];
  return [
    periodText(period),
    '',
    ...firstThatFits([() => ({ columns, sums: 0 })], width).filter((line) => !/^-+$/.test(line)),
  ];
}

export const ESTIMATED_CSV_HEAD = csvLine([
  'id',
  'ended',
  'tenant',
  'model',
  'adapter',
  'outcome',
  'prompt_tokens',
  'completion_tokens',
  'charge',
  'charge_currency',
]);

export const estimatedCsv = (requests: readonly EstimatedRequest[]): string =>
  requests
    .map((request) =>
      csvLine([
        request.id,
        isoText(request.endedMs),
        request.tenant,
        request.model,
        request.adapter,
        request.outcome,
        request.promptTokens,
        request.completionTokens,
        amountOf(request.chargePico, request.chargeCurrency),
        request.chargeCurrency,
      ]),
    )
    .join('');

export const estimatedJson = (period: Period, requests: readonly EstimatedRequest[]) => ({
  from: isoText(period.fromMs),
  to: isoText(period.toMs),
  requests: requests.map(({ id, endedMs, tenant, model, adapter, outcome, ...request }) => ({
    id,
    ended: isoText(endedMs),
    tenant,
    model,
    adapter,
    outcome,
    promptTokens: numberOf(request.promptTokens),
    completionTokens: numberOf(request.completionTokens),
    charge: moneyJson(request.chargePico, request.chargeCurrency),
  })),
});
