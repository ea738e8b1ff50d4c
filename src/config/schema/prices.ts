/** `prices`: what is charged. */
import * as z from 'zod';
import { type Money, moneyOf } from '../../domain/money.ts';
import { MOST_PRICE } from '../prices.ts';
import { must } from '../values.ts';
import { about, list, model, name, named, parsed, section } from './dsl.ts';

const FORM = 'an amount with its currency (ISO 4217, three capital letters), as text, for example 2.50 EUR';

/** What is wrong with an amount; undefined: nothing. Only digits are repeated. */
function amountProblem(text: unknown): string | undefined {
  if (typeof text === 'number' || typeof text === 'bigint') {
    return 'is a number without a currency; write both as text, for example 2.50 EUR';
  }
  if (typeof text !== 'string') return must(FORM)({ input: text });
  const money = moneyOf(text);
  if (money !== undefined) {
    return money.pico > MOST_PRICE * 10n ** 12n ? `is more than ${MOST_PRICE}; no price is` : undefined;
  }
  if (/^-\s*\d/.test(text)) return 'is negative; a price is 0 or more, for example 2.50 EUR';
  const [, digits] = /^(\d{1,12}(?:\.\d{1,12})?)$/.exec(text) ?? [];
  if (digits !== undefined) return `has no currency; write for example ${digits} EUR`;
  if (/^\d+,\d+ [A-Z]{3}$/.test(text))
    return 'has a comma; decimals stand after a point, for example 2.50 EUR';
  if (/^\d+(?:\.\d+)? [A-Z]{3}$/.test(text)) return 'has more than twelve digits before or after the point';
  return must(FORM)({ input: text });
}

const amount = (description: string) =>
  z
    .string({ error: ({ input }) => amountProblem(input) ?? '' })
    .transform((text, context): Money => {
      const money = moneyOf(text);
      const message = amountProblem(text);
      if (money !== undefined && message === undefined) return money;
      context.issues.push({ code: 'custom', message: message ?? FORM, input: text });
      return z.NEVER;
    })
    .meta(about(description, 'amount and currency'))
    .optional();

const DATE = /^(\d{4})-(\d{2})-(\d{2})$/;

/** Unix time of a day's beginning in UTC; undefined: there is no such day. */
export function dayMs(text: string): number | undefined {
  if (!DATE.test(text)) return undefined;
  const ms = Date.parse(`${text}T00:00:00Z`);
  return Number.isNaN(ms) || new Date(ms).toISOString().slice(0, 10) !== text ? undefined : ms;
}

const entry = section(
  {
    from: parsed(
      dayMs,
      'a day that exists, for example 2026-11-01',
      'date',
      'First day (UTC) on which it is valid, until the next entry of its list. Default: it always was.',
    ).optional(),
    prompt: amount('A million prompt tokens. Default: nothing is charged for them.'),
    cachedPrompt: amount('A million prompt tokens that the engine’s prefix cache had. Default: `prompt`.'),
    completion: amount('A million output tokens. Default: nothing is charged for them.'),
    request: amount('A request that an engine served. Default: nothing is charged for it.'),
    image: amount('An image in an answer. Default: nothing is charged for it.'),
  },
  'A price. One currency; what is not named costs nothing.',
);

const entries = z
  .union([entry, list(entry, 100, 'prices', 'Prices, each valid from its date.')], {
    error: must('a mapping such as { prompt: 2.50 EUR }, or a list of 1 to 100 of them with dates'),
  })
  .meta(
    about(
      'A price, or a list of prices, each with its `from` (the first may have none), in their order.',
      'price, or list of prices',
    ),
  );

const models = named(
  model('A model, or an adapter.'),
  entries,
  [0, 2_000],
  'prices',
  'By model or adapter, as it serves the request. An adapter without a price has that of its base.',
).prefault({});

const tenant = section(
  {
    models: models.meta(
      about(
        'Prices of this tenant, which come before all others. Default: none of its own.',
        'the keys of `prices.models`',
      ),
    ),
    default: entries
      .meta(
        about(
          'Of models without a price in the tenant’s own. Default: the general prices.',
          'as `prices.default`',
        ),
      )
      .optional(),
  },
  'A tenant’s own prices.',
);

export const prices = section(
  {
    models,
    default: entries
      .meta(
        about('Of models without a price of their own. Default: those are free.', 'price, or list of prices'),
      )
      .optional(),
    tenants: named(
      name('Tenant name.'),
      tenant,
      [0, 10_000],
      'tenants',
      'Tenants with prices of their own, which come before all others.',
    ).prefault({}),
  },
  'What is charged: each is a price, or a list of prices in the order of their `from`. See [billing.md](../billing.md).',
).optional();
