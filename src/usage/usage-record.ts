import type { EngineKind } from '../domain/engine-kinds.ts';
import type { Money } from '../domain/money.ts';
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
  /**
   * Fairlane's own, a UUID of version 7: no two requests of all replicas have one, and a client has no part in it. "Exactly once"
   * goes by it. Empty: nobody asked for one.
   */
  readonly id?: string;
  /** Unix time of its end, in milliseconds. */
  readonly endedMs?: number;
  /** Envoy's: the answer and the engine have it too. */
  readonly requestId: string;
  /** What the client calls it: its `x-client-request-id`, or its own `x-request-id`. */
  readonly clientRequestId?: string;
  /** Of the trace that it belongs to, where requests are traced: 32 hexadecimal digits. */
  readonly traceId?: string;
  readonly tenant: string;
  /** The tier whose limits its tenant has. */
  readonly tier?: string;
  /** Of the API key (`TenantKey.id`), never the key. */
  readonly keyId?: string;
  /** Whom its tenant attributes it to: bounded, harmless text. */
  readonly tag?: string;
  readonly route: EngineRoute | StoredRoute;
  /** Its name in `routes` of the configuration, where it is from there. */
  readonly customRoute?: string;
  /** Only a model that exists; a client's invention is not repeated. */
  readonly model?: string;
  /** The name that the client sent (a model, an alias or an adapter that exists), where it is another one. */
  readonly modelAsked?: string;
  /** LoRA adapter. */
  readonly adapter?: string;
  readonly pool?: string;
  /** The endpoint that served it, by the name that it has everywhere: its URL as configured. */
  readonly endpoint?: string;
  /** `ip:port` of that. */
  readonly address?: string;
  /** What that runs, where it is known. */
  readonly engine?: EngineKind;
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
  /** From the release to the first token, and from there to the last one; of an answer in one piece, as estimated. */
  readonly prefillMs?: number;
  readonly decodeMs?: number;
  /** Mean and maximum inter-token time of a stream with at least two tokens. */
  readonly itlMeanMs?: number;
  readonly itlMaxMs?: number;
  /** From arrival to end. */
  readonly durationMs: number;
  readonly promptTokens: number;
  readonly completionTokens: number;
  /** Part of promptTokens. */
  readonly cachedTokens: number;
  /** Part of completionTokens, where the engine says it. */
  readonly reasoningTokens?: number;
  /** Tokens in the KV cache × seconds that they were there, as far as Fairlane sees. */
  readonly kvTokenSeconds?: number;
  /** Its part of the time in which its endpoint was busy. */
  readonly gpuSeconds?: number;
  /** What those cost, where the pool says a price of them. */
  readonly cost?: Money;
  /** What is charged, where the model has a price. */
  readonly price?: Money;
  /** Endpoints that it was passed on from. */
  readonly retries?: number;
  /** How often the engine took it off to make room for others, where it says so. */
  readonly preemptions?: number;
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
