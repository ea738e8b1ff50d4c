import type { Candidate, Filter, ScoringContext } from '../candidate.ts';
import { matchedTokens } from '../scorers/prefix.ts';

/** Concurrency limit, KV cache and pacing of prompts leave room for the request: whoever owns the endpoint says so. */
export const hasRoom = (candidate: Candidate, context: ScoringContext): boolean =>
  context.queries.room(candidate, Math.floor(matchedTokens(candidate, context)));

export const room: Filter = { name: 'room', passes: hasRoom };
