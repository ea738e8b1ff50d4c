import { defineConfig } from 'vitest/config';
import { LongestFirst } from './tests/support/longest-first.ts';
import ProgressReporter from './tests/support/progress-reporter.ts';

/** Pure code on all cores: first, since it says most in the shortest time. How long a test takes is no claim here. */
const setupFiles = ['tests/support/property-seed.ts'];
const pure = {
  maxWorkers: 2,
  sequence: { groupOrder: 0 },
  testTimeout: 300_000,
  hookTimeout: 300_000,
  setupFiles,
};

/** They start the program, Envoy, engines or Redis: each file its own, in folders of its own and on ports of its own. */
const real = { testTimeout: 60_000, hookTimeout: 180_000, globalSetup: ['tests/support/program.ts'] };

/** They wait for one another more than they compute, so more of these files run side by side than there are cores. */
const processes = { ...real, maxWorkers: 3, sequence: { groupOrder: 1 } };

/** They measure how long something takes, so they run alone, when all others are done. */
const MEASURED = [
  'tests/envoy/console-time.test.ts',
  'tests/envoy/console-events.test.ts',
  'tests/envoy/keys.test.ts',
  'tests/envoy/made-tenants.test.ts',
  'tests/envoy/made-tenants-stores.test.ts',
  'tests/envoy/metrics.test.ts',
  'tests/hostile/worst-bodies.test.ts',
  'tests/hostile/large-uploads.test.ts',
  'tests/hostile/large-scrape.test.ts',
  'tests/envoy/traces-away.test.ts',
];
const measured = { ...real, maxWorkers: 1, sequence: { groupOrder: 2 } };

export default defineConfig({
  test: {
    // What fails once has failed: another try would only hide how often it does.
    retry: 0,
    reporters: [new ProgressReporter()],
    slowTestThreshold: 5_000,
    sequence: { sequencer: LongestFirst },
    projects: [
      // Without isolation the files of a worker share what they import, which costs more than most of them.
      { test: { name: 'unit', include: ['tests/unit/**/*.test.ts'], isolate: false, ...pure } },
      { test: { name: 'simulation', include: ['tests/simulation/**/*.test.ts'], ...pure } },
      {
        test: { name: 'conformance', include: ['tests/conformance/**/*.test.ts'], setupFiles, ...processes },
      },
      { test: { name: 'envoy', include: ['tests/envoy/**/*.test.ts'], exclude: MEASURED, ...processes } },
      { test: { name: 'hostile', include: ['tests/hostile/**/*.test.ts'], exclude: MEASURED, ...processes } },
      { test: { name: 'measured', include: MEASURED, ...measured } },
    ],
  },
});
