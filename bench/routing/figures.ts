/** What the choice of an endpoint is worth: prefix hits against oracles, times to first token against round robin. */
import type { EngineProfile } from '../../src/simulator/profile.ts';
import { fairlane, greedyOracle, leastRequests, loadOracle, roundRobin } from './routers.ts';
import { type MakeRouter, type RunResult, simulate } from './simulation.ts';
import {
  agentTrace,
  ONE_DOCUMENT,
  ragTrace,
  SEVERAL_DOCUMENTS,
  type Trace,
  type TraceOptions,
} from './traces.ts';
import { wholeFairlane } from './whole.ts';

export const ENDPOINTS = 4;

const TRACES = {
  rag: (options: TraceOptions): Trace => ragTrace(ONE_DOCUMENT, options),
  'rag, several documents': (options: TraceOptions): Trace => ragTrace(SEVERAL_DOCUMENTS, options),
  agents: agentTrace,
};
export type TraceName = keyof typeof TRACES;

const ROUTERS: Readonly<Record<string, MakeRouter>> = {
  'round robin': roundRobin,
  'least requests': leastRequests,
  'Fairlane, balanced': fairlane('balanced'),
  'Fairlane, prefix-cache': fairlane('prefix-cache'),
  'Fairlane, whole, least loaded': wholeFairlane(undefined),
  'Fairlane, whole, balanced': wholeFairlane('balanced'),
  'greedy oracle': greedyOracle,
  'oracle with the same rule': loadOracle('balanced'),
};

interface ArmFigures {
  readonly router: string;
  /** Cached ÷ all prompt tokens. */
  readonly hitRate: number;
  /** TTFT, in ms. */
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  /** Requests of the busiest endpoint ÷ the mean. */
  readonly busiest: number;
}

export interface TraceFigures {
  readonly trace: TraceName;
  readonly load: number;
  readonly requests: number;
  readonly arms: readonly ArmFigures[];
  /** Of the choice alone. */
  readonly hitVsGreedyOracle: number;
  readonly hitVsLoadOracle: number;
  readonly p90VsRoundRobin: number;
  /** Of Fairlane as it runs, with its queue and its concurrency limits. */
  readonly wholeHitVsGreedyOracle: number;
  readonly wholeP90VsRoundRobin: number;
}

const quantile = (sorted: readonly number[], q: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;

function armOf(router: string, runs: readonly RunResult[]): ArmFigures {
  const ttfts = runs.flatMap((run) => run.ttfts).sort((a, b) => a - b);
  const sum = (of: (run: RunResult) => number): number => runs.reduce((total, run) => total + of(run), 0);
  const busiest = runs.map(
    ({ requests }) => (Math.max(...requests) * requests.length) / requests.reduce((a, b) => a + b, 0),
  );
  return {
    router,
    hitRate: sum((run) => run.cachedTokens) / sum((run) => run.promptTokens),
    p50: quantile(ttfts, 0.5),
    p90: quantile(ttfts, 0.9),
    p99: quantile(ttfts, 0.99),
    busiest: Math.max(...busiest),
  };
}

/**
 * @param load the prompts alone, if nothing were cached, would keep all engines busy for this part of the time.
 */
export function compareRouters(
  name: TraceName,
  profile: EngineProfile,
  {
    load,
    seeds,
    durationMs,
  }: { readonly load: number; readonly seeds: readonly number[]; readonly durationMs: number },
): TraceFigures {
  const promptTokensPerSecond = (load * ENDPOINTS * 1_000) / profile.msPerPrefillToken;
  let requests = 0;
  const arms = Object.entries(ROUTERS).map(([router, make]) => {
    const runs = seeds.map((seed) =>
      simulate(
        TRACES[name]({ seed, durationMs, promptTokensPerSecond, blockTokens: profile.blockTokens }),
        make,
        { profile, endpoints: ENDPOINTS },
      ),
    );
    requests = runs.reduce((sum, { ttfts }) => sum + ttfts.length, 0);
    return armOf(router, runs);
  });
  const armNamed = (router: string): ArmFigures => {
    const arm = arms.find((one) => one.router === router);
    if (arm === undefined) throw new Error(`no arm ${router}`);
    return arm;
  };
  const ours = armNamed('Fairlane, balanced');
  const whole = armNamed('Fairlane, whole, balanced');
  return {
    trace: name,
    load,
    requests,
    arms,
    hitVsGreedyOracle: ours.hitRate / armNamed('greedy oracle').hitRate,
    hitVsLoadOracle: ours.hitRate / armNamed('oracle with the same rule').hitRate,
    p90VsRoundRobin: ours.p90 / armNamed('round robin').p90,
    wholeHitVsGreedyOracle: whole.hitRate / armNamed('greedy oracle').hitRate,
    wholeP90VsRoundRobin: whole.p90 / armNamed('round robin').p90,
  };
}
