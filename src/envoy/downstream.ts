/**
 * How Envoy treats clients, whoever they are: what it reads ahead for them, how many they may be, and how long they may take.
 * A request that waits in the queue and a stream that flows are never cut; what is cut is what nobody reads or sends.
 */
import type { Config } from '../config/config.ts';
import { uploadMs } from '../config/memory-bound.ts';
import { MAX_REQUEST_HEADERS } from '../domain/names.ts';
import { duration, type JsonMap } from './envoy-json.ts';

/** An engine that answers in one piece says nothing until the last token: that may take this long. */
const ENGINE_SILENCE_MS = 3_600_000;
/** Of an answer that still comes: its client has read less than half a buffer in this time. */
const STUCK_READER_MS = 300_000;
/** The longest name of a model, and fields for usage, cache and priority. */
const ADDED_BYTES = 16_384;
/** What is on its way over a long distance. */
const KERNEL_BUFFERS = 8;
const HEADERS_MS = 10_000;
/** Far more than the service takes: over HTTP/2 Envoy has no answer for more, and resets the stream. */
const MOST_HEADERS = 1_000;
/** Room for the headers that filters add to those of a request. */
const KB_OF_OURS = 16;
/** HTTP/2 has no smaller ones. */
const STREAM_WINDOW = 65_536;
const CONNECTION_WINDOW = 1_048_576;
const STREAMS_PER_CONNECTION = 256;

/** A buffer is never larger than the largest body: over that Envoy answers 413. */
export const connectionBuffer = ({ envoy }: Config): number =>
  Math.min(envoy.connectionBufferBytes, envoy.maxBodyBytes);

/** Of a request. A body of the largest size gets longer where the service adds fields; it refuses longer ones that come. */
export const bodyBuffer = ({ envoy }: Config): number => envoy.maxBodyBytes + ADDED_BYTES;

/** Of a request that does not say how long its body is: Envoy reads no more of it. */
export const unsizedBodyBuffer = ({ envoy }: Config): number => envoy.maxUnsizedBodyBytes + ADDED_BYTES;

/** Of the kernel, which takes twice as much. It would take megabytes for each client that does not read. */
export const kernelBuffer = (config: Config): number => KERNEL_BUFFERS * connectionBuffer(config);

/** Of the listener. */
export const listenerBuffers = (config: Config): JsonMap => ({
  per_connection_buffer_limit_bytes: connectionBuffer(config),
  per_connection_buffer_high_watermark_timeout: duration(STUCK_READER_MS),
  socket_options: [
    {
      description: 'SO_SNDBUF of Linux; connections inherit it',
      level: 1,
      name: 7,
      int_value: kernelBuffer(config),
      state: 'STATE_PREBIND',
    },
  ],
});

/** Of the connection manager. */
export function clientLimits(config: Config): JsonMap {
  const { envoy, queue } = config;
  return {
    request_headers_timeout: duration(HEADERS_MS),
    // Envoy counts until the request has left it: the wait in the queue is part of it.
    request_timeout: duration(queue.maxWaitMs + uploadMs(envoy, envoy.maxBodyBytes)),
    stream_idle_timeout: duration(queue.maxWaitMs + ENGINE_SILENCE_MS),
    // What is left of an ended answer.
    stream_flush_timeout: duration(envoy.idleTimeoutMs),
    delayed_close_timeout: '1s',
    common_http_protocol_options: {
      idle_timeout: duration(envoy.idleTimeoutMs),
      max_headers_count: MOST_HEADERS,
      // Names that servers of some kinds take for others: `x_y` for `x-y`.
      headers_with_underscores_action: 'DROP_HEADER',
    },
    http_protocol_options: {
      // nginx's `proxy_pass` speaks it by default. A client of it may send no `host`.
      accept_http_10: true,
      default_host_for_http_10: 'fairlane',
      // An offer that a server need not take: the request is answered as it came.
      ignore_http_11_upgrade: [{ prefix: 'TLS/', ignore_case: true }],
    },
    max_request_headers_kb: MAX_REQUEST_HEADERS.bytes / 1_024 + KB_OF_OURS,
    http2_protocol_options: {
      max_concurrent_streams: STREAMS_PER_CONNECTION,
      initial_stream_window_size: STREAM_WINDOW,
      initial_connection_window_size: CONNECTION_WINDOW,
      // Answers to pings and settings of a client that does not read, and its floods of small frames.
      max_outbound_frames: 1_000,
      max_outbound_control_frames: 200,
      max_consecutive_inbound_frames_with_empty_payload: 1,
      max_inbound_priority_frames_per_stream: 100,
      max_inbound_window_update_frames_per_data_frame_sent: 10,
    },
  };
}

/** Runtime flags. */
export const clientRuntime: JsonMap = {
  // A connection that has had so many streams, half of them reset within a second, is closed.
  'overload.premature_reset_total_stream_count': 200,
  'overload.premature_reset_min_stream_lifetime_seconds': 1,
  // Requests of one connection that are begun before others have their turn.
  'http.max_requests_per_io_cycle': 16,
};
