/** What an engine can do for fairness itself. Pure: http-help.ts asks. */
import type { PriorityValues } from './driver.ts';

export interface EngineHelp {
  /** The values that say "first" and "later" to this engine; undefined: it takes none. */
  readonly priority: PriorityValues | undefined;
  /** It keeps prefix caches apart by salt. */
  readonly cacheSalt: boolean;
}

export const NO_HELP: EngineHelp = { priority: undefined, cacheSalt: false };

/** What all endpoints of a pool can do: a request is written before its endpoint is known. */
export function commonHelp(helps: readonly EngineHelp[]): EngineHelp {
  const [first = NO_HELP] = helps;
  const same = helps.every(({ priority }) => priority?.quiet === first.priority?.quiet);
  return {
    priority: same ? first.priority : undefined,
    cacheSalt: helps.length > 0 && helps.every(({ cacheSalt }) => cacheSalt),
  };
}
