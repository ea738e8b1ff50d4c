/** What the time of a pool's endpoints costs. */
import type { Money } from '../domain/money.ts';

export interface GpuPrice {
  readonly perHour: Money;
  /** What that hour is of: one endpoint, with all of its GPUs. */
  readonly per: 'endpoint';
}
