/** The order of test files: the longest first, so that no core is left with a long one when the others are done. */
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** These, in this order, before all others. */
const LONG = [
  'simulation/canary',
  'simulation/routing',
  'simulation/fairness',
  'simulation/replicas',
  'unit/config/fields',
  'envoy/commands',
  'envoy/survival',
  'envoy/unread',
  'envoy/changes',
  'conformance/redis-topologies',
  'conformance/bench',
  'envoy/control-headers',
  'conformance/limit-store',
  'envoy/memory',
  'hostile/held',
  'hostile/accounts',
  'envoy/mirror',
  'hostile/wire',
  'envoy/choice',
  'envoy/adapters',
  'conformance/redis-failures',
  'hostile/odd-requests',
  'envoy/request-endings',
  'hostile/bodies',
  'hostile/deaths',
  'envoy/failing-engines',
  'envoy/hang-ups',
  'envoy/lifecycle',
  'envoy/readme',
  'conformance/start-failures',
  'conformance/package',
  'envoy/without-a-key',
];

export class LongestFirst extends BaseSequencer {
  override sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ project, moduleId }: TestSpecification): readonly [number, number] => {
      const known = LONG.findIndex((name) => moduleId.endsWith(`/tests/${name}.test.ts`));
      return [project.config.sequence.groupOrder, known === -1 ? LONG.length : known];
    };
    return Promise.resolve(
      files.toSorted((a, b) => {
        const [orderA, placeA] = place(a);
        const [orderB, placeB] = place(b);
        return orderA - orderB || placeA - placeB || (a.moduleId < b.moduleId ? -1 : 1);
      }),
    );
  }
}
