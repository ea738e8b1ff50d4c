/** Whom requests are counted for. */
import { describe, expect, it } from 'vitest';
import type { AttributionConfig } from '../../../src/config/attribution.ts';
import { chatHead, createWorld, type World } from '../../support/lifecycle.ts';
import { configOf, minimal, problemsOf, put, warningsOf } from '../config/parse.ts';

const worldWith = (attribution: AttributionConfig | undefined): World =>
  createWorld({
    change: (config) => ({ ...config, ...(attribution !== undefined && { attribution }) }),
  });
const byUser: AttributionConfig = { by: 'user', most: 10 };

/** The tag of a request that was sent and given up. */
function tagOf(
  world: World,
  body: string,
  { path = '/v1/chat/completions', headers = {} } = {},
): string | undefined {
  const { request } = world.open();
  const values: Readonly<Record<string, string>> = headers;
  const header = (name: string): string =>
    values[name] ?? (name === 'content-type' ? 'application/json' : '');
  request.headers(chatHead({ path, header }), 0);
  request.body(Buffer.from(body), 0);
  request.streamEnded(0);
  return world.records.at(-1)?.tag;
}
const chat = (fields: object): string =>
  JSON.stringify({ model: 'small', messages: [{ role: 'user', content: 'hi' }], max_tokens: 5, ...fields });

describe('a request that is attributed by its user', () => {
  const world = worldWith(byUser);
  it.each([
    [{ user: 'alice' }, 'alice'],
    [{ user: 'alice', safety_identifier: 'hash' }, 'alice'],
    [{ safety_identifier: 'hash' }, 'hash'],
    [{ user: null, safety_identifier: 'hash' }, 'hash'],
    [{ user: 'x'.repeat(500_000) }, 'x'.repeat(64)],
    [{ user: 'a\u202eb\n' }, 'a\\u202eb'],
    [{}, undefined],
    [{ user: '' }, undefined],
    [{ user: 7 }, undefined],
    [{ user: true }, undefined],
    [{ user: { name: 'x' } }, undefined],
    [{ user: ['x'] }, undefined],
    [{ metadata: { user_id: 'other API' } }, undefined],
    [{ messages: [{ role: 'user', content: 'hi', user: 'inner' }] }, undefined],
  ])('with %j', (fields, tag) => {
    expect(tagOf(world, chat(fields))).toBe(tag);
  });

  it('goes by what the name says; a body with two is refused', () => {
    const begin = '{"model":"small","messages":[{"role":"user","content":"hi"}],"max_tokens":5,';
    expect(tagOf(world, `${begin}"\\u0075ser":"alice"}`)).toBe('alice');
    expect(tagOf(world, `${begin}"user":"alice","user":"bob"}`)).toBeUndefined();
    expect(world.records.at(-1)).toMatchObject({ outcome: 'refused' });
  });

  it.each([
    [{ metadata: { user_id: 'alice' } }, 'alice'],
    [{ metadata: { user_id: 5 } }, undefined],
    [{ metadata: 'alice' }, undefined],
    [{ user: 'alice' }, undefined],
  ])('has Anthropic’s name of it with Anthropic’s API: %j', (fields, tag) => {
    expect(tagOf(world, chat(fields), { path: '/v1/messages' })).toBe(tag);
  });

  it('has none where that is off, or of a header', () => {
    for (const attribution of [undefined, { by: 'header', header: 'x-team', most: 10 } as const]) {
      expect(tagOf(worldWith(attribution), chat({ user: 'alice' }))).toBeUndefined();
    }
  });
});

describe('a request that is attributed by a header', () => {
  const world = worldWith({ by: 'header', header: 'x-team', most: 10 });
  it('has its text, also when it is refused before its body is read', () => {
    expect(tagOf(world, chat({}), { headers: { 'x-team': ' blue ' } })).toBe('blue');
    expect(tagOf(world, chat({}))).toBeUndefined();
    expect(tagOf(world, '{', { headers: { 'x-team': '=1+1' } })).toBe("'=1+1");
  });
});

describe('the attribution', () => {
  const withAttribution = (attribution: unknown) => put(minimal(), 'attribution', attribution);
  it('is off by default, and has a bound', () => {
    expect(configOf(minimal())).not.toHaveProperty('attribution');
    expect(configOf(withAttribution({ by: 'user' })).attribution).toEqual({ by: 'user', most: 1_000 });
    expect(configOf(withAttribution({ by: 'header', header: 'x-team', most: 5 })).attribution).toEqual({
      by: 'header',
      header: 'x-team',
      most: 5,
    });
    expect(warningsOf(withAttribution({ by: 'user', header: 'x-team' })).join()).toContain('has no effect');
  });

  it.each([
    [{}, 'by'],
    [{ by: 'tenant' }, 'by'],
    [{ by: 'header' }, 'header: is missing'],
    [{ by: 'header', header: 'X Team' }, 'a header name'],
    [{ by: 'header', header: 'authorization' }, 'would be in every usage record'],
    [{ by: 'header', header: 'x-api-key' }, 'would be in every usage record'],
    [{ by: 'header', header: 'x-fairlane-team' }, 'never comes from a client'],
    [{ by: 'user', most: 0 }, 'most'],
    ['user', 'attribution'],
  ])('is refused: %j', (attribution, problem) => {
    expect(problemsOf(withAttribution(attribution)).join('\n')).toContain(problem);
  });
});
