/** What models cost their users: price lists as the program uses them. */

/** Valid from its time until the next entry of its list. What it does not name costs nothing. */
export interface PriceEntry {
  /** Unix time; negative infinity: it always was. */
  readonly fromMs: number;
  readonly currency: string;
  /** 10^-12 of the currency's unit for a million tokens. */
  readonly prompt: bigint;
  readonly cachedPrompt: bigint;
  readonly completion: bigint;
  /** 10^-12 of the unit for one. */
  readonly request: bigint;
  readonly image: bigint;
}

/** In the order of their times, which differ. */
export type PriceEntries = readonly PriceEntry[];

export interface PriceLists {
  /** By model or adapter. */
  readonly models: ReadonlyMap<string, PriceEntries>;
  /** Of models without entries of their own. */
  readonly others: PriceEntries;
}

export interface PricesConfig extends PriceLists {
  /** A tenant's own lists come before the general ones. */
  readonly tenants: ReadonlyMap<string, PriceLists>;
}

/** Most of one price, in whole units. */
export const MOST_PRICE = 100_000_000n;
