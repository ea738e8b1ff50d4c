import { PerformanceObserver } from 'node:perf_hooks';

/** Of this process, since it was last asked. */
export interface Used {
  /** CPU time so far, in µs. */
  readonly us: number;
  /** Sent to Redis so far. */
  readonly commands: number;
  /** The longest time that nothing was served because memory was cleared up, in ms. */
  readonly longestGcMs: number;
}

/** Tells the parent what this process used when it asks. */
export function cpuWhenAsked(commands: () => number = () => 0): void {
  let longestGcMs = 0;
  new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) longestGcMs = Math.max(longestGcMs, duration);
  }).observe({ entryTypes: ['gc'] });
  process.on('message', (message) => {
    if (message !== 'cpu') return;
    const { user, system } = process.cpuUsage();
    const used: Used = { us: user + system, commands: commands(), longestGcMs };
    longestGcMs = 0;
    process.send?.({ kind: 'cpu', ...used });
  });
  process.on('disconnect', () => process.exit(0));
}
