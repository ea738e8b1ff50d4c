/** `pools.NAME.gpuPrice`: what an hour of an endpoint costs. */
import { moneyOf } from '../../domain/money.ts';
import { choice, parsed, section } from './dsl.ts';

/** An amount of money: text, as a number would be a float, and of some currency. */
const money = (example: string, description: string) =>
  parsed(
    moneyOf,
    `an amount and its currency, for example ${example}: up to twelve digits on each side of the point, a space, three capitals`,
    'amount and currency',
    description,
  );

export const gpuPrice = section(
  {
    perHour: money('2.50 EUR', 'What an hour costs, for example `2.50 EUR`.'),
    per: choice(
      ['endpoint'],
      'What that hour is of: `endpoint` is one endpoint, with all of its GPUs.',
    ).prefault('endpoint'),
  },
  'What the time of this pool’s endpoints costs: each request’s `cost` is its part of it. See [billing](../billing.md). Default: no `cost`.',
).optional();
