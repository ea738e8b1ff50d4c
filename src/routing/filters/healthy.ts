import { type Candidate, EJECTED, type Filter, UNHEALTHY } from '../candidate.ts';

/** Its probes succeed, and outlier detection has not ejected it. */
export const isHealthy = ({ flags }: Candidate): boolean => (flags & (UNHEALTHY | EJECTED)) === 0;

export const healthy: Filter = { name: 'healthy', passes: isHealthy };
