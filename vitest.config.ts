import { defineConfig } from 'vitest/config';

/**
 * Real parts on shared cores: these projects start processes, so their files run one after another, and what fails is tried
 * once more: another process may have had the core. The report names what was.
 */
const serial = { fileParallelism: false, retry: 1, testTimeout: 60_000, hookTimeout: 180_000 };

export default defineConfig({
  test: {
    projects: [
      { test: { name: 'unit', include: ['tests/unit/**/*.test.ts'] } },
      { test: { name: 'conformance', include: ['tests/conformance/**/*.test.ts'], ...serial } },
      { test: { name: 'simulation', include: ['tests/simulation/**/*.test.ts'], testTimeout: 60_000 } },
      { test: { name: 'envoy', include: ['tests/envoy/**/*.test.ts'], ...serial } },
      // Never twice: what falls through once has fallen through.
      { test: { name: 'hostile', include: ['tests/hostile/**/*.test.ts'], ...serial, retry: 0 } },
    ],
  },
});
