import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type Aliases,
  loadAliases,
  type ModelAvailability,
  type UnavailableReason,
} from '../../../src/config/aliases.ts';

const MODELS = new Set(['large', 'small', 'other']);
const load = (aliases: Record<string, string>, fallbacks: Record<string, readonly string[]> = {}) =>
  loadAliases(
    { aliases: new Map(Object.entries(aliases)), fallbacks: new Map(Object.entries(fallbacks)) },
    (model) => MODELS.has(model),
  );
const good = (...args: Parameters<typeof load>): Aliases => {
  const loaded = load(...args);
  if (loaded.kind === 'bad') throw new Error(JSON.stringify(loaded.problems));
  return loaded.aliases;
};
const problems = (...args: Parameters<typeof load>): readonly string[] => {
  const loaded = load(...args);
  return loaded.kind === 'bad'
    ? loaded.problems.map(({ path, message }) => `${path.join('.')}: ${message}`)
    : [];
};
const ok: ModelAvailability = { kind: 'ok' };
const hindered = (by: UnavailableReason): ModelAvailability => ({ kind: 'hindered', by });
const tries = (states: Record<string, ModelAvailability>) => (model: string) =>
  states[model] ?? { kind: 'denied' as const };

describe('an alias', () => {
  it('stands for a model, also by way of another', () => {
    const aliases = good({ gpt: 'best', best: 'large' });
    expect(aliases.modelOf('gpt')).toBe('large');
    expect(aliases.modelOf('small')).toBe('small');
    expect(aliases.names()).toEqual(['gpt', 'best']);
    expect(aliases.choose('gpt', tries({ large: ok }))).toEqual({ kind: 'serve', model: 'large' });
  });
  it('that goes in a circle, hides a model or stands for none is refused, and told how', () => {
    expect(problems({ a: 'b', b: 'c', c: 'a' })[0]).toBe(
      'aliases.a: goes in a circle: "a" → "b" → "c" → "a"; name a model at its end',
    );
    expect(problems({ a: 'a' })).toHaveLength(1);
    expect(problems({ x: 'a', a: 'b', b: 'a' })).toHaveLength(3);
    expect(problems({ large: 'small' })).toEqual([
      "aliases.large: is a model's own name; choose another for the alias",
    ]);
    expect(problems({ a: 'gone' })).toEqual(['aliases.a: no pool serves "gone"; name a model that one does']);
  });
  it('may be one of a thousand in a row, and a circle of a thousand is told in few words', () => {
    const row = (end: string) =>
      Object.fromEntries(Array.from({ length: 1_000 }, (_, i) => [`a${i}`, i === 999 ? end : `a${i + 1}`]));
    expect(good(row('large')).modelOf('a0')).toBe('large');
    const circle = problems(row('a0'));
    expect(circle).toHaveLength(1_000);
    expect(Math.max(...circle.map(({ length }) => length))).toBeLessThan(120);
  });
  it('ends at a model or is refused, whatever is written', () => {
    const arbName = fc.constantFrom('a', 'b', 'c', 'd', 'large');
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom('a', 'b', 'c', 'd'), arbName), (written) => {
        const loaded = load(written);
        if (loaded.kind === 'bad') return;
        for (const name of loaded.aliases.names()) expect(loaded.aliases.modelOf(name)).toBe('large');
      }),
    );
  });
});

describe('a fallback', () => {
  const aliases = good({ gpt: 'large', tiny: 'small' }, { large: ['tiny', 'other'], small: ['large'] });

  it('serves when the model cannot, in order, also behind an alias', () => {
    const choose = (asked: string, states: Record<string, ModelAvailability>) =>
      aliases.choose(asked, tries(states));
    expect(choose('large', { large: hindered('queue-full'), small: ok, other: ok })).toEqual({
      kind: 'serve',
      model: 'small',
    });
    expect(
      choose('gpt', { large: hindered('no-endpoint'), small: hindered('queue-full'), other: ok }),
    ).toMatchObject({ model: 'other' });
  });
  it('leaves the refusal of the model that was asked for when it cannot either', () => {
    expect(
      aliases.choose('large', tries({ large: hindered('no-endpoint'), small: hindered('queue-full') })),
    ).toEqual({ kind: 'hindered', model: 'large', by: 'no-endpoint' });
  });
  it('opens no model to who may not use it', () => {
    expect(aliases.choose('large', tries({ small: ok }))).toEqual({ kind: 'denied' });
    expect(aliases.choose('large', tries({ large: hindered('no-endpoint'), other: ok }))).toMatchObject({
      model: 'other',
    });
  });
  it('is asked for by the name under which it is listed', () => {
    const asked: string[] = [];
    aliases.choose('gpt', (_model, name) => {
      asked.push(name);
      return hindered('no-endpoint');
    });
    expect(asked).toEqual(['gpt', 'tiny', 'other']);
  });
  it('is not followed further: two models may stand in for one another', () => {
    const none = tries({ large: hindered('no-endpoint'), small: hindered('no-endpoint') });
    expect(aliases.choose('large', none)).toMatchObject({ kind: 'hindered', model: 'large' });
  });
  it('to the model itself, or to none, is refused', () => {
    expect(problems({ gpt: 'large' }, { large: ['gpt'] })).toEqual([
      'models.large.fallback.0: "gpt" is the same model; name another',
    ]);
    expect(problems({}, { large: ['gone'] })).toHaveLength(1);
  });
});
