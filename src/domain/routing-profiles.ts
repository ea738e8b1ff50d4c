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

/** What each score is, as the configuration's reference says it. `routing/scorers.ts` has what to do for another one. */
export const SCORERS = {
  load: 'The free part of the concurrency limit.',
  queue: 'How few prompt tokens have to be computed first.',
  kvRoom: 'The part of the KV cache that is left when all has grown to what is predicted.',
  prefix: 'Prompt tokens that the endpoint is thought to have cached.',
  session: 'It served the session’s latest request.',
  adapter: 'How soon a LoRA adapter can serve there.',
  slowClients: 'How few slow clients it has; to a slow client, how many.',
  zone: 'It is in `service.zone`.',
} as const;
export type ScorerName = keyof typeof SCORERS;

/** How much each score counts. At least 0. */
export type Weights = Readonly<Record<ScorerName, number>>;
