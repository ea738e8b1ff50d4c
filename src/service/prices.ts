/** The prices of the configuration in use. */
import type { Config } from '../config/config.ts';
import type { PriceBook } from '../usage/price-book.ts';
import { PriceList } from '../usage/price-list.ts';

/** A reload counts from the next request that ends on. */
export function currentPrices(config: () => Pick<Config, 'prices'>): PriceBook {
  let list: { readonly of: Config['prices']; readonly book: PriceBook | undefined } | undefined;
  return {
    priceOf(use, unixMs) {
      const { prices } = config();
      if (list?.of !== prices) list = { of: prices, book: prices && new PriceList(prices) };
      return list?.book?.priceOf(use, unixMs);
    },
  };
}
