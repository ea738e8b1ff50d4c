/** What requests are charged: the port of prices. */
import type { Money } from '../domain/money.ts';

/** What a request has used, as far as prices go by it. */
export interface PricedUse {
  readonly tenant: string;
  /** That served it. */
  readonly model: string;
  readonly adapter?: string;
  readonly promptTokens: number;
  /** Part of the prompt's. */
  readonly cachedTokens: number;
  readonly completionTokens: number;
  readonly images?: number;
}

export interface PriceBook {
  /**
   * The price by the list that is valid at that time; undefined: the model has none.
   *
   * @param unixMs when the request ended.
   */
  priceOf(use: PricedUse, unixMs: number): Money | undefined;
}
