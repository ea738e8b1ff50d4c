/** Fairlane as it runs: its queue, its concurrency limits and its choice, on the virtual clock. */
import { DEFAULT_LANE } from '../../src/config/config.ts';
import { costOf, DEFAULT_COST } from '../../src/domain/cost.ts';
import type { ProfileName } from '../../src/domain/routing-profiles.ts';
import { adaptiveLimit } from '../../src/pool/concurrency-limit/adaptive.ts';
import { createPoolEndpoints } from '../../src/pool/pool-endpoints.ts';
import { createDispatcher } from '../../src/queue/dispatcher.ts';
import type { Release } from '../../src/queue/types.ts';
import { createPromptHasher } from '../../src/routing/prompt-hash.ts';
import { PREDICTED_OUTPUT, requestOf, SEED } from './routers.ts';
import type { MakeRouter } from './simulation.ts';
import type { Ask } from './traces.ts';

const POOL = 'main';
const LIMITS = { weight: 1, maxOutputs: 16, maxQueued: 100_000 };
const FOREVER_MS = 1e9;
const MAX_LIMIT = 4_096;
/** The configuration's defaults. */
const PREFILL_TOKENS = 2_048;
const QUANTUM_TOKENS = 64;

/** @param profileName undefined: the least loaded, as without `routing`. */
export const wholeFairlane =
  (profileName: ProfileName | undefined): MakeRouter =>
  (engines, profile) => {
    const hasher = createPromptHasher(SEED);
    const urls = engines.map((_, i) => `http://engine-${i}`);
    const addresses = engines.map((_, i) => `engine-${i}`);
    const endpoints = createPoolEndpoints((initial) => adaptiveLimit({ initial, most: MAX_LIMIT }));
    endpoints.reconfigure(
      urls.map((url, i) => ({ url, address: addresses[i] ?? '' })),
      {
        concurrencyLimit: 'auto',
        prefillTokens: PREFILL_TOKENS,
        headroom: 'auto',
        ...(profileName !== undefined && { routing: { profile: profileName } }),
      },
    );
    for (const url of urls) {
      endpoints.setCapacity(url, profile.kvBlocks * profile.blockTokens);
      endpoints.setHealthy(url, true, 0);
    }
    const dispatcher = createDispatcher(
      {
        maxWaitMs: FOREVER_MS,
        maxQueued: LIMITS.maxQueued,
        quantumTokens: QUANTUM_TOKENS,
        lanes: new Map([[DEFAULT_LANE.name, DEFAULT_LANE]]),
      },
      () => LIMITS,
    );
    dispatcher.addPool(POOL, endpoints);
    const releases = new Map<Ask, Release>();
    return {
      pick() {
        throw new Error('it queues');
      },
      place(ask, nowMs, go) {
        const { document, scope, promptTokens } = ask;
        const prompt = hasher.hash({ route: 'chat.completions', document, scope, model: 'model' });
        const choice = requestOf(ask, prompt);
        const offer = dispatcher.offer(
          {
            tenant: scope,
            pool: POOL,
            lane: DEFAULT_LANE.name,
            cost: costOf(DEFAULT_COST, promptTokens, 0, PREDICTED_OUTPUT),
            demand: {
              sequences: 1,
              promptTokens,
              totalTokens: promptTokens + PREDICTED_OUTPUT,
              streamed: true,
              ...(profileName !== undefined && { choice }),
            },
            onRelease(release, atMs) {
              releases.set(ask, release);
              go(addresses.indexOf(release.slot.address), atMs);
            },
            onExpire(reason) {
              throw new Error(reason);
            },
          },
          nowMs,
        );
        if (offer.kind === 'refused') throw new Error(offer.reason);
      },
      firstToken({ ask }, nowMs) {
        releases.get(ask)?.firstToken(nowMs);
      },
      ended({ ask }, nowMs) {
        const release = releases.get(ask);
        releases.delete(ask);
        release?.slot.ended({ status: 200 }, nowMs);
        release?.settle(costOf(DEFAULT_COST, ask.promptTokens, 0, ask.outputTokens), nowMs);
        release?.free(nowMs);
      },
      gauges(endpoint, gauges, nowMs) {
        endpoints.gauges(urls[endpoint] ?? '', gauges, nowMs);
        dispatcher.dispatch(nowMs);
      },
      eager: (endpoint, nowMs) => endpoints.list(nowMs)[endpoint]?.isEager === true,
    };
  };
