/** What is counted of requests in sums and reports, as columns. In the order in which they stand in tables and in CSV. */
export const COUNTS = [
  'requests',
  'completed',
  'refused',
  'aborted',
  'failed',
  'estimated',
  'prompt_tokens',
  'cached_tokens',
  'completion_tokens',
  'reasoning_tokens',
  'images',
] as const;
