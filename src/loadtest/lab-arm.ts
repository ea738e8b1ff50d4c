/** An arm of a scenario in the virtual lab. */
import type { ArmName } from './arms.ts';
import { type Measured, SATURATED_FROM } from './measured.ts';
import type { Scenario } from './scenario.ts';
import type { Schedule } from './schedule.ts';
import { runArm } from './virtual-lab.ts';

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
    saturated: engine === undefined ? 'unknown' : engine.backlogged >= SATURATED_FROM ? 'yes' : 'no',
  };
}
