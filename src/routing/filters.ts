/**
 * All filters, in the order in which they are asked; the cheap ones first.
 *
 * To add one: a file in filters/ with a pure function of one endpoint and the request, and a line here. The choice (choose.ts)
 * asks it from then on, before `breaker` and `room`, which cost more; one that is asked for every request may be called there by
 * name later, which is faster.
 */
import type { Filter } from './candidate.ts';
import { adapter } from './filters/adapter.ts';
import { breaker } from './filters/breaker.ts';
import { draining } from './filters/draining.ts';
import { healthy } from './filters/healthy.ts';
import { isolation } from './filters/isolation.ts';
import { room } from './filters/room.ts';
import { subset } from './filters/subset.ts';

export const ALL_FILTERS: readonly Filter[] = [healthy, draining, isolation, subset, adapter, breaker, room];
