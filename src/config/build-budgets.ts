/** Budgets and raised limits from a configuration that has been checked. */
import type { Limits } from './config.ts';
import { type LimitRaise, RAISED } from './limits.ts';
import type { WrittenConfig } from './schema/schema.ts';

type WrittenLimits = WrittenConfig['tiers'][string];
type WrittenRaise = NonNullable<WrittenLimits['raises']>[number];

/** @param written a tenant's own limits over its tier's. */
export function budgetLimitsOf({
  budgetPerMonth,
  onBudgetSpent,
  budgetAlerts,
  raises,
}: WrittenLimits): Partial<Limits> {
  return {
    ...(typeof budgetPerMonth === 'object' && { budgetPerMonth }),
    ...(onBudgetSpent !== undefined && { onBudgetSpent }),
    ...(budgetAlerts !== undefined && { budgetAlerts: [...new Set(budgetAlerts)].sort((a, b) => a - b) }),
    ...(raises !== undefined && { raises: raises.map(raiseOf) }),
  };
}

/** As high as it goes. */
const UNLIMITED = Number.POSITIVE_INFINITY;

function raiseOf({ until, budgetPerMonth, ...limits }: WrittenRaise): LimitRaise {
  const raised = RAISED.flatMap((key) => {
    const value = limits[key];
    return value === undefined ? [] : [[key, value === 'unlimited' ? UNLIMITED : value] as const];
  });
  return {
    untilMs: until,
    ...Object.fromEntries(raised),
    ...(budgetPerMonth !== undefined && { budgetPerMonth }),
  };
}
