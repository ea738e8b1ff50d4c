import { describe, expect, it } from 'vitest';
import { placesOf } from '../../../prove/unaltered/oracle.ts';
import { run, told } from '../../../prove/unaltered.ts';
import { CLIENT_BODIES } from '../../../support/client-bodies.ts';

describe('a body that is sent on', () => {
  it('is the client’s own, but for what is changed on purpose', () => {
    // `npm run prove -- unaltered` has a million.
    const { alterations, changed, sent } = run({ bodies: 4_000, seed: 13 });
    expect(alterations.map(told)).toEqual([]);
    expect(sent).toBe(4_000);
    expect(changed).toBeGreaterThan(3_000);
  });
});

describe('the places of a body', () => {
  it('are those of its members, in every body of a client', () => {
    for (const { bytes } of CLIENT_BODIES) {
      const text = bytes.toString();
      const values = placesOf(text).members.map(({ key, value }) => [
        key,
        JSON.parse(text.slice(value.start, value.end)),
      ]);
      expect(Object.fromEntries(values)).toEqual(JSON.parse(text));
    }
  });
});
