/** What a request cost, and what is charged for it. */
import type { Money } from '../domain/money.ts';

export interface Bill {
  /** What is charged; absent: nothing has a price, or nothing was used. */
  readonly price?: Money;
  /** Its part of the time in which its endpoint was busy. */
  readonly gpuSeconds?: number;
  /** What those cost; absent: the pool says no price of them. */
  readonly cost?: Money;
}

export const NO_BILL: Bill = {};
