/** What a pool's `routing` may be called, and what its weights may weigh: the words that configuration and routing share. */
export const PROFILE_NAMES = [
  'balanced',
  'large-tokens',
  'interactive',
  'prefix-cache',
  'slow-client-isolation',
  'class-aware',
] as const;
export type ProfileName = (typeof PROFILE_NAMES)[number];

/** Whether slow clients and others have endpoints of their own, where any is marked for it. */
export const isolatesSlowClients = (profile: ProfileName): boolean =>
  profile === 'slow-client-isolation' || profile === 'class-aware';

export type ScorerName =
  | 'load'
  | 'queue'
  | 'kvRoom'
  | 'prefix'
  | 'session'
  | 'adapter'
  | 'slowClients'
  | 'zone';

/** How much each score counts. At least 0. */
export type Weights = Readonly<Record<ScorerName, number>>;
