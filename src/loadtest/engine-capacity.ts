/** What an engine can do: found by trying. */
import { createEngine } from '../simulator/engine.ts';
import type { EngineProfile } from '../simulator/profile.ts';

/** Requests a second of these kinds that the engine completes while it always has more waiting. */
export function capacityPerSecond(
  profile: EngineProfile,
  requests: readonly { readonly promptTokens: number; readonly outputTokens: number }[],
): number {
  const engine = createEngine(profile);
  let added = 0;
  let done = 0;
  let nowMs = 0;
  let warmMs = 0;
  let warmDone = 0;
  while (added < requests.length) {
    while (engine.gauges().waiting < 4 && added < requests.length) {
      const request = requests[added];
      if (request !== undefined) engine.add({ id: String(added), prefixHashes: [], ...request });
      added += 1;
    }
    const plan = engine.planStep();
    if (plan === undefined) break;
    nowMs += plan.durationMs;
    done += engine.finishStep().filter(({ last }) => last).length;
    if (warmMs === 0 && added > requests.length / 4) {
      warmMs = nowMs;
      warmDone = done;
    }
  }
  return ((done - warmDone) * 1_000) / (nowMs - warmMs);
}
