/** Which arms a comparison has, what is asked in them, and what their outcomes say of each other. */
import type { EngineProfile } from '../simulator/profile.ts';
import { capacityPerSecond } from './engine-capacity.ts';
import { allRequests, createRandom, drawLength, type Request, type TenantLoad } from './load.ts';
import {
  type ArmFigures,
  type ArmOutcome,
  figuresOf,
  type Latency,
  quantileOf,
  type RequestOutcome,
  type TenantFigures,
} from './outcome.ts';
import type { Scenario } from './scenario.ts';
import { runArm } from './virtual-lab.ts';

export const ARMS = ['solo', 'direct', 'request-bucket', 'fairlane', 'floor'] as const;
export type ArmName = (typeof ARMS)[number];
/** A target without a name is an arm of its own. */
export type HttpArmName = Exclude<ArmName, 'floor'> | 'target';
export type TargetName = 'direct' | 'fairlane' | 'target';

type OrProblem<T> = ({ readonly kind: 'ok' } & T) | { readonly kind: 'bad'; readonly problem: string };
const bad = (problem: string) => ({ kind: 'bad', problem }) as const;

const SAMPLES = 1_000;
/** A sample of the capacity covers the batch so many times. */
const BATCHES = 16;
const MOST_SAMPLED_TOKENS = 5_000_000;
const MOST_REQUESTS = 1_000_000;
const MOST_POINTS = 1_500;
/** What is shown of the start apart. */
const START = 0.1;
const LATE_MS = 20;

type Lengths = Pick<Request, 'promptTokens' | 'outputTokens'>;

/** Of endless requests like these, as many as it takes to know what the engine can do with them. */
function sampleOf(draw: (i: number) => Lengths, { maxSequences }: EngineProfile): readonly Lengths[] {
  const sample: Lengths[] = [];
  let tokens = 0;
  for (let i = 0; i < Math.max(SAMPLES, BATCHES * maxSequences) && tokens < MOST_SAMPLED_TOKENS; i += 1) {
    const { promptTokens, outputTokens } = draw(i);
    sample.push({ promptTokens, outputTokens });
    tokens += promptTokens + outputTokens;
  }
  return sample;
}

export interface Schedule {
  /** In the order of arrival; the same in every arm. */
  readonly requests: readonly Request[];
  /** Rate of the arm request-bucket, where it is known. */
  readonly bucketPerSecond?: number;
}

function requestsIn(
  scenario: Scenario,
  capacityOf: (tenant: TenantLoad) => number,
): OrProblem<{ readonly requests: readonly Request[] }> {
  const { durationMs, seed, tenants } = scenario;
  const loads = tenants.map((tenant) => {
    const { arrivals } = tenant;
    if (arrivals.kind === 'trace') return { tenant, expected: arrivals.atMs.length };
    const perSecond = arrivals.kind === 'poisson' ? arrivals.perSecond : arrivals.times * capacityOf(tenant);
    return {
      tenant: { ...tenant, arrivals: { kind: 'poisson' as const, perSecond } },
      expected: (perSecond * durationMs) / 1_000,
    };
  });
  const expected = loads.reduce((sum, load) => sum + load.expected, 0);
  if (!(expected <= MOST_REQUESTS)) {
    return bad(`the scenario makes more than ${MOST_REQUESTS} requests; lower its rates or its duration`);
  }
  const requests = allRequests(
    loads.map(({ tenant }) => tenant),
    { seed, durationMs, capacityPerSecond: 0 },
  );
  if (requests.length === 0) return bad('no request arrives in this time; raise the duration or the rates');
  return { kind: 'ok', requests };
}

/** For the lab, whose engine's capacity is found by trying. */
export function labSchedule(scenario: Scenario): OrProblem<Schedule> {
  const { engine, seed, tenants } = scenario;
  const fits = Math.min(engine.maxModelLen, (engine.kvBlocks - 1) * engine.blockTokens);
  const longest = ({ prompt, output }: TenantLoad): number =>
    [prompt, output].reduce(
      (sum, length) =>
        sum + (length.kind === 'fixed' ? length.tokens : length.kind === 'uniform' ? length.to : length.max),
      0,
    );
  const tooLong = tenants.find((tenant) => longest(tenant) > fits);
  if (tooLong !== undefined) {
    return bad(
      `tenant ${tooLong.name} can ask for ${longest(tooLong)} tokens, prompt and output, and the engine holds ${fits}; lower its lengths or set another profile`,
    );
  }
  // Tenants that are alike by their loads share an answer.
  const known = new Map<string, number>();
  const capacityOf = ({ prompt, output }: TenantLoad): number => {
    const kind = JSON.stringify([prompt, output]);
    const before = known.get(kind);
    if (before !== undefined) return before;
    const random = createRandom(seed);
    const draw = (): Lengths => ({
      promptTokens: drawLength(prompt, random),
      outputTokens: drawLength(output, random),
    });
    const capacity = capacityPerSecond(engine, sampleOf(draw, engine));
    known.set(kind, capacity);
    return capacity;
  };
  const made = requestsIn(scenario, capacityOf);
  if (made.kind === 'bad') return made;
  const quiet = new Set(tenants.filter((tenant) => tenant.quiet).map(({ name }) => name));
  const others = made.requests.filter(({ tenant }) => !quiet.has(tenant));
  const [first] = others;
  if (first === undefined) return made;
  const sample = sampleOf((i) => others[i % others.length] ?? first, engine);
  return { ...made, bucketPerSecond: scenario.bucket * capacityPerSecond(engine, sample) };
}

/** For real targets. */
export function httpSchedule(scenario: Scenario): OrProblem<Schedule> {
  const unknown = scenario.tenants.find(({ arrivals }) => arrivals.kind === 'capacity');
  if (unknown !== undefined) {
    return bad(
      `tenant ${unknown.name}: timesCapacity is for the lab, because the capacity of a real target is not known; give arrivals: { perSecond: … }`,
    );
  }
  const made = requestsIn(scenario, () => 0);
  if (made.kind === 'bad') return made;
  const { bucketPerSecond } = scenario;
  return { ...made, ...(bucketPerSecond !== undefined && { bucketPerSecond }) };
}

export interface ArmsAsked {
  readonly compare: boolean;
  /** Named ones; they go before `compare`. */
  readonly arms?: readonly ArmName[];
}

export interface Arms<Name> {
  /** In the order in which they run. */
  readonly arms: readonly Name[];
  /** What is left out of a comparison, and why. */
  readonly skipped: readonly string[];
}

/** Why an arm cannot run, or undefined. */
type Obstacle<Name> = (arm: Name) => string | undefined;

function chosen<Name extends string>(
  asked: ArmsAsked,
  obstacle: Obstacle<Name | ArmName>,
  all: readonly Name[],
  alone: readonly NoInfer<Name>[],
): OrProblem<Arms<Name>> {
  const named = asked.arms;
  if (named !== undefined) {
    const wrong = named.find((arm) => obstacle(arm) !== undefined);
    if (wrong !== undefined) return bad(`the arm ${wrong} cannot run: ${obstacle(wrong) ?? ''}`);
    return { kind: 'ok', arms: all.filter((arm) => (named as readonly string[]).includes(arm)), skipped: [] };
  }
  const wanted = asked.compare ? all : alone;
  const skipped = wanted.flatMap((arm) => {
    const why = obstacle(arm);
    return why === undefined ? [] : [`The arm ${arm} was left out: ${why}.`];
  });
  const arms = wanted.filter((arm) => obstacle(arm) === undefined);
  return arms.length === 0 ? bad(`no arm can run. ${skipped.join(' ')}`) : { kind: 'ok', arms, skipped };
}

const noQuietTenant = ({ tenants }: Scenario): string | undefined =>
  tenants.some(({ quiet }) => quiet) ? undefined : 'no tenant of the scenario is quiet';

export function labArms(scenario: Scenario, asked: ArmsAsked): OrProblem<Arms<ArmName>> {
  const obstacle: Obstacle<ArmName> = (arm) => (arm === 'solo' ? noQuietTenant(scenario) : undefined);
  return chosen(asked, obstacle, ARMS, ['fairlane']);
}

/** Which target an arm sends to. */
export const targetOf = (arm: HttpArmName): TargetName =>
  arm === 'fairlane' || arm === 'target' ? arm : 'direct';

export function httpArms(
  scenario: Scenario,
  asked: ArmsAsked,
  targets: ReadonlySet<TargetName>,
): OrProblem<Arms<HttpArmName>> {
  if (asked.compare && targets.has('target')) {
    return bad('a comparison needs targets with names: --target direct=URL --target fairlane=URL');
  }
  const obstacle: Obstacle<HttpArmName | ArmName> = (arm) => {
    if (arm === 'floor') return 'there is none of a real engine';
    const target = targetOf(arm);
    if (!targets.has(target)) return `it needs --target ${target}=URL`;
    if (arm === 'solo') return noQuietTenant(scenario);
    if (arm !== 'request-bucket' || scenario.bucketPerSecond !== undefined) return undefined;
    return 'it needs bucketPerSecond in the scenario, because the capacity of a real target is not known';
  };
  const all: readonly HttpArmName[] = ['solo', 'direct', 'request-bucket', 'fairlane'];
  return chosen<HttpArmName>(asked, obstacle, all, [...targets].sort());
}

/** Did work wait for the engine at least half of the time? */
export type Saturation = 'yes' | 'no' | 'unknown';

const ENOUGH = 0.5;

/** @param waiting what scrapes of an engine said about requests that wait in it. */
export function saturationOf(waiting: readonly number[]): Saturation {
  if (waiting.length === 0) return 'unknown';
  return waiting.filter((count) => count > 0).length >= ENOUGH * waiting.length ? 'yes' : 'no';
}

export interface Measured {
  readonly outcome: ArmOutcome;
  readonly saturated: Saturation;
}

export function runLabArm(name: ArmName, scenario: Scenario, schedule: Schedule): Measured {
  const { engine: profile, tenants, durationMs, hopMs } = scenario;
  const { requests, bucketPerSecond = Number.POSITIVE_INFINITY } = schedule;
  const named = [...new Set(tenants.flatMap(({ lane }) => (lane === undefined ? [] : [lane])))];
  // Tenants without a lane are in the first.
  const lanes = (tenants.some(({ lane }) => lane === undefined) ? ['default', ...named] : named).map(
    (lane) => ({
      name: lane,
      weight: 1,
      order: 'fcfs' as const,
      maxAgeMs: 10_000,
      stalledAfterMs: 10_000,
    }),
  );
  const arm = (() => {
    switch (name) {
      case 'request-bucket':
        return { kind: name, perSecond: bucketPerSecond };
      case 'fairlane':
        return { kind: name, fairlane: named.length === 0 ? {} : { lanes } };
      case 'solo':
      case 'direct':
      case 'floor':
        return { kind: name };
    }
  })();
  const outcome = runArm(arm, { profile, tenants, requests, durationMs, hopMs });
  const { engine } = outcome;
  return {
    outcome,
    saturated: engine === undefined ? 'unknown' : engine.backlogged >= ENOUGH ? 'yes' : 'no',
  };
}

/** @param lateMs of each request that was sent: by how much. */
export function lateness(lateMs: readonly number[]): readonly string[] {
  const p99 = quantileOf(lateMs, 0.99) ?? 0;
  if (p99 <= LATE_MS) return [];
  return [
    `The generator was late: ${Math.round(p99)} ms at p99 on sending. Latencies are too long by as much; lower the load or free the machine.`,
  ];
}

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
  const startMs = START * outcome.durationMs;
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
  };
}

/** The figures as plain data with the same keys in every run; what is not known is null. */
export function comparisonJson(comparison: Comparison): object {
  const { scenario, arms, ratios } = comparison;
  const known = <T>(value: T | undefined): T | null => value ?? null;
  const latency = ({ p50, p90, p99 }: Latency): object => ({
    p50: known(p50),
    p90: known(p90),
    p99: known(p99),
  });
  const group = ({ requests, completed, ttftMs, startTtftMs }: GroupReport): object => ({
    requests,
    completed,
    ttftMs: latency(ttftMs),
    startTtftMs: latency(startTtftMs),
  });
  return {
    formatVersion: 1,
    name: scenario.name,
    description: known(scenario.description),
    mode: comparison.mode,
    seed: scenario.seed,
    durationMs: scenario.durationMs,
    startMs: START * scenario.durationMs,
    limits: { ttftMs: known(scenario.limits?.ttftMs), itlMs: known(scenario.limits?.itlMs) },
    engine: comparison.mode === 'virtual' ? scenario.engine : null,
    bucketPerSecond: known(comparison.bucketPerSecond),
    targets: Object.fromEntries(comparison.targets),
    interrupted: comparison.interrupted,
    saturated: comparison.saturated,
    warnings: comparison.warnings,
    arms: arms.map((arm) => ({
      arm: arm.arm,
      durationMs: arm.durationMs,
      saturated: arm.saturated,
      usefulTokensPerSecond: arm.usefulTokensPerSecond,
      completedPerSecond: arm.completedPerSecond,
      goodputPerSecond: known(arm.goodputPerSecond),
      jain: known(arm.jain),
      engine: known(arm.engine),
      refusals: arm.refusals,
      refusedWhileIdle: known(arm.refusedWhileIdle),
      notes: arm.notes,
      quiet: group(arm.quiet),
      others: group(arm.others),
      tenants: arm.tenants.map((tenant) => ({
        tenant: tenant.tenant,
        quiet: tenant.quiet,
        requests: tenant.requests,
        completed: tenant.completed,
        refused: tenant.refused,
        failed: tenant.failed,
        ttftMs: latency(tenant.ttftMs),
        startTtftMs: latency(tenant.startTtftMs),
        itlMs: latency(tenant.itlMs),
        tokensPerSecond: tenant.tokensPerSecond,
        goodputPerSecond: known(tenant.goodputPerSecond),
      })),
    })),
    ratios: ratios.map((one) => ({
      arm: one.arm,
      quietTtftP99Ms: known(one.quietTtftP99Ms),
      toFloor: known(one.toFloor),
      toSolo: known(one.toSolo),
      toDirect: known(one.toDirect),
      tokensKept: known(one.tokensKept),
    })),
  };
}
