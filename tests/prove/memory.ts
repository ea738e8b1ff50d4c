/** With the default configuration, one tenant that holds all that it can takes no more memory than is computed from it. */

import { MiB } from '../support/greedy.ts';
import { holdAll } from '../support/hold-all.ts';

/** With bodies of up to 32 MiB; tests/unit/config/memory-bound.test.ts has the same bound. */
const MOST = 768 * MiB;
const LEAST_PART = 0.5;

const inMiB = (bytes: number): string => `${(bytes / MiB).toFixed(0)} MiB`;
const row = (name: string, envoy: number, fairlane: number): void =>
  console.log(`| ${name} | ${inMiB(envoy)} | ${inMiB(fairlane)} | ${inMiB(envoy + fairlane)} |`);

console.log('| | Envoy | Fairlane | together |\n|---|---|---|---|');
const { bound, peak, refused, others, overloaded } = await holdAll({
  program: ['dist/cli/index.js'],
  ended: 2_000,
  onStage: (stage, envoy, fairlane) => row(`peak so far: ${stage}`, envoy, fairlane),
});
row('**measured, peak**', peak.envoy, peak.fairlane);
row('**computed**', bound.envoy, bound.fairlane);
const measured = peak.envoy + peak.fairlane;
const computed = bound.envoy + bound.fairlane;
const served = others.filter((status) => status === 200).length;
console.log(`\nmeasured / computed: ${(measured / computed).toFixed(2)}`);
console.log(`the other tenant: ${served} of ${others.length} requests served`);
const still = overloaded.filter((status) => status === 200).length;
console.log(`... with ended answers besides: ${still} of ${overloaded.length}`);

const claims: readonly (readonly [string, boolean])[] = [
  ['measured is no more than computed', measured <= computed],
  ['measured is at least half of computed', measured >= LEAST_PART * computed],
  ['computed is no more than 768 MiB', computed <= MOST],
  ['one exchange too many is refused with 429', refused.open.every((status) => status === 429)],
  ['one body too many is refused with 429', refused.bytes.every((status) => status === 429)],
  ['the other tenant is served', served === others.length && served > 0],
];
for (const [claim, holds] of claims) console.log(`${holds ? 'holds ' : 'FAILS '} ${claim}`);
process.exit(claims.every(([, holds]) => holds) ? 0 : 1);
