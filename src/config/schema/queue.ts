/** `queue`: how long and how much may wait. */
import { duration, integer, section, size } from './dsl.ts';

export const queue = section(
  {
    maxWait: duration(
      '100ms',
      // Envoy holds a request for an hour at most, and it has to outwait the queue.
      '55m',
      '30s',
      'Longest wait of a request in the queue; then it is refused with 503.',
    ).prefault('30s'),
    maxQueued: integer(1, 1_000_000, 'Requests waiting in one pool’s queue, all tenants together.').prefault(
      1_000,
    ),
    maxQueuedSize: size(
      '1KiB',
      '1024GiB',
      '256MiB',
      'Bodies of requests that wait in all pools’ queues, of all tenants; more are refused with 503. At least `envoy.maxBodySize`.',
    ).prefault('256MiB'),
    quantum: integer(
      1,
      1_000_000,
      'Weighted tokens (prompt plus twice the output) that a tenant of weight 1 may spend in each round of the queue. Small is fairer over short times, large is cheaper.',
    ).prefault(64),
  },
  'The queue.',
).prefault({});
