import type { EngineRoute, StoredRoute } from '../domain/routes.ts';
import type { OddUsage } from './believed-usage.ts';

/** How a request ended. */
export type Outcome =
  /** The engine's whole answer went by. */
  | 'completed'
  /** Fairlane answered with an error itself; `reason` says which. */
  | 'refused'
  /** The stream ended before the answer did: the client hung up, or the engine broke off. `reason` says when. */
  | 'aborted'
  /** The engine, or Envoy for it, answered with an error status or an error frame. */
  | 'failed';

/** One per request that reached the service. Never contains a prompt, a completion or a key. */
export interface UsageRecord {
  /** Envoy's: the answer and the engine have it too. */
  readonly requestId: string;
  /** What the client calls it: its `x-client-request-id`, or its own `x-request-id`. */
  readonly clientRequestId?: string;
  readonly tenant: string;
  readonly route: EngineRoute | StoredRoute;
  /** Its name in `routes` of the configuration, where it is from there. */
  readonly customRoute?: string;
  /** Only a model that exists; a client's invention is not repeated. */
  readonly model?: string;
  readonly pool?: string;
  /** `ip:port` of the endpoint that served it. */
  readonly endpoint?: string;
  /** The lane it belonged to, once that was known. */
  readonly lane?: string;
  readonly stream: boolean;
  readonly outcome: Outcome;
  /** The error code of a refusal; `queued`, `before-first-token` or `streaming` of an abort. */
  readonly reason?: string;
  /** HTTP status that the client saw, if there was one. */
  readonly status?: number;
  readonly queueMs: number;
  /** From the request's arrival to the first token; only for streams, where it can be seen. */
  readonly ttftMs?: number;
  /** Mean and maximum inter-token time of a stream with at least two tokens. */
  readonly itlMeanMs?: number;
  readonly itlMaxMs?: number;
  /** From arrival to end. */
  readonly durationMs: number;
  readonly promptTokens: number;
  readonly completionTokens: number;
  /** Part of promptTokens. */
  readonly cachedTokens: number;
  /** Seconds of audio, where the engine said how many it has heard. */
  readonly audioSeconds?: number;
  /** Images in the answer. */
  readonly images?: number;
  /** `engine`: the engine's own count. `estimate`: it never came, or cannot be; by chunks, bytes and time. */
  readonly usageSource: 'engine' | 'estimate' | 'none';
  /** With `estimate`: the half that is one, where the other is the engine's own count. */
  readonly estimated?: 'prompt' | 'completion';
  /** What could not be of the usage that the engine reported. */
  readonly oddUsage?: readonly OddUsage[];
  /** Its tenant was below its fair share, and it passed the queue. */
  readonly quiet: boolean;
  /** Its client stopped reading, and its slot went to others before its end. */
  readonly stalled: boolean;
  /** Fields that the request may not carry and that were dropped. */
  readonly droppedFields: readonly string[];
}
