/**
 * What a pool asks of whoever loads LoRA adapters on its endpoints (lora/pool-adapters.ts): a port, so that the pool knows
 * nothing of plans and loads.
 */
import type { CandidateState } from '../routing/candidate.ts';

/** What a request that needs an adapter is to do. */
export type AdapterReadiness =
  /** It is loaded there: send the request, and call began(). */
  | { readonly kind: 'use'; readonly endpoint: string }
  /** It is being loaded, or waits for a place: ask again when something ended, or after retryMs. */
  | { readonly kind: 'wait'; readonly retryMs: number }
  | {
      readonly kind: 'refuse';
      /** No candidate has adapters · its loads fail everywhere · too many wait. */
      readonly reason: 'no-endpoint' | 'failed' | 'busy';
      readonly retryMs: number;
    };

/** Endpoints are URLs. */
export interface LoraPlacement {
  /** Orders what is to be loaded. @param candidates endpoints that have room for the request, the best first. */
  ensure(adapter: string, candidates: readonly string[], nowMs: number): AdapterReadiness;
  /** Gives the endpoint that ensure() would answer `use` with; undefined: it would not. Changes nothing. */
  usable(adapter: string, candidates: readonly string[], nowMs: number): string | undefined;
  isLoaded(endpoint: string, adapter: string): boolean;
  /** It is loaded there, or could be from here. */
  mayHave(endpoint: string, adapter: string): boolean;
  /** Adapters of the endpoint that requests may wait for. */
  loadedOn(endpoint: string): Iterable<string>;
  /** Writes what the choice of an endpoint goes by. */
  describe(candidate: CandidateState, endpoint: string, adapter: string): void;
  /** A request has gone there. The answer's first call says that it has ended. */
  began(endpoint: string, adapter: string, nowMs: number): (nowMs: number) => void;
  /** The engine says that it does not have an adapter which it should have. */
  suspect(endpoint: string): void;
  /** Nobody waits for it any more. */
  cancelled(adapter: string): void;
  crashed(endpoint: string): void;
}
