/**
 * Property tests try the same cases in each run of the tests, so that a red run says something of the change that it was
 * made for. `npm run prove -- properties` tries others: it sets FAIRLANE_TEST_SEED.
 */
import fc from 'fast-check';

const seed = Number(process.env['FAIRLANE_TEST_SEED'] ?? 1);
if (!Number.isInteger(seed)) throw new Error('FAIRLANE_TEST_SEED must be a whole number');

fc.configureGlobal({ seed });
