/** Gives the q-quantile of samples, 0 without any. Sorts them in place. */
export function quantileOf(samples: number[], q: number): number {
  samples.sort((a, b) => a - b);
  return samples[Math.min(samples.length - 1, Math.floor(q * samples.length))] ?? 0;
}
