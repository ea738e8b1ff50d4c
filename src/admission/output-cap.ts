/** What numbers below one mean in place of an output cap, to the engines of a pool. */
import type { EngineKind } from '../domain/engine-kinds.ts';
import type { EngineRoute } from '../domain/routes.ts';
import type { BelowOne } from '../engine/driver.ts';
import { DRIVERS } from '../engine/drivers.ts';

/** A cap of nothing: some engines give one token all the same. */
export const NOTHING_TOKENS = 1;

/**
 * Several names may hold one each, and which of them counts differs between engines: the one that may take most is taken.
 *
 * @param kind undefined: not known; then each may mean that there is no cap.
 */
export function meaningOfCap(
  values: readonly number[],
  route: EngineRoute,
  kind: EngineKind | undefined,
): BelowOne {
  if (kind === undefined) return 'unlimited';
  const { outputCap } = DRIVERS[kind];
  const meanings = values.map((value) => outputCap.belowOne(value, route));
  if (meanings.includes('unlimited')) return 'unlimited';
  // An engine that refuses one may not read it.
  return meanings.includes('nothing') ? 'nothing' : 'refused';
}
