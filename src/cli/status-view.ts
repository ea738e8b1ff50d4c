/** The status document as lines of text, for a page and for a terminal that is redrawn. Pure. */
import type {
  EndpointStatusRow,
  ModelStatus,
  PoolStatus,
  QueueStatus,
  StatusReport,
  TenantStatus,
} from '../admin/status.ts';
import { harmless } from '../domain/harmless.ts';
import { cutToWidth } from '../domain/text-width.ts';
import { type GridColumn, grid } from './grid.ts';
import { amountLeft, orDash, percent, rate, span, whole } from './status-figures.ts';

/** How a line looks where there are colours. */
export type LineStyle = 'plain' | 'heading' | 'good' | 'warning' | 'bad';

export interface Line {
  readonly text: string;
  readonly style: LineStyle;
}

export const line = (text: string, style: LineStyle = 'plain'): Line => ({ text, style });
const NAME_LEAST = 8;

const column = <Row>(
  rows: readonly Row[],
  heading: string,
  textOf: (row: Row) => string,
  how: Omit<GridColumn, 'heading' | 'cells'> = {},
): GridColumn => ({ heading, cells: rows.map((row) => harmless(textOf(row))), ...how });

const name = { align: 'left', least: NAME_LEAST } as const;

function table<Row>(
  rows: readonly Row[],
  columns: readonly GridColumn[],
  width: number,
  styleOf: (row: Row) => LineStyle = () => 'plain',
): readonly Line[] {
  const [heading = '', ...lines] = grid(columns, width);
  return [line(heading, 'heading'), ...lines.map((text, i) => line(text, styleOf(rows[i] as Row)))];
}

export function poolLines(pools: readonly PoolStatus[], width: number): readonly Line[] {
  const of = (heading: string, textOf: (pool: PoolStatus) => string, how = {}): GridColumn =>
    column(pools, heading, textOf, how);
  const columns = [
    of('POOL', (pool) => pool.name, name),
    of('SERVING', ({ serving, endpoints }) => `${serving}/${endpoints.length}`),
    of('IN FLIGHT', (pool) => whole(pool.sequences)),
    of('LIMIT', (pool) => whole(pool.concurrencyLimit)),
    of('HEADROOM', (pool) => whole(pool.headroom), { spare: 1 }),
    of('WAITING', (pool) => whole(pool.waiting)),
    of('SATURATION %', (pool) => percent(pool.saturation)),
  ];
  return table(pools, columns, width, (pool) =>
    pool.serving === 0 ? 'bad' : pool.saturation >= 1 ? 'warning' : 'plain',
  );
}

interface PlacedEndpoint extends EndpointStatusRow {
  readonly pool: string;
}

/** In a word. */
function stateOf({ healthy, ejected, draining, broken, serving }: EndpointStatusRow): string {
  if (draining) return 'drains';
  if (!healthy) return 'unhealthy';
  if (ejected) return 'ejected';
  if (!serving) return 'not serving';
  return broken.length > 0 ? `${broken.length} broken` : 'serves';
}

export function endpointLines(pools: readonly PoolStatus[], width: number): readonly Line[] {
  const rows: readonly PlacedEndpoint[] = pools.flatMap((pool) =>
    pool.endpoints.map((one) => ({ ...one, pool: pool.name })),
  );
  const of = (heading: string, textOf: (row: PlacedEndpoint) => string, how = {}): GridColumn =>
    column(rows, heading, textOf, how);
  const kv = (row: PlacedEndpoint): number | undefined =>
    row.gauges?.kvUsage ??
    (row.kvCapacityTokens === undefined || row.kvCapacityTokens <= 0
      ? undefined
      : row.kvTokens / row.kvCapacityTokens);
  const columns = [
    of('ENDPOINT', (row) => row.name, { ...name, least: 16 }),
    of('POOL', (row) => row.pool, { ...name, spare: 4 }),
    of('ENGINE', (row) => row.engine ?? '-', { align: 'left', spare: 2 }),
    of('STATE', stateOf, { align: 'left' }),
    of('IN FLIGHT', (row) => whole(row.sequences)),
    of('LIMIT', (row) => whole(row.concurrencyLimit)),
    of('BY', (row) => row.limitBy, { align: 'left', spare: 1 }),
    of('ITS QUEUE', (row) => orDash(row.gauges?.waiting), { spare: 3 }),
    of('KV %', (row) => orDash(kv(row), percent)),
  ];
  return table(rows, columns, width, (row) =>
    row.serving ? (row.broken.length > 0 ? 'warning' : 'plain') : row.draining ? 'warning' : 'bad',
  );
}

function queueLines(rows: readonly QueueStatus[], width: number): readonly Line[] {
  const columns = [
    column(rows, 'TENANT', (row) => row.tenant, name),
    column(rows, 'LANE', (row) => row.lane, name),
    column(rows, 'POOL', (row) => row.pool, name),
    column(rows, 'WAITING', (row) => whole(row.waiting)),
    column(rows, 'OLDEST s', (row) => (row.oldestMs / 1_000).toFixed(1)),
  ];
  return table(rows, columns, width);
}

/** Of a limit: what is left, or a dash. */
const left = (limit: TenantStatus['month']): string => orDash(limit?.left);

export function tenantLines(rows: readonly TenantStatus[], width: number): readonly Line[] {
  const of = (heading: string, textOf: (row: TenantStatus) => string, how = {}): GridColumn =>
    column(rows, heading, textOf, how);
  const columns = [
    of('TENANT', (row) => row.name, name),
    of('TIER', (row) => row.tier ?? '-', { align: 'left', least: 4, spare: 5 }),
    of('WEIGHT', (row) => orDash(row.weight, String), { spare: 6 }),
    of('RUNNING', (row) => whole(row.inFlight)),
    of('WAITING', (row) => whole(row.waiting)),
    of('REQ/s', (row) => rate(row.requestsPerSecond)),
    of('TOK/s', (row) => rate(row.tokensPerSecond)),
    of('TTFT P99 ms', (row) => orDash(row.ttftP99Ms), { spare: 3 }),
    of('REQ LEFT', (row) => left(row.requests), { spare: 2 }),
    of('TOK LEFT', (row) => left(row.tokens), { spare: 1 }),
    of('MONTH LEFT', (row) => left(row.month), { spare: 4 }),
    ...(rows.some(({ budget }) => budget !== undefined)
      ? [
          of('BUDGET LEFT', ({ budget }) => (budget === undefined ? '-' : amountLeft(budget.left)), {
            spare: 1,
          }),
        ]
      : []),
  ];
  return table(rows, columns, width, (row) => (row.waiting > 0 ? 'warning' : 'plain'));
}

/** What else is to be said of a model. */
function notesOf({ aliases, canary, mirror, fallback, base, loaded }: ModelStatus): string {
  return [
    ...(base === undefined ? [] : [`of ${base}`]),
    ...(loaded === undefined
      ? []
      : [loaded.length === 0 ? 'loaded nowhere' : `on ${loaded.map(({ endpoint }) => endpoint).join(', ')}`]),
    ...(aliases.length === 0 ? [] : [`also ${aliases.join(', ')}`]),
    ...(canary === undefined
      ? []
      : [
          `canary ${canary.model} ${percent(canary.weight)} %${canary.rolledBack === undefined ? '' : ', rolled back'}`,
        ]),
    ...(mirror === undefined ? [] : [`mirror ${mirror.pool} ${percent(mirror.fraction)} %`]),
    ...(fallback.length === 0 ? [] : [`fallback ${fallback.join(', ')}`]),
  ].join('; ');
}

export function modelLines(models: readonly ModelStatus[], width: number): readonly Line[] {
  const columns = [
    column(models, 'MODEL', (model) => model.name, { ...name, least: 16 }),
    column(models, 'KIND', ({ kind }) => kind, { align: 'left' }),
    column(models, 'POOL', ({ pool }) => pool ?? '-', name),
    column(models, 'CONTEXT tokens', (model) => orDash(model.contextTokens)),
    column(models, 'NOTES', notesOf, { align: 'left', least: 5 }),
  ];
  return table(models, columns, width, ({ pool }) => (pool === undefined ? 'bad' : 'plain'));
}

const STYLES = { ok: 'good', degraded: 'bad', draining: 'warning' } as const;

/** Where it is, how it is, and for how long. */
export function stateLine(report: StatusReport, where: string): Line {
  const { status, at, startedAt, config, redis } = report;
  const since = (then: string): string => span(Date.parse(at) - Date.parse(then));
  const parts = [
    `fairlane ${where}: ${status}`,
    `up ${since(startedAt)}`,
    `config ${since(config.inUseSince)}`,
    ...(redis === undefined ? [] : [`Redis ${redis.connected ? 'connected' : 'away'}`]),
  ];
  return line(harmless(parts.join(', ')), STYLES[status]);
}

/** What is wrong, as `/health` says it, with the first reason of each file that is refused. */
export function problemLines(report: StatusReport): readonly Line[] {
  const { refused, refusedTenantFiles } = report.config;
  return [
    ...report.reasons,
    ...refused.flatMap(({ file, problems }) => problems.map((problem) => `${file}: ${problem}`)),
    ...refusedTenantFiles.map(
      ({ file, problem, kept }) => `${file}: ${problem}${kept ? ' (served as it said before)' : ''}`,
    ),
  ].map((text) => line(harmless(text), 'bad'));
}

export function totalsLine({ totals }: StatusReport): Line {
  const { inFlight, waiting, requestsPerSecond, refusalsPerSecond, tokensPerSecond } = totals;
  const first =
    totals.ttftP50Ms === undefined
      ? ''
      : `; TTFT ${whole(totals.ttftP50Ms)} ms median, ${orDash(totals.ttftP99Ms)} ms p99`;
  return line(
    `${whole(inFlight)} running, ${whole(waiting)} waiting; ${rate(requestsPerSecond)} requests/s, ${rate(refusalsPerSecond)} refused/s, ${rate(tokensPerSecond)} tokens/s${first}`,
  );
}

/** Undefined: all are shown. */
export function restLine({ tenants: { rest } }: StatusReport): Line | undefined {
  if (rest.tenants === 0) return undefined;
  const { tenants, inFlight, waiting } = rest;
  return line(`and ${whole(tenants)} more: ${whole(inFlight)} running, ${whole(waiting)} waiting`);
}

/** A whole page. */
export function statusPage(report: StatusReport, where: string, width: number): readonly Line[] {
  const { pools, queue, tenants } = report;
  const rest = restLine(report);
  const blank = line('');
  return [
    stateLine(report, where),
    ...problemLines(report),
    totalsLine(report),
    blank,
    ...poolLines(pools, width),
    blank,
    ...endpointLines(pools, width),
    ...(queue.rows.length === 0 ? [] : [blank, ...queueLines(queue.rows, width)]),
    ...(queue.rest.rows === 0 ? [] : [line(`and ${whole(queue.rest.waiting)} more requests that wait`)]),
    ...(tenants.rows.length === 0 ? [] : [blank, ...tenantLines(tenants.rows, width)]),
    ...(rest === undefined ? [] : [rest]),
  ];
}

/** Cut, for a place that folds nothing. */
export const cutLine = ({ text, style }: Line, width: number): Line => line(cutToWidth(text, width), style);
