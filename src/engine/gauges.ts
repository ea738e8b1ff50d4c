/** What an engine says of itself in its metrics, in the words that all engines have in common. */
import type { EngineKind } from '../domain/engine-kinds.ts';
import type { Gauges } from '../pool/concurrency-limit/concurrency-limit.ts';
import type { EngineDriver, EngineMetrics, LoraLoad, PrefixCache } from './driver.ts';
import { ALL_DRIVERS, DRIVERS } from './drivers.ts';
import { collectSamples, type Sample, type Samples, sumOf } from './metrics-text.ts';

export interface EngineReport {
  readonly kind: EngineKind;
  readonly gauges: Gauges;
  /** Tokens that the KV cache holds, if it says. */
  readonly kvCapacityTokens: number | undefined;
  readonly prefixCache?: PrefixCache;
  readonly loras?: LoraLoad;
  readonly asleep?: boolean;
}

export type GaugesResult =
  | { readonly kind: 'report'; readonly report: EngineReport }
  /** Why nothing can be made of it. */
  | { readonly kind: 'unusable'; readonly detail: string };

const MAX_REQUESTS = 1_000_000;
const MAX_KV_TOKENS = 1e12;

const WANTED: ReadonlySet<string> = new Set(
  ALL_DRIVERS.flatMap(({ metrics: { running, waiting, kvUsage, others } }) => [
    running,
    waiting,
    ...kvUsage,
    ...others,
  ]),
);

const isCount = (value: number): boolean => Number.isInteger(value) && value >= 0 && value <= MAX_REQUESTS;

const unusable = (detail: string): GaugesResult => ({ kind: 'unusable', detail });

/** Without series that others contain. */
function wholesOf(samples: Samples, metrics: EngineMetrics): Samples {
  if (metrics.isPart === undefined) return samples;
  const wholes = new Map<string, readonly Sample[]>();
  for (const [name, list] of samples) {
    const kept = list.filter((sample) => metrics.isPart?.(sample) !== true);
    if (kept.length > 0) wholes.set(name, kept);
  }
  return wholes;
}

function reportOf({ kind, metrics }: EngineDriver, all: Samples): GaugesResult {
  const samples = wholesOf(all, metrics);
  const running = samples.get(metrics.running);
  const waiting = samples.get(metrics.waiting);
  if (running === undefined || waiting === undefined) {
    return unusable(`${running === undefined ? metrics.running : metrics.waiting} is missing`);
  }
  const counts = { running: sumOf(running), waiting: sumOf(waiting) };
  for (const [name, value] of [
    [metrics.running, counts.running],
    [metrics.waiting, counts.waiting],
  ] as const) {
    if (!isCount(value)) return unusable(`${name} is ${value}, no number of requests`);
  }
  const usage = metrics.kvUsage.map((name) => samples.get(name)).find((list) => list !== undefined);
  const kvUsage = usage === undefined ? Number.NaN : Math.max(...usage.map(({ value }) => value));
  const capacity = metrics.kvCapacityTokens?.(samples);
  const prefixCache = metrics.prefixCache?.(samples);
  const loras = metrics.loras?.(samples);
  const asleep = metrics.asleep?.(samples);
  return {
    kind: 'report',
    report: {
      kind,
      gauges: { ...counts, ...(kvUsage >= 0 && kvUsage <= 1 && { kvUsage }) },
      kvCapacityTokens:
        capacity !== undefined && capacity >= 1 && capacity <= MAX_KV_TOKENS ? capacity : undefined,
      ...(prefixCache !== undefined && { prefixCache }),
      ...(loras !== undefined && { loras }),
      ...(asleep !== undefined && { asleep }),
    },
  };
}

const isIn = (samples: Samples, { metrics }: EngineDriver): boolean =>
  samples.has(metrics.running) || samples.has(metrics.waiting);

/** @param expected the engine that it must be; undefined: whichever it is. */
export function readGauges(text: string, expected?: EngineKind): GaugesResult {
  const samples = collectSamples(text, WANTED);
  const found = ALL_DRIVERS.find((driver) => isIn(samples, driver));
  if (expected !== undefined) {
    const driver = DRIVERS[expected];
    if (isIn(samples, driver)) return reportOf(driver, samples);
    return unusable(
      found === undefined
        ? `no metrics of ${driver.title}`
        : `metrics of ${found.title}, not of ${driver.title}`,
    );
  }
  return found === undefined
    ? unusable(`no metrics of a known engine (${ALL_DRIVERS.map(({ title }) => title).join(', ')})`)
    : reportOf(found, samples);
}
