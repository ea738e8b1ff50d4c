import type { Candidate, Filter, ScoringContext } from '../candidate.ts';

/**
 * The adapter is loaded there, or the endpoint takes adapters. That all its places may be busy does not exclude it: who waits
 * longest for a place gets the next one (lora/placement.ts), and it can only wait where it is a candidate.
 */
export const takesAdapter = (candidate: Candidate, { request }: ScoringContext): boolean =>
  request.adapter === undefined || candidate.adaptersMax > 0 || candidate.adapters.has(request.adapter);

export const adapter: Filter = { name: 'adapter', passes: takesAdapter };
