/** Budgets, their warnings, and limits that are raised for a time, as the program uses them. */
import type { Amount } from '../domain/amount.ts';

/** What becomes of requests when the budget is used up. */
export const BUDGET_ENDS = ['refuse', 'warn'] as const;
export type BudgetEnd = (typeof BUDGET_ENDS)[number];

/** Per cent of a month's tokens or budget at which is warned. */
export const DEFAULT_ALERTS: readonly number[] = [80, 100];

/** Limits that are at least so high until then. */
export interface LimitRaise {
  /** Unix time in milliseconds; then it is over. */
  readonly untilMs: number;
  // Infinity: unlimited.
  readonly requestsPerMinute?: number;
  readonly tokensPerMinute?: number;
  readonly tokensPerMonth?: number;
  readonly budgetPerMonth?: Amount | 'unlimited';
}

export const RAISED = ['requestsPerMinute', 'tokensPerMinute', 'tokensPerMonth'] as const;
