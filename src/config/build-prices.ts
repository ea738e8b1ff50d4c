/** Price lists, from a configuration that has been checked. */
import type { Config } from './config.ts';
import type { PriceEntries, PriceEntry, PriceLists } from './prices.ts';
import type { WrittenConfig } from './schema/schema.ts';

type WrittenPrices = NonNullable<WrittenConfig['prices']>;
type WrittenEntries = WrittenPrices['models'][string];
type WrittenEntry = Exclude<WrittenEntries, readonly unknown[]>;

export function pricesOf({ prices }: WrittenConfig): Pick<Config, 'prices'> {
  if (prices === undefined) return {};
  const tenants = Object.entries(prices.tenants).map(([name, lists]) => [name, listsOf(lists)] as const);
  return { prices: { ...listsOf(prices), tenants: new Map(tenants) } };
}

const listsOf = ({ models, default: others }: Pick<WrittenPrices, 'models' | 'default'>): PriceLists => ({
  models: new Map(Object.entries(models).map(([name, entries]) => [name, entriesOf(entries)])),
  others: others === undefined ? [] : entriesOf(others),
});

const entriesOf = (written: WrittenEntries): PriceEntries =>
  (Array.isArray(written) ? written : [written]).map(entryOf);

/** One of the amounts is there: that has been checked. */
function entryOf({ from, prompt, cachedPrompt, completion, request, image }: WrittenEntry): PriceEntry {
  const { currency = '' } = prompt ?? cachedPrompt ?? completion ?? request ?? image ?? {};
  return {
    fromMs: from ?? Number.NEGATIVE_INFINITY,
    currency,
    prompt: prompt?.pico ?? 0n,
    cachedPrompt: (cachedPrompt ?? prompt)?.pico ?? 0n,
    completion: completion?.pico ?? 0n,
    request: request?.pico ?? 0n,
    image: image?.pico ?? 0n,
  };
}
