/** Prices are written as amounts with their currency, and are exact. */
import { describe, expect, it } from 'vitest';
import { changesOf, restartNeeded } from '../../../src/config/changes.ts';
import { configOf, minimal, parse, problemsOf, put, type Settings } from './parse.ts';

const withPrice = (price: unknown): Settings => put(minimal(), 'prices', { default: price });

const problemOf = (price: unknown): string => problemsOf(withPrice(price)).join('\n');

describe('an amount', () => {
  it.each([
    ['0.1 EUR', 100_000_000_000n],
    ['0.3 EUR', 300_000_000_000n],
    ['2.50 USD', 2_500_000_000_000n],
    ['0 JPY', 0n],
    ['0.000000000001 EUR', 1n],
    ['99999999.999999999999 EUR', 99_999_999_999_999_999_999n],
    ['100000000 EUR', 10n ** 20n],
  ])('%s is read to its last digit', (text, pico) => {
    expect(configOf(withPrice({ prompt: text })).prices?.others[0]).toMatchObject({
      prompt: pico,
      currency: text.slice(-3),
    });
  });

  const refused: readonly (readonly [unknown, string])[] = [
    ['2.50', 'has no currency; write for example 2.50 EUR'],
    ['7', 'has no currency; write for example 7 EUR'],
    [2.5, 'is a number without a currency; write both as text, for example 2.50 EUR'],
    [0, 'is a number without a currency; write both as text, for example 2.50 EUR'],
    ['-1 EUR', 'is negative; a price is 0 or more, for example 2.50 EUR'],
    [-1, 'is a number without a currency; write both as text, for example 2.50 EUR'],
    ['2,50 EUR', 'has a comma; decimals stand after a point, for example 2.50 EUR'],
    ['1.0000000000001 EUR', 'has more than twelve digits before or after the point'],
    ['100000000.000000000001 EUR', 'is more than 100000000; no price is'],
    ...['2.50 eur', '2.50 EURO', 'EUR 2.50', '€2.50', '2.50€', '2.50 EUR/M', 'free', '', ' 2.50 EUR'].map(
      (text) =>
        [text, 'must be an amount with its currency (ISO 4217, three capital letters), as text'] as const,
    ),
    [true, 'must be an amount with its currency'],
    [null, 'is empty; it must be an amount with its currency'],
    [{ amount: 1 }, 'must be an amount with its currency'],
    [['2.50 EUR'], 'must be an amount with its currency'],
  ];
  it.each(refused)('%j is refused, with the right form', (text, message) => {
    expect(problemOf({ prompt: text })).toContain(`prices.default.prompt: ${message}`);
  });

  it('a price is of one currency', () => {
    expect(problemOf({ prompt: '1 EUR', completion: '1 USD', request: '1 EUR' })).toBe(
      '/etc/f.yaml:12:17: prices.default.completion: is in USD, and prompt is in EUR; a price has one currency',
    );
  });

  it('a price has an amount', () => {
    expect(problemOf({})).toContain(
      'prices.default: has no amount; write at least one of prompt, cachedPrompt',
    );
    expect(problemOf({ from: '2026-01-01' })).toContain('prices.default: has no amount');
  });

  it('cached tokens cost what those of a prompt do, unless a price is written', () => {
    const cached = (price: Settings): unknown => configOf(withPrice(price)).prices?.others[0]?.cachedPrompt;
    expect(cached({ prompt: '2 EUR' })).toBe(2_000_000_000_000n);
    expect(cached({ prompt: '2 EUR', cachedPrompt: '0 EUR' })).toBe(0n);
    expect(cached({ completion: '2 EUR' })).toBe(0n);
  });
});

describe('a list', () => {
  const at = (...days: readonly (string | undefined)[]): unknown =>
    days.map((from, i) => ({ ...(from !== undefined && { from }), prompt: `${i} EUR` }));

  it('has an entry for each date, from midnight in UTC; the first may be without one', () => {
    const { prices } = configOf(withPrice(at(undefined, '2026-11-01', '2028-02-29')));
    expect(prices?.others.map(({ fromMs, prompt }) => [fromMs, prompt])).toEqual([
      [Number.NEGATIVE_INFINITY, 0n],
      [Date.UTC(2026, 10, 1), 10n ** 12n],
      [Date.UTC(2028, 1, 29), 2n * 10n ** 12n],
    ]);
  });

  it('a single price may have a date, also in the past', () => {
    const { prices } = configOf(withPrice({ from: '1999-12-31', prompt: '1 EUR' }));
    expect(prices?.others[0]?.fromMs).toBe(Date.UTC(1999, 11, 31));
  });

  it('dates need no quotes', () => {
    const text = 'from: 2026-11-01, prompt: 0.1 EUR';
    const parsed = parse(
      `${Object.entries(minimal())
        .map(([key, value]) => `${key}: ${JSON.stringify(value)}`)
        .join('\n')}\nprices: { default: { ${text} } }\n`,
    );
    expect(parsed.kind === 'ok' && parsed.config.prices?.others[0]).toMatchObject({
      fromMs: Date.UTC(2026, 10, 1),
      prompt: 10n ** 11n,
    });
  });

  it.each([
    [
      at('2026-11-01', '2026-11-01'),
      '[1].from: is the day of the price before, 2026-11-01; only one can be valid',
    ],
    [
      at('2026-12-01', '2026-11-01'),
      '[1].from: is before 2026-12-01 of the price before; put them in their order',
    ],
    [at(undefined, undefined), '[1]: has no from; each price after the first one needs the day'],
    [[], ': must be a list of 1 to 100 prices'],
    ['2.50 EUR', ': must be a mapping such as { prompt: 2.50 EUR }, or a list'],
    [[{ prompt: '1 EUR' }, '2 EUR'], '[1]: must be a mapping'],
  ])('%j is refused', (price, message) => {
    expect(problemOf(price)).toContain(`prices.default${message}`);
  });

  it.each([
    '2026-02-30',
    '2026-13-01',
    '2026-11-1',
    '01.11.2026',
    '2026-11',
    '2026-11-01T00:00:00Z',
    '',
    20_261_101,
    null,
  ])('%j is no day', (from) => {
    expect(problemOf({ from, prompt: '1 EUR' })).toContain('a day that exists, for example 2026-11-01');
  });
});

describe('names', () => {
  const named = (): Settings =>
    put(put(minimal(), 'models', { llama: { pool: 'main' }, small: { pool: 'main' } }), 'aliases', {
      best: 'llama',
    });
  const price = { prompt: '1 EUR' };
  const warningsOf = (settings: Settings): readonly string[] => {
    const parsed = parse(settings);
    return parsed.kind === 'ok' ? parsed.warnings : parsed.problems;
  };

  it.each([
    [{ models: { lama: price } }, 'prices.models.lama: there is no model "lama"; did you mean "llama"?'],
    [{ models: { best: price } }, 'prices.models.best: is an alias; name the model that it stands for'],
    [
      { tenants: { alise: { default: price } } },
      'prices.tenants.alise: there is no tenant "alise"; did you mean "alice"?',
    ],
    [
      { tenants: { alice: { models: { lama: price } } } },
      'prices.tenants.alice.models.lama: there is no model',
    ],
    [{ model: price }, 'prices.model: unknown setting; did you mean "models"?'],
    [{ models: { llama: { promt: '1 EUR', prompt: '1 EUR' } } }, 'unknown setting; did you mean "prompt"?'],
    [{ tenants: { 'a\nb': { default: price } } }, 'the name 1 to 64 letters'],
  ])('%j: %s', (prices, message) => {
    expect(problemsOf(put(named(), 'prices', prices)).join('\n')).toContain(
      message.replace('name 1', 'name must be 1'),
    );
  });

  it('what only an engine or a token knows is a warning', () => {
    expect(
      warningsOf(put(minimal(), 'prices', { models: { lama: price }, default: price })).join('\n'),
    ).toContain(
      'prices.models.lama: no model "lama" is configured; the price is used only if an engine announces it',
    );
    const open = put(put(named(), 'tenantDirectory', '/etc/tenants.d'), 'prices', {
      default: price,
      tenants: { alise: { default: price } },
    });
    expect(warningsOf(open).join('\n')).toContain(
      'no tenant "alise" is configured; the prices are used only if',
    );
  });

  it('a model that was forgotten is told', () => {
    expect(warningsOf(put(named(), 'prices', { models: { llama: price } })).join('\n')).toContain(
      'models.small: has no price, so that its requests are free; add it to prices.models, or set prices.default',
    );
    expect(warningsOf(put(named(), 'prices', { models: { llama: price }, default: price }))).toEqual([]);
  });

  it('adapters have prices as models do', () => {
    const settings = put(put(named(), 'adapters', { legal: { base: 'llama' } }), 'prices', {
      models: { legal: price },
      default: price,
    });
    expect(configOf(settings).prices?.models.get('legal')).toHaveLength(1);
  });
});

describe('a reload', () => {
  it('takes prices at once, and says what changed', () => {
    const [before, after] = ['1 EUR', '2 EUR'].map((prompt) => parse(withPrice({ prompt })));
    if (before?.kind !== 'ok' || after?.kind !== 'ok') throw new Error('not read');
    expect(restartNeeded(before.config, after.config)).toEqual([]);
    expect(changesOf(before.written, after.written)).toEqual(['prices.default.prompt: 1 EUR → 2 EUR']);
  });
});
