/**
 * Endpoints that are being emptied: no new requests, those in flight end as usual, and somebody is told when the last one has.
 *
 * The configuration and a command can each ask for it, and each can take back only its own. An endpoint takes requests again
 * when nobody wants it drained. Draining the last one of a pool is allowed: who asks is told.
 */
type DrainSource = 'config' | 'command';

interface DrainState {
  readonly url: string;
  readonly by: readonly DrainSource[];
  readonly sinceMs: number;
  /** Undefined while it still has requests. */
  readonly emptyAtMs: number | undefined;
}

export interface Drains {
  /** The pool's endpoints: those that are gone are forgotten. */
  reconfigure(urls: readonly string[], drained: ReadonlySet<string>, nowMs: number): void;
  /** By a command. `last`: the pool has no other that takes requests. */
  drain(
    url: string,
    nowMs: number,
  ): { readonly kind: 'draining'; readonly last: boolean } | { readonly kind: 'unknown' };
  /** Takes the command back. `still` when the configuration wants it drained too. */
  undo(url: string): { readonly kind: 'undone' } | { readonly kind: 'still' } | { readonly kind: 'unknown' };
  takesRequests(url: string): boolean;
  /**
   * What it has in flight now; asked when a request ended, and at times.
   *
   * @returns the endpoints that have just become empty, each once for each drain.
   */
  sweep(inFlightOf: (url: string) => number, nowMs: number): readonly DrainState[];
  list(): readonly DrainState[];
}

interface Draining {
  readonly by: Set<DrainSource>;
  readonly sinceMs: number;
  emptyAtMs: number | undefined;
}

export function createDrains(): Drains {
  let urls: readonly string[] = [];
  const draining = new Map<string, Draining>();

  const add = (url: string, source: DrainSource, nowMs: number): void => {
    const known = draining.get(url);
    if (known === undefined)
      draining.set(url, { by: new Set([source]), sinceMs: nowMs, emptyAtMs: undefined });
    else known.by.add(source);
  };
  const remove = (url: string, source: DrainSource): void => {
    const known = draining.get(url);
    if (known?.by.delete(source) === true && known.by.size === 0) draining.delete(url);
  };
  const stateOf = (url: string, { by, sinceMs, emptyAtMs }: Draining): DrainState => ({
    url,
    by: [...by],
    sinceMs,
    emptyAtMs,
  });

  return {
    reconfigure(next, drained, nowMs) {
      urls = next;
      for (const url of draining.keys()) if (!next.includes(url)) draining.delete(url);
      for (const url of next) {
        if (drained.has(url)) add(url, 'config', nowMs);
        else remove(url, 'config');
      }
    },
    drain(url, nowMs) {
      if (!urls.includes(url)) return { kind: 'unknown' };
      add(url, 'command', nowMs);
      return { kind: 'draining', last: urls.every((other) => draining.has(other)) };
    },
    undo(url) {
      if (!urls.includes(url)) return { kind: 'unknown' };
      remove(url, 'command');
      return draining.has(url) ? { kind: 'still' } : { kind: 'undone' };
    },
    takesRequests: (url) => !draining.has(url),
    sweep(inFlightOf, nowMs) {
      const emptied: DrainState[] = [];
      for (const [url, state] of draining) {
        const isEmpty = inFlightOf(url) === 0;
        // A request that was already on its way, or was retried there, can still come.
        if (!isEmpty) state.emptyAtMs = undefined;
        else if (state.emptyAtMs === undefined) {
          state.emptyAtMs = nowMs;
          emptied.push(stateOf(url, state));
        }
      }
      return emptied;
    },
    list: () => [...draining].map(([url, state]) => stateOf(url, state)),
  };
}
