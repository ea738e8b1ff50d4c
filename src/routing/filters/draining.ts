import { type Candidate, DRAINING, type Filter } from '../candidate.ts';

/** It is not being emptied. */
export const takesRequests = ({ flags }: Candidate): boolean => (flags & DRAINING) === 0;

export const draining: Filter = { name: 'draining', passes: takesRequests };
