/** What was measured of an arm, and how far it can be believed. */
import { type ArmOutcome, quantileOf } from './outcome.ts';

const LATE_MS = 20;
/** Part of the time in which work waited, from which on the engine counts as saturated. */
export const SATURATED_FROM = 0.5;

/** Did work wait for the engine at least half of the time? */
export type Saturation = 'yes' | 'no' | 'unknown';

/** @param waiting what scrapes of an engine said about requests that wait in it. */
export function saturationOf(waiting: readonly number[]): Saturation {
  if (waiting.length === 0) return 'unknown';
  return waiting.filter((count) => count > 0).length >= SATURATED_FROM * waiting.length ? 'yes' : 'no';
}

export interface Measured {
  readonly outcome: ArmOutcome;
  readonly saturated: Saturation;
}

/** @param lateMs of each request that was sent: by how much. */
export function lateness(lateMs: readonly number[]): readonly string[] {
  const p99 = quantileOf(lateMs, 0.99) ?? 0;
  if (p99 <= LATE_MS) return [];
  return [
    `The generator was late: ${Math.round(p99)} ms at p99 on sending. Latencies are too long by as much; lower the load or free the machine.`,
  ];
}
