/** Of limits: the budget of a month, its warnings, and limits that are raised for a time. */
import * as z from 'zod';
import { type Amount, amountOf, LARGEST_NANO, LARGEST_UNITS } from '../../domain/amount.ts';
import { moneyOf } from '../../domain/money.ts';
import { BUDGET_ENDS } from '../limits.ts';
import { momentMs, must } from '../values.ts';
import { about, choice, limit, list, parsed, section } from './dsl.ts';

/** Finer than this is no budget. */
const PICO_PER_NANO = 1_000n;

/** `500 EUR`; undefined: it is no budget. */
function budgetOf(text: string): Amount | undefined {
  const money = moneyOf(text);
  if (money === undefined || money.pico % PICO_PER_NANO !== 0n) return undefined;
  const amount = amountOf(money);
  return amount.nano > 0 && amount.nano <= LARGEST_NANO ? amount : undefined;
}

const BUDGET = `an amount with its currency, for example 500 EUR, more than 0 and at most ${LARGEST_UNITS}`;

const budget = (description: string) => {
  const what = `${BUDGET}, or the word unlimited`;
  return z
    .union([parsed(budgetOf, what, 'amount', description), z.literal('unlimited')], { error: must(what) })
    .meta(about(description, 'amount with its currency, `500 EUR`, or `unlimited`'));
};

const PERCENT = must('a whole number from 1 to 100, of per cent');
const MOST_ALERTS = 8;
const MOST_RAISES = 16;

const alerts = z
  .array(z.int({ error: PERCENT }).min(1, { error: PERCENT }).max(100, { error: PERCENT }), {
    error: must(`a list of at most ${MOST_ALERTS} whole numbers from 1 to 100`),
  })
  .max(MOST_ALERTS, { error: must(`a list of at most ${MOST_ALERTS} whole numbers from 1 to 100`) })
  .meta(
    about(
      'Per cent of `budgetPerMonth` and of `tokensPerMonth` at which is warned: in the log, in a metric and to `webhooks`, once a month and amount. 100 also is when less than a tenth is left and a request is refused for it. Empty: never. Default: 80 and 100.',
      'list of whole numbers, 1 to 100',
    ),
  );

const raise = section(
  {
    until: parsed(
      momentMs,
      'a time with its zone, for example 2026-12-01T00:00:00Z, or a day, which begins in UTC',
      'time, `2026-12-01T00:00:00Z`',
      'When it is over, without a reload.',
    ),
    requestsPerMinute: limit(10_000_000, 'Requests a minute until then. Default: not raised.').optional(),
    tokensPerMinute: limit(
      1_000_000_000,
      'Prompt plus output tokens a minute until then; `tokenBurst` stays where it is written. Default: not raised.',
    ).optional(),
    tokensPerMonth: limit(
      1_000_000_000_000_000,
      'Prompt plus output tokens a calendar month until then; what was used stays used. Default: not raised.',
    ).optional(),
    budgetPerMonth: budget(
      'What requests may cost a calendar month until then; what was used stays used. Default: not raised.',
    ).optional(),
  },
  'Limits that are higher for a time.',
);

export const budgetLimits = {
  budgetPerMonth: budget(
    `What requests may cost a calendar month, in UTC, by \`prices\`: at most ${LARGEST_UNITS} of the unit. Kept as \`tokensPerMonth\` is; a change applies at once: left = budget − used, and in another currency it begins anew. Default: unlimited.`,
  ).optional(),
  onBudgetSpent: choice(
    BUDGET_ENDS,
    'What becomes of requests when the budget is used up: `refuse`, a 429; `warn`, they go on, and `budgetAlerts` tell. Default: `refuse`.',
  ).optional(),
  budgetAlerts: alerts.optional(),
  raises: list(
    raise,
    MOST_RAISES,
    'raises',
    'Limits that are higher for a time. Of several in force the largest counts, and one that is lower than the limit itself does nothing. Default: none.',
  ).optional(),
};
