/**
 * GPU-seconds that Fairlane gives requests, against the truth: what each had of the simulated engine's steps. On the lab's clock,
 * through the real queue, predictions and endpoints.
 */
import type { Length, Request, TenantLoad } from '../../src/loadtest/load.ts';
import { allRequests } from '../../src/loadtest/load.ts';
import { quantileOf } from '../../src/loadtest/outcome.ts';
import { runArm } from '../../src/loadtest/virtual-lab.ts';
import { StepShares } from '../../src/simulator/step-shares.ts';
import { capacityOf, HOP_MS, profileOf } from '../fairness/loads.ts';

const lengths = (median: number, sigma: number, max: number): Length => ({
  kind: 'lognormal',
  median,
  sigma,
  max,
});
const CHAT = [lengths(200, 0.8, 2_000), lengths(120, 0.6, 600)] as const;
const LONG = [lengths(4_000, 0.5, 16_000), lengths(120, 0.6, 600)] as const;
/** Most of the prompt is cached. */
const AGENTS = [lengths(2_500, 0.2, 8_000), lengths(120, 0.6, 600)] as const;
const SHARED_PREFIX = 2_000;
const BATCH = [lengths(600, 0.8, 4_000), lengths(400, 0.5, 1_500)] as const;

/** Kinds of requests, and the part of the engine that each asks for. */
const MIXES = {
  'short chat': [[1, CHAT]],
  'long prompts': [[1, LONG]],
  batch: [[1, BATCH]],
  'one long beginning': [[1, AGENTS]],
  'all three': [
    [0.5, CHAT],
    [0.2, LONG],
    [0.3, BATCH],
  ],
} as const;

const MAX_SEQUENCES = 64;
const DURATION_MS = 100_000;
/** What steps cost has been learned by then. */
const WARM_MS = 15_000;

export interface Case {
  readonly profile: '8b' | '70b';
  readonly mix: keyof typeof MIXES;
  /** Part of what the engine can do. */
  readonly load: number;
  /** Part of the answers that come in one piece, without a first token to see. */
  readonly inOnePiece: number;
  /** Fairlanes before the one engine. */
  readonly replicas: 1 | 2;
}

export const CASES: readonly Case[] = (['8b', '70b'] as const).flatMap((profile) => {
  const one = { profile, inOnePiece: 0, replicas: 1 } as const;
  const mixes = Object.keys(MIXES) as (keyof typeof MIXES)[];
  return [
    ...mixes.flatMap((mix) => [0.3, 0.7, 0.95].map((load) => ({ ...one, mix, load }))),
    { ...one, mix: 'all three', load: 0.7, inOnePiece: 0.5 },
    { ...one, mix: 'all three', load: 0.7, replicas: 2 },
  ] as const;
});

export interface Accuracy {
  readonly requests: number;
  /** Of the error of each request, relative to the truth. */
  readonly median: number;
  readonly p95: number;
  /** GPU-seconds of all requests ÷ the duration of all steps. */
  readonly sum: number;
}

/** True for that part of the requests, whatever their order. */
const isOfPart = (part: number, { id }: Request): boolean => {
  let hash = 7;
  for (const character of id) hash = (Math.imul(hash, 31) + character.charCodeAt(0)) >>> 0;
  return (hash % 100) / 100 < part;
};

export function accuracyOf({ profile: name, mix, load, inOnePiece, replicas }: Case, seed = 5): Accuracy {
  const profile = profileOf(name, MAX_SEQUENCES);
  const tenants = MIXES[mix].map(([part, [prompt, output]], i): TenantLoad => {
    const arrivals = { kind: 'capacity', times: 1 } as const;
    const tenant = {
      name: `tenant-${i}`,
      weight: 1,
      quiet: false,
      sharedPrefix: mix === 'one long beginning' ? SHARED_PREFIX : 0,
      saysLength: false,
    };
    const perSecond = load * part * capacityOf(profile, [{ ...tenant, arrivals, prompt, output }]);
    return { ...tenant, arrivals: { kind: 'poisson', perSecond }, prompt, output };
  });
  const truth = new StepShares(profile);
  const outcome = runArm(
    {
      kind: 'fairlane',
      fairlane: {
        inOnePiece: (request) => isOfPart(inOnePiece, request),
        ...(replicas > 1 && {
          replicas: { count: replicas, of: ({ id }: Request) => Number(id.replace(/.*-/, '')) % replicas },
        }),
      },
    },
    {
      profile,
      tenants,
      requests: allRequests(tenants, { seed, durationMs: DURATION_MS, capacityPerSecond: 1 }),
      durationMs: DURATION_MS,
      hopMs: HOP_MS,
      observer: truth,
    },
  );
  let seconds = 0;
  const errors: number[] = [];
  for (const { id = '', atMs, gpuSeconds } of outcome.requests) {
    if (gpuSeconds === undefined) continue;
    seconds += gpuSeconds;
    if (atMs >= WARM_MS) errors.push(Math.abs((gpuSeconds * 1_000) / truth.of(id) - 1));
  }
  return {
    requests: errors.length,
    median: quantileOf(errors, 0.5) ?? Number.NaN,
    p95: quantileOf(errors, 0.95) ?? Number.NaN,
    sum: (seconds * 1_000) / truth.busyMs,
  };
}
