/** What an engine can do for fairness itself. Pure: http-capabilities.ts asks. */
import type { PriorityValues } from './driver.ts';

export interface EngineCapabilities {
  /** The values that say "first" and "later" to this engine; undefined: it takes none. */
  readonly priority: PriorityValues | undefined;
  /** It keeps prefix caches apart by salt. */
  readonly cacheSalt: boolean;
}

export const NO_CAPABILITIES: EngineCapabilities = { priority: undefined, cacheSalt: false };

/** What all endpoints of a pool can do: a request is written before its endpoint is known. */
export function commonCapabilities(capabilities: readonly EngineCapabilities[]): EngineCapabilities {
  const [first = NO_CAPABILITIES] = capabilities;
  const same = capabilities.every(
    ({ priority }) => priority?.belowFairShare === first.priority?.belowFairShare,
  );
  return {
    priority: same ? first.priority : undefined,
    cacheSalt: capabilities.length > 0 && capabilities.every(({ cacheSalt }) => cacheSalt),
  };
}
