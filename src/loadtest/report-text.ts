/** A comparison as text for a terminal. */
import { PAGE_WIDTH, textTable, wrapped } from '../domain/text-table.ts';
import type { ArmReport, Comparison, TenantReport } from './compare.ts';
import type { Latency } from './outcome.ts';

const NONE = '–';
const MOST_TENANTS = 12;

const grouped = (text: string): string => text.replace(/\B(?=(\d{3})+$)/g, ',');

/** Three digits or more where they say something: 0.42, 4.2, 42, 4,200. */
export function shown(value: number | undefined): string {
  if (value === undefined || !Number.isFinite(value)) return NONE;
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size > 0 && size < 1) return value.toFixed(2);
  return size < 10 ? value.toFixed(1) : grouped(value.toFixed(0));
}
const percent = (value: number | undefined): string =>
  value === undefined ? NONE : `${Math.round(100 * value)} %`;
/** A ratio, with two digits at least. */
function times(value: number | undefined): string {
  if (value === undefined) return NONE;
  if (value > 0 && value < 0.1) return `${value.toPrecision(2)}×`;
  return `${value >= 100 ? grouped(value.toFixed(0)) : value.toFixed(2)}×`;
}
const latency = ({ p50, p90, p99 }: Latency): string => `${shown(p50)} / ${shown(p90)} / ${shown(p99)}`;

/** Quiet tenants first; of many alike the first ones are enough. */
export function tenantsShown({ tenants }: ArmReport): {
  readonly tenants: readonly TenantReport[];
  readonly more: number;
} {
  const sorted = [...tenants].sort((a, b) => Number(b.quiet) - Number(a.quiet));
  return { tenants: sorted.slice(0, MOST_TENANTS), more: Math.max(0, sorted.length - MOST_TENANTS) };
}

export const TENANT_COLUMNS = [
  'tenant',
  'requests',
  'completed',
  'refused',
  'failed',
  'TTFT ms p50 / p90 / p99',
  'of the first 10 % of the time',
  'ITL ms p50 / p90 / p99',
  'tokens/s',
  'goodput/s',
] as const;

export const tenantCells = (tenant: TenantReport): readonly string[] => [
  tenant.quiet ? `${tenant.tenant} (quiet)` : tenant.tenant,
  grouped(String(tenant.requests)),
  grouped(String(tenant.completed)),
  grouped(String(tenant.refused)),
  grouped(String(tenant.failed)),
  latency(tenant.ttftMs),
  latency(tenant.startTtftMs),
  latency(tenant.itlMs),
  shown(tenant.tokensPerSecond),
  shown(tenant.goodputPerSecond),
];

export const ARM_COLUMNS = [
  'arm',
  'useful tokens/s',
  'completed/s',
  'goodput/s',
  'Jain',
  'refusals',
  'while a slot was idle (unreserved / any)',
  'engine busy',
  'batch full',
  'work waited',
  'saturated',
] as const;

export function armCells(arm: ArmReport): readonly string[] {
  const idle = arm.refusedWhileIdle;
  return [
    arm.arm,
    shown(arm.usefulTokensPerSecond),
    shown(arm.completedPerSecond),
    shown(arm.goodputPerSecond),
    arm.jain === undefined ? NONE : arm.jain.toFixed(3),
    grouped(String(arm.refusals)),
    idle === undefined ? NONE : `${grouped(String(idle.beyondReserve))} / ${grouped(String(idle.any))}`,
    percent(arm.engine?.busy),
    percent(arm.engine?.batch),
    percent(arm.engine?.backlogged),
    arm.saturated,
  ];
}

export const RATIO_COLUMNS = [
  'arm',
  'quiet TTFT p99 ms',
  '÷ floor',
  '÷ solo',
  '÷ direct',
  'tokens kept of direct',
] as const;

export const ratioCells = (ratio: Comparison['ratios'][number]): readonly string[] => [
  ratio.arm,
  shown(ratio.quietTtftP99Ms),
  times(ratio.toFloor),
  times(ratio.toSolo),
  times(ratio.toDirect),
  percent(ratio.tokensKept),
];

/** Where, with what and for how long, in a line. */
export function aboutLine({ scenario, mode, targets, bucketPerSecond }: Comparison): string {
  const { engine, durationMs, seed } = scenario;
  const where =
    mode === 'virtual'
      ? `simulated engine ${engine.name}, ${engine.maxSequences} sequences, on a virtual clock`
      : [...targets].map(([name, url]) => `${name} ${url}`).join(', ');
  const bucket = bucketPerSecond === undefined ? '' : ` · bucket ${shown(bucketPerSecond)} requests/s`;
  return `${where} · ${durationMs / 1_000} s of arrivals · seed ${seed}${bucket}`;
}

export const HOW_TO_READ =
  'TTFT counts from the planned arrival to the first token, over all requests that had one; nothing is left out as warm-up. ÷ floor: against a perfect scheduler in the same engine, ÷ solo: against the quiet tenants alone. 1× is as good as that. Jain’s index is of weighted tokens ÷ weight over all tenants, 1 when equal; tenants that ask for little keep it below 1.';

interface TextReportOptions {
  /** With escape sequences, for a terminal. */
  readonly colour: boolean;
  /** In characters. */
  readonly width?: number;
}

export function textReport(
  comparison: Comparison,
  { colour, width = PAGE_WIDTH }: TextReportOptions,
): string {
  const paint = (code: number, text: string): string => (colour ? `\u001b[${code}m${text}\u001b[0m` : text);
  const bold = (text: string): string => paint(1, text);
  const warn = (text: string): string => paint(33, text);
  const { scenario, arms, ratios, warnings, notes } = comparison;
  const lines = [bold(scenario.name)];
  const say = (text: string, paintLine = (line: string): string => line): void => {
    lines.push(...wrapped(text, width, '  ').map(paintLine));
  };
  if (scenario.description !== undefined) say(scenario.description);
  say(aboutLine(comparison));
  for (const warning of warnings) say(`WARNING: ${warning}`, warn);
  for (const note of notes) say(`Note: ${note}`);
  for (const arm of arms) {
    const { tenants, more } = tenantsShown(arm);
    lines.push('', bold(arm.arm), ...textTable(TENANT_COLUMNS, tenants.map(tenantCells), width));
    if (more > 0) lines.push(`  and ${more} more tenants, see --json`);
    for (const note of arm.notes) say(`  note: ${note}`, warn);
  }
  lines.push('', bold('arms'), ...textTable(ARM_COLUMNS, arms.map(armCells), width));
  if (arms.length > 1)
    lines.push('', bold('ratios'), ...textTable(RATIO_COLUMNS, ratios.map(ratioCells), width));
  lines.push('', ...wrapped(HOW_TO_READ, width));
  return `${lines.join('\n')}\n`;
}
