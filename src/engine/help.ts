/** What an engine can do for fairness itself. Pure: http-help.ts asks. */

export interface EngineHelp {
  /** The values that say "first" and "later" to this engine; undefined: it takes none. */
  readonly priority: { readonly quiet: number; readonly other: number } | undefined;
  /** It keeps prefix caches apart by salt. */
  readonly cacheSalt: boolean;
}

export const NO_HELP: EngineHelp = { priority: undefined, cacheSalt: false };

/** vLLM: lower first. SGLang: higher first, unless told otherwise, and preempts from a difference of 10 on. */
const LOWER_FIRST = { quiet: 0, other: 10 };
const HIGHER_FIRST = { quiet: 10, other: 0 };

/** vLLM took a request with a priority. Under FCFS it ignores it, and older versions refuse: then it is not sent. */
export const vllmPriority = (status: number): EngineHelp['priority'] =>
  status === 200 ? LOWER_FIRST : undefined;

/** From SGLang's server info. */
export function sglangPriority(info: unknown): EngineHelp['priority'] {
  const settings = info as Readonly<Record<string, unknown>> | null;
  if (settings?.['enable_priority_scheduling'] !== true) return undefined;
  return settings['schedule_low_priority_values_first'] === true ? LOWER_FIRST : HIGHER_FIRST;
}

/** What all endpoints of a pool can do: a request is written before its endpoint is known. */
export function commonHelp(helps: readonly EngineHelp[]): EngineHelp {
  const [first = NO_HELP] = helps;
  const same = helps.every(({ priority }) => priority?.quiet === first.priority?.quiet);
  return {
    priority: same ? first.priority : undefined,
    cacheSalt: helps.length > 0 && helps.every(({ cacheSalt }) => cacheSalt),
  };
}
