/** The comparison in the simulated engine: the same arrivals in every arm, warm-up included. */

import { DEFAULT_LANE } from '../../src/config/config.ts';
import { allRequests, type TenantLoad } from '../../src/loadtest/load.ts';
import {
  type ArmOutcome,
  figuresOf,
  jainIndex,
  keepsLimits,
  quantileOf,
} from '../../src/loadtest/outcome.ts';
import type { FairlaneOptions } from '../../src/loadtest/virtual-fairlane.ts';
import { type Arm, type LabOptions, runArm } from '../../src/loadtest/virtual-lab.ts';
import type { EngineProfile } from '../../src/simulator/profile.ts';
import { BUCKET_PART, capacityOf, HOP_MS, manyBacklogged, noisyNeighbour } from './loads.ts';

export interface Setup {
  readonly profile: EngineProfile;
  readonly tenants: readonly TenantLoad[];
  readonly seed: number;
  readonly durationMs: number;
}

interface ArmResult {
  /** Times to first token of the quiet tenants, in ms. */
  readonly ttfts: readonly number[];
  readonly p99: number;
  readonly tokensPerSecond: number;
  readonly refused: number;
  readonly outcome: ArmOutcome;
}

function labOf({ profile, tenants, seed, durationMs }: Setup, capacity: number): LabOptions {
  const requests = allRequests(tenants, { seed, durationMs, capacityPerSecond: capacity });
  return { profile, tenants, requests, durationMs, hopMs: HOP_MS };
}

/** Of several runs together. */
export const p99Of = (runs: readonly (readonly number[])[]): number =>
  quantileOf(runs.flat(), 0.99) ?? Number.NaN;

function resultOf(outcome: ArmOutcome, tenants: readonly TenantLoad[]): ArmResult {
  const quiet = new Set(tenants.filter((tenant) => tenant.quiet).map(({ name }) => name));
  const ttfts = outcome.requests.flatMap(({ tenant, firstTokenMs, atMs }) =>
    quiet.has(tenant) && firstTokenMs !== undefined ? [firstTokenMs - atMs] : [],
  );
  const figures = figuresOf(outcome, new Map(), undefined);
  return {
    ttfts,
    p99: p99Of([ttfts]),
    tokensPerSecond: figures.usefulTokensPerSecond,
    refused: figures.refusals,
    outcome,
  };
}

export interface Comparison {
  readonly solo: ArmResult;
  readonly direct: ArmResult;
  readonly bucket: ArmResult;
  readonly fairlane: ArmResult;
  readonly floor: ArmResult;
  readonly capacity: number;
  /** Arms that did not have work waiting at least half of the time. */
  readonly unsaturated: readonly string[];
}

export function compare(setup: Setup, fairlane: FairlaneOptions = {}): Comparison {
  const capacity = capacityOf(setup.profile, setup.tenants);
  const lab = labOf(setup, capacity);
  const run = (arm: Arm): ArmResult => resultOf(runArm(arm, lab), setup.tenants);
  const arms = {
    solo: run({ kind: 'solo' }),
    direct: run({ kind: 'direct' }),
    bucket: run({ kind: 'request-bucket', perSecond: BUCKET_PART * capacity }),
    fairlane: run({ kind: 'fairlane', fairlane }),
    floor: run({ kind: 'floor' }),
  };
  const unsaturated = (['direct', 'fairlane', 'floor'] as const).filter(
    (arm) => (arms[arm].outcome.engine?.backlogged ?? 0) < 0.5,
  );
  return { ...arms, capacity, unsaturated };
}

/** Options, and another scheduling of the engine. */
interface Variant extends FairlaneOptions {
  readonly scheduling?: EngineProfile['scheduling'];
}

/** One way to run Fairlane, against the floor and the direct arm of the same arrivals. */
export function variants(
  setup: Setup,
  list: Readonly<Record<string, Variant>>,
): readonly {
  readonly name: string;
  readonly vsFloor: number;
  readonly kept: number;
  readonly sizes: string;
}[] {
  const lab = labOf(setup, capacityOf(setup.profile, setup.tenants));
  const run = (arm: Arm): ArmResult => resultOf(runArm(arm, lab), setup.tenants);
  const floor = run({ kind: 'floor' });
  const direct = run({ kind: 'direct' });
  return Object.entries(list).map(([name, fairlane]) => {
    const sizes: number[] = [];
    const profile = { ...setup.profile, scheduling: fairlane.scheduling ?? setup.profile.scheduling };
    const result = resultOf(
      runArm(
        { kind: 'fairlane', fairlane: { ...fairlane, onLimit: (limit) => sizes.push(limit) } },
        { ...lab, profile },
      ),
      setup.tenants,
    );
    const late = sizes.slice(Math.floor(sizes.length / 2)).sort((a, b) => a - b);
    return {
      name,
      vsFloor: result.p99 / floor.p99,
      kept: result.tokensPerSecond / direct.tokensPerSecond,
      sizes: `${late[Math.floor(late.length * 0.05)]}–${late[Math.floor(late.length * 0.95)]}`,
    };
  });
}

const LIMITS = [
  2, 4, 6, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 72, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256,
];

/**
 * Requests a second that keep a lane's limits while a flooder offers 1.5 times the capacity: SLO mode ÷ the best of all
 * fixed concurrency limits. TTFT counts from the release: the queue's length under overload is the load's.
 */
export function sloGoodput(
  profile: EngineProfile,
  limits: { readonly ttftMs: number; readonly itlMs: number },
  { seed, durationMs }: { readonly seed: number; readonly durationMs: number },
): { readonly ratio: number; readonly slo: number; readonly best: number; readonly bestLimit: number } {
  const tenants = noisyNeighbour(0, 'chat');
  const lab = labOf({ profile, tenants, seed, durationMs }, capacityOf(profile, tenants));
  const goodput = (fairlane: FairlaneOptions): number =>
    runArm({ kind: 'fairlane', fairlane }, lab).requests.filter(
      (request) =>
        (request.endedMs ?? 0) <= durationMs && keepsLimits(request, { ...limits, from: 'release' }),
    ).length /
    (durationMs / 1_000);
  let best = 0;
  let bestLimit = 0;
  for (const limit of LIMITS) {
    if (limit > profile.maxSequences) break;
    const found = goodput({ concurrencyLimit: limit });
    if (found > best) [best, bestLimit] = [found, limit];
  }
  const slo = goodput({ lanes: [{ ...DEFAULT_LANE, ...limits }] });
  return { ratio: slo / best, slo, best, bestLimit };
}

/** Jain's index over the weighted tokens of `count` tenants, counted while all of them are backlogged. */
export function jainOf(profile: EngineProfile, count: number, seed: number, durationMs: number): number {
  const tenants = manyBacklogged(profile, count);
  const lab = labOf({ profile, tenants, seed, durationMs }, 0);
  const { requests } = runArm({ kind: 'fairlane', fairlane: {} }, lab);
  const served = new Map(tenants.map(({ name }) => [name, 0]));
  for (const {
    tenant,
    outcome,
    endedMs = Number.POSITIVE_INFINITY,
    promptTokens,
    outputTokens,
  } of requests) {
    if (outcome !== 'completed' || endedMs > durationMs) continue;
    served.set(tenant, (served.get(tenant) ?? 0) + promptTokens + 2 * outputTokens);
  }
  return jainIndex([...served.values()]) ?? Number.NaN;
}
