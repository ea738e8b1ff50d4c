/**
 * What is asked of an engine, by whom and when. The same seed gives the same requests, in every arm of a
 * comparison.
 */

/** A number of tokens. */
export type Length =
  | { readonly kind: 'fixed'; readonly tokens: number }
  | { readonly kind: 'uniform'; readonly from: number; readonly to: number }
  /** Log-normal: half are shorter than the median. */
  | { readonly kind: 'lognormal'; readonly median: number; readonly sigma: number; readonly max: number };

export type Arrivals =
  | { readonly kind: 'poisson'; readonly perSecond: number }
  /** Poisson, at so many times what the engine can do with these requests. */
  | { readonly kind: 'capacity'; readonly times: number }
  /** Milliseconds from the start. */
  | { readonly kind: 'trace'; readonly atMs: readonly number[] };

export interface TenantLoad {
  readonly name: string;
  readonly weight: number;
  /**
   * A quiet tenant asks for less than its fair share: its latencies are what a scenario is about. The floor
   * serves it first.
   */
  readonly quiet: boolean;
  readonly arrivals: Arrivals;
  readonly prompt: Length;
  readonly output: Length;
  /** Leading prompt tokens that all its requests share. */
  readonly sharedPrefix: number;
  /** Resolved API key, for a target that wants one. */
  readonly key?: string;
  /** Requests tell the engine their output length as `max_tokens`. Otherwise it is unknown before the end. */
  readonly saysLength: boolean;
  readonly lane?: string;
}

export interface Request {
  readonly id: string;
  readonly tenant: string;
  readonly atMs: number;
  readonly promptTokens: number;
  readonly outputTokens: number;
}

/** mulberry32: 32 bits of state are enough for arrival times, and the seed is readable. */
export function createRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** Box and Muller 1958. */
const normal = (random: () => number): number =>
  Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());

export function drawLength(length: Length, random: () => number): number {
  switch (length.kind) {
    case 'fixed':
      return length.tokens;
    case 'uniform':
      return length.from + Math.floor(random() * (length.to - length.from + 1));
    case 'lognormal':
      return Math.min(
        length.max,
        Math.max(1, Math.round(length.median * Math.exp(length.sigma * normal(random)))),
      );
  }
}

/** A seed of its own for every tenant: one more tenant changes nobody else's requests. */
function seedOf(seed: number, tenant: string): number {
  let hash = 2_166_136_261 ^ seed;
  for (let i = 0; i < tenant.length; i += 1) hash = Math.imul(hash ^ tenant.charCodeAt(i), 16_777_619);
  return hash >>> 0;
}

/** @param capacityPerSecond requests a second that the engine can do, for arrivals by capacity. */
function requestsOf(
  tenant: TenantLoad,
  { seed, durationMs, capacityPerSecond }: { seed: number; durationMs: number; capacityPerSecond: number },
): readonly Request[] {
  const random = createRandom(seedOf(seed, tenant.name));
  const requests: Request[] = [];
  const add = (atMs: number): void => {
    requests.push({
      id: `${tenant.name}-${requests.length}`,
      tenant: tenant.name,
      atMs,
      promptTokens: drawLength(tenant.prompt, random),
      outputTokens: drawLength(tenant.output, random),
    });
  };
  if (tenant.arrivals.kind === 'trace') {
    for (const atMs of tenant.arrivals.atMs) if (atMs < durationMs) add(atMs);
    return requests;
  }
  const perMs =
    (tenant.arrivals.kind === 'poisson'
      ? tenant.arrivals.perSecond
      : tenant.arrivals.times * capacityPerSecond) / 1_000;
  let atMs = -Math.log(1 - random()) / perMs;
  while (atMs < durationMs) {
    add(atMs);
    atMs -= Math.log(1 - random()) / perMs;
  }
  return requests;
}

/** All tenants' requests in the order of their arrival. */
export const allRequests = (
  tenants: readonly TenantLoad[],
  options: { seed: number; durationMs: number; capacityPerSecond: number },
): readonly Request[] =>
  tenants.flatMap((tenant) => requestsOf(tenant, options)).sort((a, b) => a.atMs - b.atMs);
