/** What pools are good for: named weights and rules. */
import {
  isolatesSlowClients,
  type ProfileName,
  SCORERS,
  type ScorerName,
  type Weights,
} from '../domain/routing-profiles.ts';
import type { ChoiceRequest } from './candidate.ts';

/** What a request is to a class-aware pool. */
export type RequestClass = 'slow' | 'large' | 'interactive' | 'other';

export interface Profile {
  readonly name: ProfileName;
  readonly weights: Weights;
  /** Slow clients and others have endpoints of their own, where any is marked for it. */
  readonly isolate: boolean;
  /** Weights for classes that have others than the rest. */
  readonly byClass: Readonly<Partial<Record<RequestClass, Weights>>>;
  /** A request of so many tokens, prompt and predicted output, is large. */
  readonly largeTokens: number;
}

/** Of a pool's configuration. */
export interface RoutingConfig {
  readonly profile: ProfileName;
  /** Replace the profile's. For a class-aware pool: those of every class. */
  readonly weights?: Partial<Weights>;
  readonly largeTokens?: number;
}

const LARGE_TOKENS = 8_192;

const NO_WEIGHTS = Object.fromEntries(Object.keys(SCORERS).map((name) => [name, 0])) as Record<
  ScorerName,
  number
>;

/** One token to compute is one token, in a cache or in a queue; all else gives way to it or breaks ties. */
const BALANCED: Weights = {
  ...NO_WEIGHTS,
  load: 1,
  queue: 1,
  kvRoom: 0.5,
  prefix: 3,
  session: 0.25,
  adapter: 0.5,
  slowClients: 0.25,
  zone: 0.1,
};
/** Whoever needs much memory goes where most is left, before it runs short and preempts. */
const LARGE: Weights = { ...BALANCED, load: 0.5, kvRoom: 3 };
/** Short prompts: what runs and waits decides, hardly what is cached. */
const INTERACTIVE: Weights = { ...BALANCED, load: 2, queue: 3, prefix: 0.5, session: 0.1 };
const PREFIX: Weights = { ...BALANCED, load: 0.5, prefix: 6, session: 0.5 };
const SLOW: Weights = { ...BALANCED, slowClients: 3 };

const PROFILES: Readonly<Record<ProfileName, Omit<Profile, 'name' | 'largeTokens' | 'isolate'>>> = {
  balanced: { weights: BALANCED, byClass: {} },
  'large-tokens': { weights: LARGE, byClass: {} },
  interactive: { weights: INTERACTIVE, byClass: {} },
  'prefix-cache': { weights: PREFIX, byClass: {} },
  'slow-client-isolation': { weights: SLOW, byClass: {} },
  'class-aware': {
    weights: BALANCED,
    byClass: { slow: SLOW, large: LARGE, interactive: INTERACTIVE },
  },
};

export function resolveProfile({ profile, weights, largeTokens }: RoutingConfig): Profile {
  const base = PROFILES[profile];
  const byClass: Partial<Record<RequestClass, Weights>> = {};
  for (const [name, own] of Object.entries(base.byClass)) {
    byClass[name as RequestClass] = { ...own, ...weights };
  }
  return {
    name: profile,
    weights: { ...base.weights, ...weights },
    isolate: isolatesSlowClients(profile),
    byClass,
    largeTokens: largeTokens ?? LARGE_TOKENS,
  };
}

/** Slow clients first: they are slow with large requests too. What streams is waited for by somebody. */
function classOf(request: ChoiceRequest, largeTokens: number): RequestClass {
  if (request.slow) return 'slow';
  if (request.totalTokens >= largeTokens) return 'large';
  return request.stream ? 'interactive' : 'other';
}

export const weightsFor = ({ weights, byClass, largeTokens }: Profile, request: ChoiceRequest): Weights =>
  byClass[classOf(request, largeTokens)] ?? weights;
