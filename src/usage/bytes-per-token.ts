/**
 * Bytes per token, from what engines report: of each tenant and model, with the model's as the prior. Pure arithmetic.
 *
 * A ratio is learned as a weighted mean of logarithms: weights grow with the size of a sample and stop at FULL_BYTES,
 * and what is old fades by the weight of what is new. So many small odd samples do not win, and one huge odd one does
 * not either.
 *
 * The model's ratio is the initial one moved by votes: it is k steps away when at least k tenants are at least k steps
 * away on that side. One tenant, whatever it samples, moves it by one step up and one down at most: by MAX_INFLUENCE
 * together. It is the h-index of the tenants' distances, which one element changes by one.
 */

/** English text under common tokenizers; only until engines have answered. */
const INITIAL_BYTES_PER_TOKEN = 4;
/** Byte-level tokenizers have one a byte; templates add a little. */
const MIN_BYTES_PER_TOKEN = 0.5;
const MAX_BYTES_PER_TOKEN = 16;
/** What one tenant can change of what is predicted for another, as a factor. */
export const MAX_INFLUENCE = 1.1;
/** A sample counts as being at most so many times away from what is known. */
const MAX_SURPRISE = 4;
/** From here on size adds no weight. */
const FULL_BYTES = 4_096;
/** What the prior weighs against a tenant's own samples: a quarter of a thousand bytes. */
const PRIOR_WEIGHT = 1 / 16;
/** A tenant with less behind it has no vote. */
const VOTING_WEIGHT = 1 / 4;
/** Old samples fade: what a weight of one leaves of them. The weight of a row halves with every 34 full samples. */
export const DECAY = 0.98;
/** No row weighs more: what its weight converges to, and a sample. */
export const MAX_WEIGHT = 1 / (1 - DECAY) + 1;

const STEP = Math.log(MAX_INFLUENCE) / 2;
const LOWEST = Math.log(MIN_BYTES_PER_TOKEN);
const HIGHEST = Math.log(MAX_BYTES_PER_TOKEN);
const INITIAL = Math.log(INITIAL_BYTES_PER_TOKEN);
const SURPRISE = Math.log(MAX_SURPRISE);

const within = (least: number, value: number, most: number): number => Math.min(most, Math.max(least, value));

/** Weight × (logarithm of the ratio above the least one), weight: never negative. */
export type RatioSums = readonly [logs: number, weight: number];

/** What a row can be, whoever says it. */
export const isPossibleRatio = ([logs = 0, weight = 0]: readonly number[]): boolean =>
  weight >= 0 && weight <= MAX_WEIGHT && logs >= 0 && logs <= weight * (HIGHEST - LOWEST) * (1 + 1e-9);

/** The logarithm of a tenant's ratio. */
const logOf = ([logs = 0, weight = 0]: readonly number[], prior: number): number =>
  within(LOWEST, (PRIOR_WEIGHT * prior + logs + weight * LOWEST) / (PRIOR_WEIGHT + weight), HIGHEST);

/** @param sums of the tenant's row. @param prior from `createVotes`. */
export const tokensIn = (bytes: number, sums: readonly number[], prior: number): number =>
  bytes / Math.exp(logOf(sums, prior));

/**
 * What a sample adds to a row. Its weight is also by how much older ones fade: in samples, of which one fades them by
 * DECAY.
 */
export function ratioSample(
  bytes: number,
  tokens: number,
  sums: readonly number[],
  prior: number,
): RatioSums {
  const known = logOf(sums, prior);
  const log = within(LOWEST, within(known - SURPRISE, Math.log(bytes / tokens), known + SURPRISE), HIGHEST);
  const weight = Math.min(1, bytes / FULL_BYTES);
  return [weight * (log - LOWEST), weight];
}

export interface RatioVotes {
  /** The logarithm of the model's ratio. */
  prior(model: string): number;
  /** The tenant's row is this now. */
  vote(tenant: string, model: string, sums: readonly number[]): void;
  /** The row is not kept any more. */
  forget(tenant: string, model: string): void;
}

interface Ballot {
  /** Steps from the initial ratio, by tenant. */
  readonly steps: Map<string, number>;
  /** Tenants at each distance. */
  readonly counts: Map<number, number>;
  prior: number;
}

const MOST_STEPS = Math.ceil((HIGHEST - LOWEST) / STEP);

/** The largest k ≤ MOST_STEPS with at least k tenants at least k steps away on a side. */
function stepsTo(side: 1 | -1, { counts }: Ballot): number {
  let further = 0;
  for (let k = MOST_STEPS; k > 0; k -= 1) {
    further += counts.get(side * k) ?? 0;
    if (further >= k) return k;
  }
  return 0;
}

export function createVotes(): RatioVotes {
  const ballots = new Map<string, Ballot>();

  const move = (ballot: Ballot, tenant: string, to: number | undefined): void => {
    const from = ballot.steps.get(tenant);
    if (from === to) return;
    if (from !== undefined) {
      const left = (ballot.counts.get(from) ?? 1) - 1;
      if (left === 0) ballot.counts.delete(from);
      else ballot.counts.set(from, left);
    }
    if (to === undefined) ballot.steps.delete(tenant);
    else {
      ballot.steps.set(tenant, to);
      ballot.counts.set(to, (ballot.counts.get(to) ?? 0) + 1);
    }
    ballot.prior = INITIAL + STEP * (stepsTo(1, ballot) - stepsTo(-1, ballot));
  };

  return {
    prior: (model) => ballots.get(model)?.prior ?? INITIAL,
    vote(tenant, model, sums) {
      const [logs = 0, weight = 0] = sums;
      let ballot = ballots.get(model);
      if (ballot === undefined) {
        ballot = { steps: new Map(), counts: new Map(), prior: INITIAL };
        ballots.set(model, ballot);
      }
      // Its own samples alone: what it got from the others is no opinion of its own.
      const log = weight < VOTING_WEIGHT ? undefined : within(LOWEST, logs / weight + LOWEST, HIGHEST);
      // Towards the initial ratio, so that the side of a distance is its sign.
      move(ballot, tenant, log === undefined ? undefined : Math.trunc((log - INITIAL) / STEP) || 0);
    },
    forget(tenant, model) {
      const ballot = ballots.get(model);
      if (ballot === undefined) return;
      move(ballot, tenant, undefined);
      if (ballot.steps.size === 0) ballots.delete(model);
    },
  };
}
