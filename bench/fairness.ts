/**
 * `npm run bench:fairness`: what a quiet tenant pays for sharing an engine, and what the engine pays for protecting it.
 * Simulated engine, virtual clock, real queue; decision cost and memory are measured on the machine. `--json` prints one
 * object; `--tried` compares other ways that were tried.
 */

import { aimdLimit, gradientLimit } from './concurrency-limits.ts';
import { decisionCost } from './fairness/decision-cost.ts';
import { noisyNeighbour, profileOf } from './fairness/loads.ts';
import { queuedMemory } from './fairness/queued-memory.ts';
import { type Comparison, compare, jainOf, p99Of, sloGoodput, variants } from './fairness/simulated.ts';

const DURATION_MS = 600_000;
const SEEDS = [1, 2, 3, 4, 5];
const SEQUENCES = [16, 64, 256];
const GPUS = ['8b', '70b'];
const SLO_DURATION_MS = 300_000;
const SLOS = [
  { gpu: '8b', ttftMs: 200, itlMs: 30 },
  { gpu: '8b', ttftMs: 200, itlMs: 15 },
  { gpu: '70b', ttftMs: 1_000, itlMs: 60 },
];

const asJson = process.argv.includes('--json');
const say = (text: string): void => console.error(text);
const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
const rounded = (value: number, digits = 3): number => Number(value.toPrecision(digits));

type ArmName = 'solo' | 'direct' | 'bucket' | 'fairlane' | 'floor';

interface Row {
  readonly scenario: string;
  /** Quiet p99, of all seeds together, in ms. */
  readonly p99: Readonly<Record<ArmName, number>>;
  /** Fairlane's p99 ÷ the floor's, seed by seed. */
  readonly vsFloorBySeed: readonly number[];
  /** Tokens a second ÷ the direct arm's. */
  readonly kept: Readonly<Record<'bucket' | 'fairlane' | 'floor', number>>;
  readonly refusedWhileIdle: number;
  readonly refusedWhileReserveIdle: number;
}

function rowOf(scenario: string, runs: readonly Comparison[]): Row {
  for (const { unsaturated } of runs) {
    if (unsaturated.length > 0) {
      say(`WORTHLESS: ${scenario}: ${unsaturated.join(', ')} never saturated the engine`);
    }
  }
  const p99 = (arm: ArmName): number => p99Of(runs.map((run) => run[arm].ttfts));
  const tokens = (arm: ArmName): number => runs.reduce((sum, run) => sum + run[arm].tokensPerSecond, 0);
  const idle = (which: 'beyondReserve' | 'any'): number =>
    runs.reduce((sum, { fairlane }) => sum + (fairlane.outcome.refusedWhileIdle?.[which] ?? 0), 0);
  return {
    scenario,
    p99: {
      solo: p99('solo'),
      direct: p99('direct'),
      bucket: p99('bucket'),
      fairlane: p99('fairlane'),
      floor: p99('floor'),
    },
    vsFloorBySeed: runs.map(({ fairlane, floor }) => fairlane.p99 / floor.p99),
    kept: {
      bucket: tokens('bucket') / tokens('direct'),
      fairlane: tokens('fairlane') / tokens('direct'),
      floor: tokens('floor') / tokens('direct'),
    },
    refusedWhileIdle: idle('beyondReserve'),
    refusedWhileReserveIdle: idle('any'),
  };
}

const vsFloor = ({ p99 }: Row): number => p99.fairlane / p99.floor;

function measure(gpu: string, sequences: number, quiet: number, flood: 'chat' | 'long-prompts'): Row {
  const scenario = `${gpu}, ${sequences} sequences, ${quiet} quiet, flood of ${flood}`;
  say(scenario);
  const setup = {
    profile: profileOf(gpu, sequences),
    tenants: noisyNeighbour(quiet, flood),
    durationMs: DURATION_MS,
  };
  return rowOf(
    scenario,
    SEEDS.map((seed) => compare({ ...setup, seed })),
  );
}

const line = (row: Row): string => {
  const { scenario, p99, vsFloorBySeed, kept, refusedWhileIdle } = row;
  const times = [p99.solo, p99.floor, p99.fairlane, p99.bucket, p99.direct].map((ms) => rounded(ms));
  const range = `${rounded(Math.min(...vsFloorBySeed))}–${rounded(Math.max(...vsFloorBySeed))}`;
  const parts = [kept.fairlane, kept.floor, kept.bucket].map((part) => (100 * part).toFixed(1));
  const cells = [
    scenario,
    ...times,
    `${rounded(vsFloor(row))} (${range})`,
    rounded(p99.fairlane / p99.direct, 2),
    ...parts,
    refusedWhileIdle,
  ];
  return `| ${cells.join(' | ')} |`;
};

if (process.argv.includes('--tried')) {
  for (const [gpu, sequences] of [
    ['8b', 64],
    ['70b', 256],
    ['8b', 16],
  ] as const) {
    const setup = {
      profile: profileOf(gpu, sequences),
      tenants: noisyNeighbour(1, 'chat'),
      durationMs: DURATION_MS,
      seed: 1,
    };
    console.log(
      `\n${gpu}, ${sequences} sequences: quiet p99 ÷ floor's, tokens kept, concurrency limit (5th–95th percentile of the second half)\n`,
    );
    const frozen = { running: 3, waiting: 0, kvUsage: 0.1 };
    for (const { name, vsFloor: ratio, kept, sizes } of variants(setup, {
      "gauges (Fairlane's)": {},
      'times to first token (its fallback: no gauges)': { gauges: () => 'unusable' },
      'the same, gauges frozen': { gauges: () => frozen },
      'AIMD on waiting': { makeLimit: aimdLimit },
      'gradient of TTFT': { makeLimit: gradientLimit },
      'fixed at the number of sequences': { concurrencyLimit: sequences },
      'headroom 0': { headroom: 0 },
      'headroom 1': { headroom: 1 },
      'headroom 2': { headroom: 2 },
      'headroom 4': { headroom: 4 },
      'others are not held during a quiet prefill': { holds: false },
      'two more wait in the engine': { concurrencyLimit: sequences + 2 },
      'two more wait in the engine, by priority': {
        concurrencyLimit: sequences + 2,
        enginePriority: true,
        scheduling: 'priority',
      },
    })) {
      console.log(`| ${name} | ${rounded(ratio)} | ${(100 * kept).toFixed(1)} % | ${sizes} |`);
    }
  }
  process.exit(0);
}

const main = measure('8b', 64, 1, 'chat');
const eight = measure('8b', 64, 8, 'chat');
const long = measure('8b', 64, 1, 'long-prompts');
const others = GPUS.flatMap((gpu) =>
  SEQUENCES.filter((sequences) => gpu !== '8b' || sequences !== 64).map((sequences) =>
    measure(gpu, sequences, 1, 'chat'),
  ),
);
say('SLO mode: sweeping fixed concurrency limits');
const slos = SLOS.map(({ gpu, ...limits }) => ({
  gpu,
  ...limits,
  ...sloGoodput(profileOf(gpu, 256), limits, { seed: 1, durationMs: SLO_DURATION_MS }),
}));
say('100 backlogged tenants');
const jain = median(SEEDS.map((seed) => jainOf(profileOf('8b', 64), 100, seed, DURATION_MS)));
say('decision cost');
const decision = decisionCost(10, 100_000);
say('memory of queued requests');
const memory = await queuedMemory(10_000);

const rows = [main, eight, long, ...others];
const figures = {
  quiet_p99_vs_floor: rounded(vsFloor(main)),
  quiet_p99_vs_floor_8: rounded(vsFloor(eight)),
  quiet_p99_vs_floor_long_prompts: rounded(vsFloor(long)),
  quiet_p99_vs_solo: rounded(main.p99.fairlane / main.p99.solo),
  floor_p99_vs_solo: rounded(main.p99.floor / main.p99.solo),
  quiet_p99_vs_direct: rounded(main.p99.fairlane / main.p99.direct),
  engine_tokens_kept: rounded(main.kept.fairlane, 4),
  slo_goodput_vs_best_fixed: rounded(Math.min(...slos.map(({ ratio }) => ratio))),
  refused_while_idle: rows.reduce((sum, row) => sum + row.refusedWhileIdle, 0),
  jain_100: rounded(jain, 5),
  decision_cost_100k_vs_10: rounded(decision.ratio),
  rss_mb_10k_queued: rounded(memory.mb),
};

if (asJson) {
  console.log(JSON.stringify({ ...figures, rows, slos, decision, memory }));
} else {
  console.log(`
| scenario | solo | floor | Fairlane | request bucket | direct | ÷ floor (range of ${SEEDS.length} seeds) | ÷ direct | tokens kept % | floor keeps % | bucket keeps % | refused while idle |
|---|---|---|---|---|---|---|---|---|---|---|---|
${rows.map(line).join('\n')}

Quiet TTFT p99 in ms, ${DURATION_MS / 1_000} s of traffic, warm-up included, ${SEEDS.length} seeds together. Headline: the first row.
`);
  for (const { gpu, ttftMs, itlMs, ratio, slo, best, bestLimit } of slos) {
    console.log(
      `SLO ${gpu} ttft ${ttftMs} ms itl ${itlMs} ms: ${rounded(slo)} requests/s keep it, best fixed limit (${bestLimit}) ${rounded(best)}: ${rounded(ratio)}`,
    );
  }
  console.log(JSON.stringify(figures, undefined, 2));
}
