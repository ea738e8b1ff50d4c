/** How full a pool is, 0 to 1: docs/glossary.md has the definition. The same number for people and for what adds engines. */

export interface Fullness {
  /** Sequences in flight at endpoints that serve, and how many those may have. */
  readonly sequences: number;
  readonly concurrencyLimit: number;
  /** Requests in the pool's queue that wait for a slot. */
  readonly waiting: number;
}

/**
 * Sequences ÷ limit, at most 1; 1 where anybody waits for a slot, or nothing serves: none is free then. Who waits because its tenant
 * has as many in flight as it may would go no sooner with more engines. A replica that has no requests for a pool has no part of its
 * limit: its limit of 0 is then no shortage.
 *
 * @param serves whether any endpoint does.
 */
export function saturationOf({ sequences, concurrencyLimit, waiting }: Fullness, serves: boolean): number {
  if (waiting > 0 || !serves || Number.isNaN(concurrencyLimit)) return 1;
  if (concurrencyLimit <= 0) return sequences > 0 ? 1 : 0;
  return Math.min(1, Math.max(0, sequences / concurrencyLimit));
}

type CountedEndpoint = Omit<Fullness, 'waiting'> & { readonly serving: boolean };

/** Of what serves among a pool's endpoints. @param waiting requests in the pool's queue, as far as they count. */
export function fullnessOf(endpoints: Iterable<CountedEndpoint>, waiting: number): Fullness {
  let [sequences, concurrencyLimit] = [0, 0];
  for (const one of endpoints) {
    if (!one.serving) continue;
    sequences += one.sequences;
    concurrencyLimit += one.concurrencyLimit;
  }
  return { sequences, concurrencyLimit, waiting };
}

/** That of a pool with these endpoints. @param waiting requests in its queue that wait for a slot. */
export const saturationOfPool = (endpoints: readonly CountedEndpoint[], waiting: number): number =>
  saturationOf(
    fullnessOf(endpoints, waiting),
    endpoints.some(({ serving }) => serving),
  );
