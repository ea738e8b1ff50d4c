import type { Asked, Candidate, Filter } from '../candidate.ts';

/** Window, KV cache and pacing of prompts leave room for the request: whoever owns the endpoint says so. */
export const hasRoom = (candidate: Candidate, { asks }: Asked): boolean => asks.room(candidate);

export const room: Filter = { name: 'room', passes: hasRoom };
