/** What a request is charged: exact, by the list that is valid at its end, the nearest one first. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { PriceEntries, PriceEntry, PriceLists, PricesConfig } from '../../../src/config/prices.ts';
import type { PricedUse } from '../../../src/usage/price-book.ts';
import { PriceList } from '../../../src/usage/price-list.ts';

const UNIT = 10n ** 12n;
const EVER = Number.NEGATIVE_INFINITY;
const NOVEMBER = Date.UTC(2026, 10, 1);

const entry = (own: Partial<PriceEntry> = {}): PriceEntry => ({
  fromMs: EVER,
  currency: 'EUR',
  prompt: 0n,
  cachedPrompt: 0n,
  completion: 0n,
  request: 0n,
  image: 0n,
  ...own,
});

const lists = (
  models: Readonly<Record<string, PriceEntries>> = {},
  others: PriceEntries = [],
): PriceLists => ({
  models: new Map(Object.entries(models)),
  others,
});

const config = (general: PriceLists, tenants: Readonly<Record<string, PriceLists>> = {}): PricesConfig => ({
  ...general,
  tenants: new Map(Object.entries(tenants)),
});

const book = (general: PriceLists, tenants: Readonly<Record<string, PriceLists>> = {}): PriceList =>
  new PriceList(config(general, tenants));

const use = (own: Partial<PricedUse> = {}): PricedUse => ({
  tenant: 'alice',
  model: 'llama',
  promptTokens: 0,
  cachedTokens: 0,
  completionTokens: 0,
  ...own,
});

const picoOf = (list: PriceList, used: PricedUse, unixMs = 0): bigint | undefined =>
  list.priceOf(used, unixMs)?.pico;

describe('a price', () => {
  const list = book(
    lists({
      llama: [
        entry({
          prompt: 2n * UNIT,
          cachedPrompt: UNIT / 2n,
          completion: 6n * UNIT,
          request: 7n,
          image: UNIT / 50n,
        }),
      ],
    }),
  );

  it('is of prompt, cached prompt and output for a million tokens, of the request and of images', () => {
    const used = use({
      promptTokens: 1_000_000,
      cachedTokens: 400_000,
      completionTokens: 500_000,
      images: 3,
    });
    const expected = (600_000n * 2n * UNIT + 400_000n * (UNIT / 2n) + 500_000n * 6n * UNIT) / 1_000_000n;
    expect(list.priceOf(used, 0)).toEqual({ currency: 'EUR', pico: expected + 7n + (3n * UNIT) / 50n });
  });

  it('of nothing is that of the request', () => {
    expect(picoOf(list, use())).toBe(7n);
  });

  it('of a model without one is none', () => {
    expect(list.priceOf(use({ model: 'other' }), 0)).toBeUndefined();
  });

  it('takes no more cached tokens than the prompt has, and what is no count for nothing', () => {
    expect(picoOf(list, use({ promptTokens: 10, cachedTokens: 99 }))).toBe(
      (10n * (UNIT / 2n)) / 1_000_000n + 7n,
    );
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, -5, 1.5, 2 ** 60]) {
      expect(
        picoOf(list, use({ promptTokens: bad, cachedTokens: bad, completionTokens: bad, images: bad })),
      ).toBe(7n);
    }
  });

  it('is rounded once: three halves of the last digit are two digits, not three', () => {
    const halves = book(lists({ llama: [entry({ prompt: 500_000n, completion: 500_000n })] }));
    expect(picoOf(halves, use({ promptTokens: 1, completionTokens: 2 }))).toBe(2n);
  });

  it('is a million units at most, whatever an engine says: tables keep 64 bits', () => {
    const dear = book(lists({}, [entry({ prompt: 10n ** 20n, image: 10n ** 20n })]));
    expect(picoOf(dear, use({ promptTokens: 1e7, images: 1e9 }))).toBe(10n ** 18n);
  });
});

describe('which list counts', () => {
  const of = (n: bigint, fromMs = EVER): PriceEntries => [entry({ request: n, fromMs })];
  const full = {
    general: lists({ legal: of(4n), llama: of(5n) }, of(6n)),
    own: lists({ legal: of(1n), llama: of(2n) }, of(3n)),
  };
  const without = ({ models, others }: PriceLists, ...gone: readonly string[]): PriceLists => ({
    models: new Map([...models].filter(([name]) => !gone.includes(name))),
    others: gone.includes('rest') ? [] : others,
  });
  const used = use({ adapter: 'legal' });

  it('the tenant’s before the general one, the adapter’s before its base’s, a name before the rest', () => {
    const seen: (bigint | undefined)[] = [];
    for (const gone of [[], ['legal'], ['legal', 'llama'], ['legal', 'llama', 'rest']]) {
      seen.push(picoOf(book(full.general, { alice: without(full.own, ...gone) }), used));
    }
    for (const gone of [['legal'], ['legal', 'llama'], ['legal', 'llama', 'rest']]) {
      seen.push(picoOf(book(without(full.general, ...gone)), used));
    }
    expect(seen).toEqual([1n, 2n, 3n, 4n, 5n, 6n, undefined]);
  });

  it('another tenant’s does not, nor does an adapter’s for its base', () => {
    const list = book(full.general, { alice: full.own });
    expect(picoOf(list, use({ tenant: 'bob' }))).toBe(5n);
    expect(picoOf(list, use())).toBe(2n);
  });

  it('one that is not yet valid does not', () => {
    const list = book(full.general, { alice: lists({ llama: of(2n, NOVEMBER) }) });
    expect(picoOf(list, use(), NOVEMBER - 1)).toBe(5n);
    expect(picoOf(list, use(), NOVEMBER)).toBe(2n);
  });

  it('from its time on, and at the time of the next one no more', () => {
    const list = book(
      lists({ llama: [entry({ request: 1n, fromMs: 1_000 }), entry({ request: 2n, fromMs: 2_000 })] }),
    );
    expect([999, 1_000, 1_999, 2_000, 9e15].map((ms) => picoOf(list, use(), ms))).toEqual([
      undefined,
      1n,
      1n,
      2n,
      2n,
    ]);
  });
});

const amount = fc.bigInt(0n, 10n ** 16n);
/** Of up to six decimals for a million tokens: a token has a whole number then. */
const wholeAmount = fc.bigInt(0n, 10n ** 10n).map((n) => n * 1_000_000n);
const entryOf = (amounts: fc.Arbitrary<bigint>): fc.Arbitrary<PriceEntry> =>
  fc.record({
    fromMs: fc.oneof(fc.constant(EVER), fc.integer({ min: 0, max: 1_000 })),
    currency: fc.constantFrom('EUR', 'USD'),
    prompt: amounts,
    cachedPrompt: amounts,
    completion: amounts,
    request: amounts,
    image: amounts,
  });
const entriesArbitrary = fc
  .uniqueArray(entryOf(amount), { maxLength: 5, selector: ({ fromMs }) => fromMs })
  .map((entries) => entries.toSorted((a, b) => a.fromMs - b.fromMs));
const names = fc.constantFrom('llama', 'small', 'legal');
const listsArbitrary: fc.Arbitrary<PriceLists> = fc.record({
  models: fc.dictionary(names, entriesArbitrary).map((models) => new Map(Object.entries(models))),
  others: entriesArbitrary,
});
const configArbitrary: fc.Arbitrary<PricesConfig> = fc
  .tuple(listsArbitrary, fc.dictionary(fc.constantFrom('alice', 'bob'), listsArbitrary))
  .map(([general, tenants]) => config(general, tenants));
const tokens = fc.integer({ min: 0, max: 10_000_000 });
const useArbitrary: fc.Arbitrary<PricedUse> = fc
  .record(
    {
      tenant: fc.constantFrom('alice', 'bob', 'carol'),
      model: names,
      adapter: names,
      promptTokens: tokens,
      cachedTokens: tokens,
      completionTokens: tokens,
      images: fc.integer({ min: 0, max: 16 }),
    },
    { requiredKeys: ['tenant', 'model', 'promptTokens', 'cachedTokens', 'completionTokens'] },
  )
  .map((used) => ({ ...used, cachedTokens: Math.min(used.cachedTokens, used.promptTokens) }));
const time = fc.integer({ min: -10, max: 1_010 });

/** A fraction, never reduced: the price as one would compute it on paper. */
interface Fraction {
  readonly over: bigint;
  readonly under: bigint;
}
const plus = (a: Fraction, b: Fraction): Fraction => ({
  over: a.over * b.under + b.over * a.under,
  under: a.under * b.under,
});
const times = (count: number, price: bigint, per: bigint): Fraction => ({
  over: BigInt(count) * price,
  under: per,
});

function naivePrice({ models, others, tenants }: PricesConfig, used: PricedUse, at: number) {
  const own = tenants.get(used.tenant);
  const places = [
    ...(own === undefined
      ? []
      : [own.models.get(used.adapter ?? ''), own.models.get(used.model), own.others]),
    models.get(used.adapter ?? ''),
    models.get(used.model),
    others,
  ];
  const valid = places.flatMap((entries = []) => {
    const intervals = entries.map((one, i) => ({
      one,
      until: entries[i + 1]?.fromMs ?? Number.POSITIVE_INFINITY,
    }));
    return intervals.filter(({ one, until }) => one.fromMs <= at && at < until).map(({ one }) => one);
  });
  const [one] = valid;
  if (one === undefined) return undefined;
  const whole = [
    times(used.promptTokens - used.cachedTokens, one.prompt, 1_000_000n),
    times(used.cachedTokens, one.cachedPrompt, 1_000_000n),
    times(used.completionTokens, one.completion, 1_000_000n),
    times(1, one.request, 1n),
    times(used.images ?? 0, one.image, 1n),
  ].reduce(plus);
  const down = whole.over / whole.under;
  const rest = whole.over - down * whole.under;
  return { currency: one.currency, pico: 2n * rest >= whole.under ? down + 1n : down };
}

describe('for any lists and any use', () => {
  it('the price is that of a naive computation with fractions', () => {
    fc.assert(
      fc.property(configArbitrary, useArbitrary, time, (prices, used, at) => {
        expect(new PriceList(prices).priceOf(used, at)).toEqual(naivePrice(prices, used, at));
      }),
      { numRuns: 500 },
    );
  });

  it('the sum over parts is the whole', () => {
    fc.assert(
      fc.property(entryOf(wholeAmount), useArbitrary, useArbitrary, (one, a, b) => {
        const list = book(lists({}, [{ ...one, fromMs: EVER, request: 0n }]));
        const both = use({
          promptTokens: a.promptTokens + b.promptTokens,
          cachedTokens: a.cachedTokens + b.cachedTokens,
          completionTokens: a.completionTokens + b.completionTokens,
          images: (a.images ?? 0) + (b.images ?? 0),
        });
        expect((picoOf(list, a) ?? 0n) + (picoOf(list, b) ?? 0n)).toBe(picoOf(list, both));
        const parts = [
          use({ promptTokens: a.promptTokens - a.cachedTokens }),
          use({ promptTokens: a.cachedTokens, cachedTokens: a.cachedTokens }),
          use({ completionTokens: a.completionTokens }),
          use({ images: a.images ?? 0 }),
        ];
        expect(parts.reduce((sum, part) => sum + (picoOf(list, part) ?? 0n), 0n)).toBe(picoOf(list, a));
      }),
    );
  });

  it('finer prices differ by half of the last digit for each part at most', () => {
    fc.assert(
      fc.property(entryOf(amount), useArbitrary, useArbitrary, (one, a, b) => {
        const list = book(lists({}, [{ ...one, fromMs: EVER, request: 0n, image: 0n }]));
        const both = use({
          promptTokens: a.promptTokens + b.promptTokens,
          cachedTokens: a.cachedTokens + b.cachedTokens,
          completionTokens: a.completionTokens + b.completionTokens,
        });
        const off = (picoOf(list, a) ?? 0n) + (picoOf(list, b) ?? 0n) - (picoOf(list, both) ?? 0n);
        expect(off >= -1n && off <= 1n).toBe(true);
      }),
    );
  });

  it('a new entry changes no price before its date', () => {
    fc.assert(
      fc.property(
        configArbitrary,
        useArbitrary,
        entryOf(amount),
        fc.integer({ min: 0, max: 1_000 }),
        fc.constantFrom('model', 'others', 'own model', 'own others'),
        time,
        (prices, used, added, fromMs, where, at) => {
          fc.pre(at < fromMs);
          const into = (entries: PriceEntries = []): PriceEntries =>
            [...entries.filter((one) => one.fromMs !== fromMs), { ...added, fromMs }].toSorted(
              (a, b) => a.fromMs - b.fromMs,
            );
          const grown = ({ models, others }: PriceLists, isModel: boolean): PriceLists =>
            isModel
              ? { models: new Map(models).set(used.model, into(models.get(used.model))), others }
              : { models, others: into(others) };
          const isModel = where.endsWith('model');
          const own = prices.tenants.get(used.tenant) ?? lists();
          const after: PricesConfig = where.startsWith('own')
            ? { ...prices, tenants: new Map(prices.tenants).set(used.tenant, grown(own, isModel)) }
            : { ...prices, ...grown(prices, isModel) };
          expect(new PriceList(after).priceOf(used, at)).toEqual(new PriceList(prices).priceOf(used, at));
        },
      ),
    );
  });
});
