import type { Candidate, Scorer, ScoringContext } from '../candidate.ts';

const LOADING = 0.75;
const FREE = 0.5;
const REPLACEABLE = 0.25;

/**
 * How soon the adapter can serve: loaded, being loaded, a place is free, one can be made free, all are busy. The order is
 * that of the LoRA affinity scorer of the Gateway API Inference Extension, with loading apart from free.
 */
export const scoreAdapter = (candidate: Candidate, { request }: ScoringContext): number => {
  const name = request.adapter;
  if (name === undefined || candidate.adapters.has(name)) return 1;
  if (candidate.adaptersLoading.has(name)) return LOADING;
  if (candidate.adapters.size + candidate.adaptersLoading.size < candidate.adaptersMax) return FREE;
  return candidate.adaptersIdle > 0 ? REPLACEABLE : 0;
};

export const adapter: Scorer = {
  name: 'adapter',
  remembers: true,
  applies: ({ request }) => request.adapter !== undefined,
  score: scoreAdapter,
};
