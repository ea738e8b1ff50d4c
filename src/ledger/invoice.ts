/** What a tenant is charged for a month, by model and adapter. It has no cost of ours. */
import { csvLine } from '../domain/csv.ts';
import { decimalOf } from '../domain/money.ts';
import { hourText, type Period, periodText } from './period.ts';
import type { Dimension, Sum, UsageRow } from './report.ts';
import { compact, firstThatFits, grouped, type ReportColumn } from './report-table.ts';
import { coins, isoText, moneyJson } from './usage-report.ts';

/** What the lines of an invoice are told apart by. */
export const INVOICE_BY: readonly Dimension[] = ['model', 'adapter'];

export interface Invoice {
  readonly tenant: string;
  readonly period: Period;
  readonly nowMs: number;
  readonly lines: readonly InvoiceLine[];
  /** Exact sums of the lines, one for each currency. */
  readonly totals: readonly { readonly currency: string; readonly pico: bigint }[];
  /** Requests whose usage is an estimate. */
  readonly estimated: bigint;
}

interface InvoiceLine {
  readonly model: string;
  readonly adapter: string;
  /** Those that an engine had. */
  readonly requests: bigint;
  readonly sums: UsageRow['sums'];
  /** Empty: it is free. */
  readonly currency: string;
}

/** @param rows of that tenant and time, by `INVOICE_BY`. */
export function invoiceOf(tenant: string, period: Period, nowMs: number, rows: readonly UsageRow[]): Invoice {
  const totals = new Map<string, bigint>();
  const lines: InvoiceLine[] = [];
  for (const { names, sums, chargeCurrency: currency } of rows) {
    const requests = sums.requests - sums.refused;
    // Nothing got to an engine.
    if (requests <= 0n && sums.price_pico === 0n) continue;
    const [model = '', adapter = ''] = names;
    lines.push({ model, adapter, requests, sums, currency });
    if (currency !== '') totals.set(currency, (totals.get(currency) ?? 0n) + sums.price_pico);
  }
  return {
    tenant,
    period,
    nowMs,
    lines,
    totals: [...totals].map(([currency, pico]) => ({ currency, pico })),
    estimated: rows.reduce((sum, { sums }) => sum + sums.estimated, 0n),
  };
}

const isOver = ({ period, nowMs }: Invoice): boolean => nowMs >= period.toMs;

export function invoiceText(invoice: Invoice, width: number): readonly string[] {
  const { tenant, period, lines, estimated, nowMs, totals } = invoice;
  const month = isoText(period.fromMs).slice(0, 7);
  const notes = [
    ...(isOver(invoice) ? [] : [`The month is not over: this is what there is at ${hourText(nowMs)}.`]),
    ...(estimated === 0n
      ? []
      : [
          `${grouped(estimated)} request${estimated === 1n ? ' is' : 's are'} counted by an estimate; they are listed by`,
          `  fairlane usage --tenant ${tenant} --month ${month} --estimated`,
        ]),
    ...(totals.length === 0
      ? []
      : ['Each amount is rounded by itself; a total is the exact sum, rounded once.']),
  ];
  return [
    `Invoice for ${tenant}, ${month}`,
    periodText(period),
    '',
    ...(lines.length === 0 ? ['Nothing was used.'] : invoiceTable(invoice, width)),
    ...(notes.length === 0 ? [] : ['', ...notes]),
  ];
}

function invoiceTable({ lines, totals }: Invoice, width: number): readonly string[] {
  const sums = Math.max(1, totals.length);
  const figure = (heading: string, sum: Sum, show: (count: bigint) => string): ReportColumn => ({
    heading: [heading],
    cells: [...lines.map((line) => show(line.sums[sum])), ...totals.map(() => '')],
    kind: 'figure',
  });
  const has = (sum: Sum): boolean => lines.some((line) => line.sums[sum] > 0n);
  const table = (show: (count: bigint) => string) => () => ({
    columns: [
      { heading: ['model'], cells: [...lines.map(nameOf), 'total'], kind: 'name' } as const,
      {
        heading: ['requests'],
        cells: [
          ...lines.map(({ requests }) => show(requests)),
          show(lines.reduce((sum, line) => sum + line.requests, 0n)),
        ],
        kind: 'figure',
      } as const,
      figure('prompt', 'prompt_tokens', show),
      ...(has('cached_tokens') ? [figure('of it cached', 'cached_tokens', show)] : []),
      figure('output', 'completion_tokens', show),
      ...(has('images') ? [figure('images', 'images', show)] : []),
      {
        heading: ['charge'],
        cells: [
          ...lines.map(({ sums: { price_pico: pico }, currency }) =>
            currency === '' ? 'free' : `${coins(pico, currency)} ${currency}`,
          ),
          ...(totals.length === 0
            ? ['free']
            : totals.map(({ pico, currency }) => `${coins(pico, currency)} ${currency}`)),
        ],
        kind: 'figure',
      } as const,
    ].map((column) => ({ ...column, cells: padded(column.cells, lines.length + sums) })),
    sums,
  });
  return firstThatFits([table(grouped), table(compact)], width);
}

const padded = (cells: readonly string[], length: number): readonly string[] =>
  Array.from({ length }, (_, i) => cells[i] ?? '');

const nameOf = ({ model, adapter }: InvoiceLine): string => {
  if (adapter === '') return model === '' ? '(not configured)' : model;
  return model === '' || model === adapter ? adapter : `${adapter} (${model})`;
};

export function invoiceCsv({ tenant, period, lines }: Invoice): string {
  const month = isoText(period.fromMs).slice(0, 7);
  const head = csvLine([
    'tenant',
    'month',
    'model',
    'adapter',
    'requests',
    'prompt_tokens',
    'cached_tokens',
    'completion_tokens',
    'images',
    'charge',
    'charge_currency',
  ]);
  const all = lines.map(({ model, adapter, requests, sums, currency }) =>
    csvLine([
      tenant,
      month,
      model,
      adapter,
      requests,
      sums.prompt_tokens,
      sums.cached_tokens,
      sums.completion_tokens,
      sums.images,
      currency === '' ? '' : decimalOf(sums.price_pico),
      currency,
    ]),
  );
  return `${head}${all.join('')}`;
}

export function invoiceJson(invoice: Invoice) {
  const { tenant, period, lines, totals, estimated } = invoice;
  return {
    tenant,
    from: isoText(period.fromMs),
    to: isoText(period.toMs),
    isOver: isOver(invoice),
    lines: lines.map(({ model, adapter, requests, sums, currency }) => ({
      model,
      adapter,
      requests: Number(requests),
      promptTokens: Number(sums.prompt_tokens),
      cachedTokens: Number(sums.cached_tokens),
      completionTokens: Number(sums.completion_tokens),
      images: Number(sums.images),
      charge: moneyJson(sums.price_pico, currency),
    })),
    totals: totals.map(({ pico, currency }) => ({
      ...moneyJson(pico, currency),
      rounded: coins(pico, currency),
    })),
    estimatedRequests: Number(estimated),
  };
}
