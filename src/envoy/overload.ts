/**
 * What Envoy does when its heap is nearly full, so that it is never killed for it: first it gives up what nobody uses, then what
 * holds most, then it takes nothing new.
 */
import type { Config } from '../config/config.ts';
import { duration, type JsonMap, type } from './envoy-json.ts';

const HEAP = 'envoy.resource_monitors.fixed_heap';
/** The smallest stream that is looked at when the largest are reset, as a power of two. */
const SMALLEST_RESET_POWER = 16;

const IDLE_STREAM_MS = 60_000;

const from = (value: number): JsonMap => ({ triggers: [{ name: HEAP, threshold: { value } }] });
const between = (scaling: number, saturation: number): JsonMap => ({
  triggers: [{ name: HEAP, scaled: { scaling_threshold: scaling, saturation_threshold: saturation } }],
});
const action = (name: string, when: JsonMap): JsonMap => ({
  name: `envoy.overload_actions.${name}`,
  ...when,
});

export function overloadManagerOf({ envoy, queue }: Config): JsonMap {
  return {
    refresh_interval: '0.1s',
    resource_monitors: [
      {
        name: HEAP,
        typed_config: {
          ...type('envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig'),
          max_heap_size_bytes: envoy.maxHeapBytes,
        },
      },
      {
        name: 'envoy.resource_monitors.global_downstream_max_connections',
        typed_config: {
          ...type('envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig'),
          max_active_downstream_connections: envoy.maxConnections,
        },
      },
    ],
    buffer_factory_config: { minimum_account_to_track_power_of_two: SMALLEST_RESET_POWER },
    actions: [
      action('shrink_heap', from(0.7)),
      {
        ...action('reduce_timeouts', between(0.6, 0.85)),
        typed_config: {
          ...type('envoy.config.overload.v3.ScaleTimersOverloadActionConfig'),
          timer_scale_factors: [
            { timer: 'HTTP_DOWNSTREAM_CONNECTION_IDLE', min_timeout: '1s' },
            { timer: 'HTTP_DOWNSTREAM_STREAM_FLUSH', min_timeout: '1s' },
            // Of which nothing was read or written for longer than a request may wait in the queue.
            { timer: 'HTTP_DOWNSTREAM_STREAM_IDLE', min_timeout: duration(queue.maxWaitMs + IDLE_STREAM_MS) },
          ],
        },
      },
      action('disable_http_keepalive', from(0.85)),
      action('reset_high_memory_stream', between(0.9, 0.98)),
      action('stop_accepting_requests', between(0.9, 0.95)),
      action('stop_accepting_connections', from(0.95)),
    ],
  };
}

/** Its own answer then. */
export const OVERLOADED = {
  status: 503,
  type: 'server_error',
  code: 'gateway_overloaded',
  anthropic: 'overloaded_error',
  message: 'The gateway has no memory for more requests now. Please try again later.',
  retryAfterS: 5,
  details: 'overload',
};

/** Freed memory goes back to the system, and caches of it stay small. */
export const memoryAllocator: JsonMap = { bytes_to_release: 4_194_304, memory_release_interval: '0.5s' };
