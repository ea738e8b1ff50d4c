/** What a request is once it may be queued. */
import type { LaneConfig } from '../config/config.ts';
import type { ResponseOwner } from '../conversation/response-owners.ts';
import type { RequestFacts } from '../openai/parsed-request.ts';
import type { Reservation } from '../tenant/tenant-limits.ts';
import type { UsageFacts } from '../usage/believed-usage.ts';
import type { ReadingClient } from './engine-request.ts';
import type { ComparedCanary } from './model-selection.ts';
import type { PredictedPrice } from './predicted-price.ts';
import type { Prediction } from './prediction.ts';

/** What was decided about a request before it was queued, and is needed until its end. */
export interface Admitted {
  readonly tenant: string;
  /** With the model that serves it. */
  readonly facts: RequestFacts;
  /** Of the whole body. */
  readonly bodyBytes: number;
  /** Tokens of a stored conversation that it goes on with; `unknown`: it may, with any. */
  readonly storedTokens: UsageFacts['storedTokens'];
  readonly prediction: Prediction;
  /** What stands in place of a cap is the engine's to judge. */
  readonly leavesCap: boolean;
  readonly lane: LaneConfig;
  readonly canary: ComparedCanary | undefined;
  readonly client: ReadingClient | undefined;
  readonly reservation: Reservation;
  /** As it was predicted; absent: nothing has a price. */
  readonly price?: PredictedPrice;
  /** The name that the client sent. */
  readonly asked: string;
  /** The stored response that it goes on with. */
  readonly pinned: ResponseOwner | undefined;
  /** That it asked for. */
  readonly path: string;
}
