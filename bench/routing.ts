/**
 * `npm run bench:routing`: what the choice of an endpoint costs and what it is worth. Choice and hashing are measured on the
 * machine (CPU time); hits and times to first token come from simulated engines on a virtual clock. `--json` prints one
 * object; `--quick` runs one seed at one load.
 */
import { parseProfile } from '../src/simulator/profile.ts';
import { measureBigBody } from './routing/big-body.ts';
import { measureDeath } from './routing/death.ts';
import { compareRouters, ENDPOINTS, type TraceFigures, type TraceName } from './routing/figures.ts';
import { distinctPrefixes, hashTime, pickTime } from './routing/pick-time.ts';
import { measureRollback } from './routing/rollback.ts';

const asJson = process.argv.includes('--json');
const quick = process.argv.includes('--quick');
const say = (text: string): void => console.error(text);
const rounded = (value: number, digits = 3): number => Number(value.toPrecision(digits));

const TRACES: readonly TraceName[] = ['rag', 'rag, several documents', 'agents'];
const HEADLINE_LOAD = 0.7;
const LOADS = quick ? [HEADLINE_LOAD] : [0.4, HEADLINE_LOAD, 1];
const HEADLINE_SEEDS = quick ? [1] : [1, 2, 3];
const OTHER_SEEDS = [1];
/** Nothing is left out as warm-up: caches are empty at the beginning. */
const DURATION_MS = quick ? 120_000 : 600_000;
const PROFILE = parseProfile('8b', {});

say('choice and hashing');
const picks = [10, 100, 1_000].map(pickTime);
const hashes = [10_000, 220_000, 5_000_000].map((bytes) => ({ bytes, us: hashTime(bytes) }));
const distinct = distinctPrefixes(1_000_000);

const rows = TRACES.flatMap((trace) =>
  LOADS.map((load) => {
    say(`${trace}, load ${load}`);
    const seeds = load === HEADLINE_LOAD ? HEADLINE_SEEDS : OTHER_SEEDS;
    return compareRouters(trace, PROFILE, { load, seeds, durationMs: DURATION_MS });
  }),
);
const headline = (trace: TraceName): TraceFigures => {
  const row = rows.find((one) => one.trace === trace && one.load === HEADLINE_LOAD);
  if (row === undefined) throw new Error(`no row ${trace}`);
  return row;
};
say('long prompts through Envoy, with Fairlane and without');
const bigBody = await measureBigBody(say);
say('the death of one of four engines, behind a real Envoy');
const death = await measureDeath();
say('a bad version is rolled back');
const rollbackS = await measureRollback();

const figures = {
  pick_us_1000: rounded(picks.find(({ endpoints }) => endpoints === 1_000)?.pickUs ?? Number.NaN),
  // Of the whole of Fairlane; the choice alone is better, as nothing waits.
  prefix_hit_vs_oracle: rounded(Math.min(...TRACES.map((trace) => headline(trace).wholeHitVsGreedyOracle))),
  rag_ttft_p90_vs_round_robin: rounded(headline('rag').wholeP90VsRoundRobin),
  rag_several_documents_ttft_p90_vs_round_robin: rounded(
    headline('rag, several documents').wholeP90VsRoundRobin,
  ),
  agents_ttft_p90_vs_round_robin: rounded(headline('agents').wholeP90VsRoundRobin),
  choice_alone: {
    prefix_hit_vs_oracle: rounded(Math.min(...TRACES.map((trace) => headline(trace).hitVsGreedyOracle))),
    rag_ttft_p90_vs_round_robin: rounded(headline('rag').p90VsRoundRobin),
    rag_several_documents_ttft_p90_vs_round_robin: rounded(
      headline('rag, several documents').p90VsRoundRobin,
    ),
    agents_ttft_p90_vs_round_robin: rounded(headline('agents').p90VsRoundRobin),
  },
  failed_on_endpoint_death: death.failed,
  requests_on_endpoint_death: death.requests,
  // The worse of the two: streams, of which the whole request has to be sent back.
  big_body_throughput_vs_envoy: rounded(Math.min(bigBody.whole.ratio, bigBody.stream.ratio)),
  big_body_unchanged_throughput_vs_envoy: rounded(bigBody.whole.ratio),
  rollback_s: rounded(rollbackS),
  hash_us_10kb: rounded(hashes[0]?.us ?? Number.NaN),
  index_mb_million_prefixes: rounded(distinct.memoryMb),
};

if (asJson) console.log(JSON.stringify({ ...figures, picks, hashes, distinct, bigBody, rows }));
else {
  for (const { endpoints, pickUs, pickAdapterUs, rememberUs } of picks) {
    console.log(
      `${endpoints} endpoints: choice ${rounded(pickUs)} µs of CPU, with an adapter ${rounded(pickAdapterUs)}; a release and an end ${rounded(rememberUs)}`,
    );
  }
  for (const { bytes, us } of hashes) console.log(`a prompt of ${bytes / 1_000} KB: ${rounded(us)} µs`);
  console.log(
    `${ENDPOINTS} engines like ${PROFILE.name}, ${DURATION_MS / 1_000} s of traffic from empty caches; load is the part of the time that prompts alone would take without caches\n`,
  );
  console.log('| trace | load | router | hit rate % | TTFT p50 / p90 / p99 ms | busiest ÷ mean |');
  console.log('|---|---|---|---|---|---|');
  for (const { trace, load, arms } of rows) {
    for (const { router, hitRate, p50, p90, p99, busiest } of arms) {
      const times = [p50, p90, p99].map((ms) => rounded(ms)).join(' / ');
      console.log(
        `| ${trace} | ${load} | ${router} | ${(100 * hitRate).toFixed(1)} | ${times} | ${rounded(busiest)} |`,
      );
    }
  }
  console.log(
    '\n| trace | load | choice: hits ÷ greedy oracle | ÷ oracle with the same rule | TTFT p90 ÷ round robin | whole: hits ÷ greedy oracle | TTFT p90 ÷ round robin |',
  );
  console.log('|---|---|---|---|---|---|---|');
  for (const row of rows) {
    const ratios = [
      row.hitVsGreedyOracle,
      row.hitVsLoadOracle,
      row.p90VsRoundRobin,
      row.wholeHitVsGreedyOracle,
      row.wholeP90VsRoundRobin,
    ].map((ratio) => rounded(ratio));
    console.log(`| ${row.trace} | ${row.load} | ${ratios.join(' | ')} |`);
  }
  console.log(`\n${JSON.stringify(figures, undefined, 2)}`);
}
