/** What a request will cost, as predicted. */
import { type Amount, amountOf } from '../domain/amount.ts';
import { unitOf } from '../domain/routes.ts';
import type { RequestFacts } from '../openai/parsed-request.ts';
import type { PriceOf } from '../tenant/tenant-limits.ts';
import type { PricedUse } from '../usage/price-book.ts';
import type { LifecycleContext } from './lifecycle-context.ts';
import type { Prediction } from './prediction.ts';

type Context = Pick<LifecycleContext, 'prices' | 'unixMs' | 'catalog'>;

/** Output that the price of a token is told by: so long that it is exact. */
const MANY_TOKENS = 1_000_000;

/** Asks for prices only when it is asked itself, and once: most tenants have no budget. */
export class PredictedPrice {
  private readonly context: Context;
  private readonly tenant: string;
  private readonly facts: RequestFacts;
  private readonly prediction: Prediction;
  private isAsked = false;
  private amount: Amount | undefined = undefined;
  /** 10^-9 of the currency's unit, without the output and for a token of it. */
  private baseNano = 0;
  private nanoPerToken = 0;

  constructor(context: Context, tenant: string, facts: RequestFacts, prediction: Prediction) {
    this.context = context;
    this.tenant = tenant;
    this.facts = facts;
    this.prediction = prediction;
  }

  /** With the predicted output. Undefined: it has no price. */
  readonly of: PriceOf = () => {
    if (!this.isAsked) this.ask();
    return this.amount;
  };

  /** What it costs with so much output, in 10^-9 of the currency's unit; undefined: nobody asked for its price. */
  nanoAt(outputTokens: number): number | undefined {
    if (this.amount === undefined) return undefined;
    return Math.round(this.baseNano + this.nanoPerToken * outputTokens);
  }

  private ask(): void {
    this.isAsked = true;
    const base = this.priced(0);
    const many = this.priced(MANY_TOKENS);
    if (base === undefined || many === undefined) return;
    this.baseNano = base.nano;
    this.nanoPerToken = (many.nano - base.nano) / MANY_TOKENS;
    const nano = Math.round(base.nano + this.nanoPerToken * this.prediction.outputTokens);
    this.amount = { currency: base.currency, nano };
  }

  private priced(completionTokens: number): Amount | undefined {
    const { prices, unixMs, catalog } = this.context;
    if (prices === undefined || unixMs === undefined) return undefined;
    const { model, route, outputs } = this.facts;
    const { promptTokens, cachedTokens } = this.prediction;
    const adapter = catalog.adapterOf(model);
    const use: PricedUse = {
      tenant: this.tenant,
      model: adapter?.base ?? model,
      promptTokens: Math.round(promptTokens),
      cachedTokens: Math.round(Math.min(cachedTokens, promptTokens)),
      completionTokens,
      ...(adapter !== undefined && { adapter: adapter.name }),
      ...(unitOf(route) === 'images' && { images: outputs }),
    };
    const price = prices.priceOf(use, unixMs());
    return price && amountOf(price);
  }
}

/** Undefined: nothing has a price. */
export const predictedPrice = (
  context: Context,
  tenant: string,
  facts: RequestFacts,
  prediction: Prediction,
): PredictedPrice | undefined =>
  context.prices === undefined ? undefined : new PredictedPrice(context, tenant, facts, prediction);
