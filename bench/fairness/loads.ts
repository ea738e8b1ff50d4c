/** The traffic of the fairness bench. Chosen once, from what chats are like; no figure depends on a round number in it. */

import { capacityPerSecond } from '../../src/loadtest/engine-capacity.ts';
import { createRandom, drawLength, type Length, type TenantLoad } from '../../src/loadtest/load.ts';
import { type EngineProfile, parseProfile } from '../../src/simulator/profile.ts';

const CHAT_PROMPT: Length = { kind: 'lognormal', median: 200, sigma: 0.8, max: 2_000 };
const CHAT_OUTPUT: Length = { kind: 'lognormal', median: 120, sigma: 0.6, max: 600 };
const QUIET_OUTPUT: Length = { kind: 'lognormal', median: 60, sigma: 0.6, max: 300 };
const LONG_PROMPT: Length = { kind: 'lognormal', median: 4_000, sigma: 0.5, max: 16_000 };

/** The flooder offers so many times what the engine can do. */
const OVERLOAD = 1.5;
/** The request bucket holds the flooder at this part of it. */
export const BUCKET_PART = 0.8;
/** One way between Fairlane, or a client, and the engine: loopback and an HTTP server. */
export const HOP_MS = 0.5;

const quiet = (name: string): TenantLoad => ({
  name,
  weight: 1,
  quiet: true,
  arrivals: { kind: 'poisson', perSecond: 1 },
  prompt: CHAT_PROMPT,
  output: QUIET_OUTPUT,
  sharedPrefix: 0,
  saysLength: false,
});

export function noisyNeighbour(quietTenants: number, flood: 'chat' | 'long-prompts'): readonly TenantLoad[] {
  return [
    ...Array.from({ length: quietTenants }, (_, i) => quiet(`quiet-${i + 1}`)),
    {
      name: 'noisy',
      weight: 1,
      quiet: false,
      arrivals: { kind: 'capacity', times: OVERLOAD },
      prompt: flood === 'chat' ? CHAT_PROMPT : LONG_PROMPT,
      output: CHAT_OUTPUT,
      sharedPrefix: 0,
      saysLength: false,
    },
  ];
}

/** Enough that no tenant's queue runs empty, though their requests differ in what they cost the engine. */
const BACKLOG = 5;

/** `count` tenants, each always with requests waiting, with prompts and outputs as different as lanes are. */
export function manyBacklogged(profile: EngineProfile, count: number): readonly TenantLoad[] {
  return Array.from({ length: count }, (_, i) => {
    const load: TenantLoad = {
      name: `tenant-${i + 1}`,
      weight: 1,
      quiet: false,
      arrivals: { kind: 'capacity', times: BACKLOG / count },
      prompt: { kind: 'lognormal', median: 50 * 2 ** (i % 5), sigma: 0.6, max: 2_000 },
      output: { kind: 'lognormal', median: 40 * 2 ** (i % 3), sigma: 0.6, max: 600 },
      sharedPrefix: 0,
      saysLength: false,
    };
    const perSecond = (BACKLOG / count) * capacityOf(profile, [load]);
    return { ...load, arrivals: { kind: 'poisson', perSecond } };
  });
}

export const profileOf = (name: string, maxSequences: number): EngineProfile =>
  parseProfile(name, { maxSequences });

const CAPACITY_SAMPLE = 3_000;

/** Requests a second of the loads that offer a part of the capacity. */
export function capacityOf(profile: EngineProfile, tenants: readonly TenantLoad[]): number {
  const random = createRandom(7);
  const flood = tenants.filter(({ arrivals }) => arrivals.kind === 'capacity');
  const sample = Array.from({ length: CAPACITY_SAMPLE }, (_, i) => {
    const load = flood[i % flood.length];
    if (load === undefined) throw new Error('nobody offers a part of the capacity');
    return {
      promptTokens: drawLength(load.prompt, random),
      outputTokens: drawLength(load.output, random),
    };
  });
  return capacityPerSecond(profile, sample);
}
