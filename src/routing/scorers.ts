/**
 * All scorers, by name.
 *
 * To add one:
 * 1. its name and what it is, a line of SCORERS in domain/routing-profiles.ts: so it has a weight in the configuration;
 * 2. a file in scorers/ with a pure function of one endpoint and the request (zone.ts is a short one);
 * 3. a line here; then `npm run docs` for the reference. CONTRIBUTING.md has the tests and documents.
 * Its weight is 0 in every profile until profiles.ts gives it another. What it reads of an endpoint that is not in candidate.ts
 * yet is a field there, which pool/endpoint.ts writes. The choice (choose.ts) calls it from then on; one that
 * is asked for every request may be called there by name later, which is faster.
 */
import type { Scorer } from './candidate.ts';
import { adapter } from './scorers/adapter.ts';
import { kvRoom } from './scorers/kv-room.ts';
import { load } from './scorers/load.ts';
import { prefix } from './scorers/prefix.ts';
import { queue } from './scorers/queue.ts';
import { session } from './scorers/session.ts';
import { slowClients } from './scorers/slow-clients.ts';
import { zone } from './scorers/zone.ts';

export const ALL_SCORERS: readonly Scorer[] = [
  load,
  queue,
  kvRoom,
  prefix,
  session,
  adapter,
  slowClients,
  zone,
];
