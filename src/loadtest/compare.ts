/** What the outcomes of the arms say of each other. */
import type { Measured, Saturation } from './measured.ts';
import {
  type ArmFigures,
  figuresOf,
  type Latency,
  quantileOf,
  type RequestOutcome,
  type TenantFigures,
} from './outcome.ts';
import type { Scenario } from './scenario.ts';

const MOST_POINTS = 1_500;
/** What is shown of the start apart: this part of the arrivals' time. */
export const START_PART = 0.1;

export interface TenantReport extends TenantFigures {
  readonly quiet: boolean;
  /** TTFT of what arrived in the first 10 % of the time. */
  readonly startTtftMs: Latency;
}

export interface GroupReport {
  readonly requests: number;
  readonly completed: number;
  readonly ttftMs: Latency;
  readonly startTtftMs: Latency;
}

export interface ArmReport extends ArmFigures {
  readonly tenants: readonly TenantReport[];
  readonly durationMs: number;
  readonly saturated: Saturation;
  /** All quiet tenants together, and all others. */
  readonly quiet: GroupReport;
  readonly others: GroupReport;
  /** First tokens of quiet tenants over time: some of them, if there are many. */
  readonly quietPoints: readonly { readonly atMs: number; readonly ttftMs: number }[];
}

interface ArmRatios {
  readonly arm: string;
  /** Of all quiet tenants together. */
  readonly quietTtftP99Ms: number | undefined;
  readonly toFloor: number | undefined;
  readonly toSolo: number | undefined;
  readonly toDirect: number | undefined;
  /** Useful tokens a second against the arm direct. */
  readonly tokensKept: number | undefined;
}

export interface ComparisonInput {
  readonly scenario: Scenario;
  readonly mode: 'virtual' | 'http';
  readonly measured: readonly Measured[];
  /** What the user should know besides. */
  readonly remarks: readonly string[];
  /** URLs by name; none in the lab. */
  readonly targets: ReadonlyMap<string, string>;
  readonly bucketPerSecond?: number;
  /** Ended before all arms had run their time. */
  readonly interrupted: boolean;
}

export interface Comparison extends Omit<ComparisonInput, 'measured' | 'remarks'> {
  readonly arms: readonly ArmReport[];
  readonly ratios: readonly ArmRatios[];
  /** Of the arm that the others are measured against. */
  readonly saturated: Saturation;
  readonly warnings: readonly string[];
  /** What its figures are of. */
  readonly notes: readonly string[];
}

const ttftsOf = (requests: readonly RequestOutcome[]): readonly number[] =>
  requests.flatMap(({ firstTokenMs, atMs }) => (firstTokenMs === undefined ? [] : [firstTokenMs - atMs]));

function latencyOf(values: readonly number[]): Latency {
  return { p50: quantileOf(values, 0.5), p90: quantileOf(values, 0.9), p99: quantileOf(values, 0.99) };
}

function groupOf(requests: readonly RequestOutcome[], startMs: number): GroupReport {
  return {
    requests: requests.length,
    completed: requests.filter(({ outcome }) => outcome === 'completed').length,
    ttftMs: latencyOf(ttftsOf(requests)),
    startTtftMs: latencyOf(ttftsOf(requests.filter(({ atMs }) => atMs < startMs))),
  };
}

const NO_LATENCY: Latency = { p50: undefined, p90: undefined, p99: undefined };

function armReport({ outcome, saturated }: Measured, { tenants: loads, limits }: Scenario): ArmReport {
  const present = loads.filter(({ quiet }) => quiet || outcome.arm !== 'solo');
  const figures = figuresOf(outcome, new Map(present.map(({ name, weight }) => [name, weight])), limits);
  const startMs = START_PART * outcome.durationMs;
  const byTenant = new Map<string, RequestOutcome[]>(present.map(({ name }) => [name, []]));
  for (const request of outcome.requests) byTenant.get(request.tenant)?.push(request);
  const figuresByTenant = new Map(figures.tenants.map((tenant) => [tenant.tenant, tenant]));
  const tenants = present.map(({ name, quiet }): TenantReport => {
    const own = byTenant.get(name) ?? [];
    return {
      ...(figuresByTenant.get(name) ?? {
        tenant: name,
        requests: 0,
        completed: 0,
        refused: 0,
        failed: 0,
        ttftMs: NO_LATENCY,
        itlMs: NO_LATENCY,
        tokensPerSecond: 0,
        ...(limits !== undefined && { goodputPerSecond: 0 }),
      }),
      quiet,
      startTtftMs: groupOf(own, startMs).startTtftMs,
    };
  });
  const quietNames = new Set(loads.filter(({ quiet }) => quiet).map(({ name }) => name));
  const quiet = outcome.requests.filter(({ tenant }) => quietNames.has(tenant));
  const points = quiet
    .flatMap(({ atMs, firstTokenMs }) =>
      firstTokenMs === undefined ? [] : [{ atMs, ttftMs: firstTokenMs - atMs }],
    )
    .sort((a, b) => a.atMs - b.atMs);
  const stride = Math.ceil(points.length / MOST_POINTS);
  const unanswered = quiet.filter(({ outcome: what }) => what !== 'completed').length;
  return {
    ...figures,
    notes: [
      ...figures.notes,
      ...(unanswered > 0
        ? [
            `${unanswered} of ${quiet.length} quiet requests did not complete; those without a first token are in no TTFT.`,
          ]
        : []),
    ],
    tenants,
    durationMs: outcome.durationMs,
    saturated,
    quiet: groupOf(quiet, startMs),
    others: groupOf(
      outcome.requests.filter(({ tenant }) => !quietNames.has(tenant)),
      startMs,
    ),
    quietPoints: points.filter((_, i) => i % stride === 0),
  };
}

const ratio = (value: number | undefined, to: number | undefined): number | undefined =>
  value === undefined || to === undefined || to === 0 ? undefined : value / to;

function saturationWarning(reference: ArmReport | undefined, mode: 'virtual' | 'http'): readonly string[] {
  if (reference === undefined) {
    return ['The arm direct did not run, so it is unknown whether this load saturates the engine.'];
  }
  if (reference.saturated === 'yes') return [];
  const { arm, engine } = reference;
  if (reference.saturated === 'unknown') {
    return [
      `It is unknown whether the arm ${arm} saturated the engine${mode === 'http' ? ': its /metrics said nothing of waiting requests' : ''}. If it did not, a comparison with it says nothing about fairness.`,
    ];
  }
  const part =
    engine === undefined
      ? 'fewer than half of the scrapes of its /metrics'
      : `${Math.round(100 * engine.backlogged)} % of the time`;
  return [
    `The arm ${arm} did not saturate the engine: work waited for it in ${part}. A comparison with it says nothing about fairness; raise the load.`,
  ];
}

/** Below it the start decides the p99: measured in the lab, where it is half as long from two minutes on. */
const SHORT_RUN_MS = 120_000;

function shortRunNotes({ durationMs }: Scenario): readonly string[] {
  if (durationMs >= SHORT_RUN_MS) return [];
  const seconds = Math.round(durationMs / 1_000);
  return [
    `A run of ${seconds} s is short: its first seconds are warm-up, in which predictions, concurrency limits and queues begin with nothing. They are counted like the rest, and decide the p99 of so few requests. Take --duration ${SHORT_RUN_MS / 1_000}s or more for how it goes on after the start.`,
  ];
}

export function compare({ measured, remarks, ...about }: ComparisonInput): Comparison {
  const arms = measured.map((one) => armReport(one, about.scenario));
  const find = (name: string): ArmReport | undefined => arms.find(({ arm }) => arm === name);
  const [floor, solo, direct] = [find('floor'), find('solo'), find('direct')];
  const reference = direct ?? find('target') ?? find('fairlane');
  const p99 = (report: ArmReport | undefined): number | undefined => report?.quiet.ttftMs.p99;
  return {
    ...about,
    arms,
    ratios: arms.map((report) => ({
      arm: report.arm,
      quietTtftP99Ms: p99(report),
      toFloor: ratio(p99(report), p99(floor)),
      toSolo: ratio(p99(report), p99(solo)),
      toDirect: ratio(p99(report), p99(direct)),
      tokensKept:
        report.arm === 'solo'
          ? undefined
          : ratio(report.usefulTokensPerSecond, direct?.usefulTokensPerSecond),
    })),
    saturated: reference?.saturated ?? 'unknown',
    warnings: [...saturationWarning(reference, about.mode), ...remarks],
    notes: shortRunNotes(about.scenario),
  };
}
