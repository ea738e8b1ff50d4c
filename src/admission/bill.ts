/** What a request cost, and what is charged for it. */
import type { GpuPrice } from '../config/gpu-price.ts';
import { type Money, partOf } from '../domain/money.ts';
import type { PromptUse } from '../usage/gpu-demand.ts';
import type { AnswerReading } from './answer-meter.ts';

export interface Bill {
  /** Unix time of its end, by which it was priced: its record has the same. Absent: no engine had it, or nobody asks. */
  readonly endedMs?: number;
  /** What is charged; absent: nothing has a price, or nothing was used. */
  readonly price?: Money;
  /** Its part of the time in which its endpoint was busy. */
  readonly gpuSeconds?: number;
  /** What those cost; absent: the pool says no price of them. */
  readonly cost?: Money;
}

export const NO_BILL: Bill = {};

const NS_PER_MS = 1e6;
const NS_PER_HOUR = 3_600_000_000_000n;

/** What a request cost by its part of its endpoints' busy time. The time counts in whole nanoseconds. */
export function gpuBill(gpuMs: number, price: GpuPrice | undefined): Bill {
  const gpuSeconds = gpuMs / 1_000;
  if (price === undefined) return { gpuSeconds };
  const { currency, pico } = price.perHour;
  const cost = { currency, pico: partOf(pico, BigInt(Math.round(gpuMs * NS_PER_MS)), NS_PER_HOUR) };
  return { gpuSeconds, cost };
}

/** A prompt as its engine says, as far as it is believed. */
export function promptOf(reading: AnswerReading | undefined): PromptUse | undefined {
  if (reading === undefined || reading.odd.includes('cached-too-large')) return undefined;
  const { source, estimated, usage } = reading;
  return source === 'engine' || (source === 'estimate' && estimated === 'completion') ? usage : undefined;
}
