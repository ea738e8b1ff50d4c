/** Limits that are raised for a time. */
import type { Limits } from '../config/config.ts';
import { type LimitRaise, RAISED } from '../config/limits.ts';
import type { Amount } from '../domain/amount.ts';
import type { Mutable } from '../domain/mutable.ts';

/** Those that are not over. */
const inForce = ({ raises = [] }: Limits, unixMs: number): readonly LimitRaise[] =>
  raises.filter(({ untilMs }) => unixMs < untilMs);

/**
 * The limits as they are at a time: of a limit and of its raises in force the largest. What is not limited stays so.
 *
 * @returns `limits` itself where nothing is raised.
 */
export function limitsAt(limits: Limits, unixMs: number): Limits {
  const own = ownLimitsAt(limits, unixMs);
  const byKey = partsAt(limits.byKey, unixMs);
  const byModel = partsAt(limits.byModel, unixMs);
  if (byKey === limits.byKey && byModel === limits.byModel) return own;
  return { ...own, ...(byKey && { byKey }), ...(byModel && { byModel }) };
}

type Parts = Limits['byKey'];

/** Of keys or of models. */
function partsAt(parts: Parts, unixMs: number): Parts {
  if (parts === undefined) return undefined;
  let raised: Map<string, Limits> | undefined;
  for (const [name, limits] of parts) {
    const now = ownLimitsAt(limits, unixMs);
    if (now === limits) continue;
    raised ??= new Map(parts);
    raised.set(name, now);
  }
  return raised ?? parts;
}

function ownLimitsAt(limits: Limits, unixMs: number): Limits {
  const raises = inForce(limits, unixMs);
  if (raises.length === 0) return limits;
  const raised: Mutable<Limits> = { ...limits };
  for (const key of RAISED) {
    const base = limits[key];
    if (base === undefined) continue;
    const most = Math.max(base, ...raises.map((raise) => raise[key] ?? 0));
    if (Number.isFinite(most)) raised[key] = most;
    else delete raised[key];
  }
  const { budgetPerMonth } = limits;
  if (budgetPerMonth === undefined) return raised;
  const budget = largest(budgetPerMonth, raises);
  if (budget === undefined) delete raised.budgetPerMonth;
  else raised.budgetPerMonth = budget;
  return raised;
}

/** Undefined: unlimited. Of another currency, a raise says nothing. */
function largest(base: Amount, raises: readonly LimitRaise[]): Amount | undefined {
  let most = base;
  for (const { budgetPerMonth } of raises) {
    if (budgetPerMonth === 'unlimited') return undefined;
    if (budgetPerMonth?.currency === base.currency && budgetPerMonth.nano > most.nano) most = budgetPerMonth;
  }
  return most;
}

/** A tenant's limits, and those of its keys and models. */
export function* withThoseOfParts(limits: Limits): Iterable<Limits> {
  yield limits;
  yield* limits.byKey?.values() ?? [];
  yield* limits.byModel?.values() ?? [];
}

/** When the next raise in force is over, in Unix time; undefined: none is in force. */
export function nextEndMs(all: Iterable<Limits>, unixMs: number): number | undefined {
  let next: number | undefined;
  for (const limits of all) {
    for (const { raises = [] } of withThoseOfParts(limits)) {
      for (const { untilMs } of raises) if (unixMs < untilMs) next = Math.min(next ?? untilMs, untilMs);
    }
  }
  return next;
}
