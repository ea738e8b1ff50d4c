/** What a request that an engine had is charged. */
import type { Money } from '../domain/money.ts';
import type { Mutable } from '../domain/mutable.ts';
import type { Release } from '../queue/types.ts';
import type { PricedUse } from '../usage/price-book.ts';
import type { Admitted } from './admitted.ts';
import type { AnswerReading } from './answer-meter.ts';
import { type Bill, gpuBill, promptOf } from './bill.ts';
import type { LifecycleContext } from './lifecycle-context.ts';

/**
 * By the list that is valid when the request ended. A price for requests counts for those that an engine served whole or
 * in part; what it refused, or answered with an error alone, is free.
 *
 * @param reading undefined: no engine computed anything.
 * @param endedMs Unix time of its end; undefined: nobody asks.
 * @returns undefined: nothing was used, or it has no price.
 */
function chargeOf(
  { prices, catalog }: Pick<LifecycleContext, 'prices' | 'catalog'>,
  { tenant, facts }: Pick<Admitted, 'tenant' | 'facts'>,
  reading: AnswerReading | undefined,
  endedMs: number | undefined,
): Money | undefined {
  if (prices === undefined || endedMs === undefined || reading === undefined) return undefined;
  const { usage, source, errorFrame, amount } = reading;
  if (source === 'none' && errorFrame) return undefined;
  const adapter = catalog.adapterOf(facts.model);
  const use: Mutable<PricedUse> = {
    tenant,
    model: adapter?.base ?? facts.model,
    promptTokens: usage.promptTokens,
    cachedTokens: usage.cachedTokens,
    completionTokens: usage.completionTokens,
  };
  if (adapter !== undefined) use.adapter = adapter.name;
  if (amount?.images !== undefined) use.images = amount.images;
  return prices.priceOf(use, endedMs);
}

/** What a request cost and is charged, once it has ended. @param reading undefined: nothing was used. */
export function billOf(
  context: LifecycleContext,
  admitted: Admitted,
  { pool, slot }: Pick<Release, 'pool' | 'slot'>,
  reading: AnswerReading | undefined,
  nowMs: number,
): Bill {
  const { gpuPrice } = context.config().pools.get(pool) ?? {};
  const bill: Mutable<Bill> = gpuBill(slot.gpuMs(nowMs, promptOf(reading)), gpuPrice);
  const endedMs = context.unixMs?.();
  if (endedMs !== undefined) bill.endedMs = endedMs;
  const price = chargeOf(context, admitted, reading, endedMs);
  if (price !== undefined) bill.price = price;
  return bill;
}
