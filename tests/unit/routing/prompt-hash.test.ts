import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { endOfBlock, MOST_BLOCKS } from '../../../src/routing/prompt-blocks.ts';
import {
  createPromptHasher,
  type PromptHashes,
  type PromptSource,
} from '../../../src/routing/prompt-hash.ts';
import { jsonDocumentOf } from '../../support/documents.ts';
import { SEED } from './fixtures.ts';

type JsonObject = Readonly<Record<string, unknown>>;

const hasher = createPromptHasher(SEED);
const hash = (body: JsonObject, more: Partial<PromptSource> = {}): PromptHashes => {
  const found = hasher.hash({
    route: 'chat.completions',
    document: jsonDocumentOf(body),
    scope: 'a',
    model: 'm',
    ...more,
  });
  if (found === undefined) throw new Error('nothing was hashed');
  return found;
};
const user = (content: string) => ({ role: 'user', content });
const assistant = (content: string) => ({ role: 'assistant', content });
const chat = (...messages: readonly JsonObject[]): JsonObject => ({ model: 'm', messages });
const completion = (prompt: string): PromptHashes => hash({ prompt }, { route: 'completions' });

/** Blocks that are the same from the beginning. */
const common = (a: PromptHashes, b: PromptHashes): number => {
  let i = 0;
  while (i < a.blocks.length && i < b.blocks.length && a.blocks[i] === b.blocks[i]) i += 1;
  return Math.floor(i / 2);
};
const countOf = ({ blocks }: PromptHashes): number => blocks.length / 2;
const text = (length: number, salt = ''): string =>
  Array.from({ length: Math.ceil(length / 8) }, (_, i) => `${salt}${i}`.padEnd(8, '.'))
    .join('')
    .slice(0, length);

describe('the hashes of a prompt', () => {
  it('are the same as far as the first bytes are, and differ from there on', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'grapheme', maxLength: 3_000 }),
        fc.string({ maxLength: 2_000 }),
        fc.string({ maxLength: 2_000 }),
        (start, left, right) => {
          const a = completion(start + left);
          const b = completion(start + right);
          const sameBytes = Buffer.byteLength(start);
          let full = 0;
          while (endOfBlock(full) <= sameBytes) full += 1;
          expect(common(a, b)).toBeGreaterThanOrEqual(Math.min(full, countOf(a), countOf(b)));
          if (left === '' || right === '' || left.charCodeAt(0) === right.charCodeAt(0)) return;
          expect(common(a, b)).toBeLessThanOrEqual(full);
        },
      ),
    );
  });

  it('do not depend on where the text is cut into pieces on its way', () => {
    // Four bytes a character: pieces end within a pair unless they are moved.
    for (const shift of [0, 1, 2, 3]) {
      const long = 'x'.repeat(shift) + '𝄞'.repeat(40_000);
      const longer = completion(`${long}tail`);
      expect(common(completion(long), longer)).toBe(countOf(completion(long)));
      expect(countOf(completion(long))).toBeGreaterThan(60);
    }
  });

  it('of a conversation are those of its next turn too', () => {
    const first = chat({ role: 'system', content: text(3_000) }, user(text(900, 'q')));
    const next = chat(
      ...(first['messages'] as JsonObject[]),
      assistant(text(700, 'a')),
      user(text(400, 'r')),
    );
    expect(common(hash(first), hash(next))).toBe(countOf(hash(first)));
  });

  it('have nothing in common between two scopes, two models or two adapters, nor two processes', () => {
    const body = chat(user(text(5_000)));
    const one = hash(body);
    const others = [
      hash(body, { scope: 'b' }),
      hash(body, { model: 'n' }),
      hash(body, { adapter: 'x' }),
      hash(body, { scope: 'am', model: '' }),
      createPromptHasher(Uint32Array.from([1, 2, 3, 4, 5, 6])).hash({
        route: 'chat.completions',
        document: jsonDocumentOf(body),
        scope: 'a',
        model: 'm',
      }),
    ];
    const known = new Set(one.blocks);
    for (const other of others) {
      for (const word of other?.blocks ?? []) expect(known.has(word)).toBe(false);
    }
  });

  it('see who says something, tools, and where one message ends', () => {
    const bodies = [
      chat(user(text(600))),
      chat(assistant(text(600))),
      chat(user(text(300)), user(text(600).slice(300))),
      { ...chat(user(text(600))), tools: [{ type: 'function', function: { name: 'f' } }] },
    ];
    const hashes = bodies.map((body) => hash(body).blocks.join());
    expect(new Set(hashes).size).toBe(bodies.length);
  });

  it('do not change with what is no prompt, nor with cache marks that move between turns', () => {
    const message = { role: 'user', content: [{ type: 'text', text: text(600) }] };
    const marked = {
      role: 'user',
      content: [{ type: 'text', text: text(600), cache_control: { type: 'ephemeral' } }],
    };
    expect(hash({ ...chat(message), temperature: 1, max_tokens: 7 })).toEqual(hash(chat(message)));
    expect(hash(chat(marked))).toEqual(hash(chat(message)));
  });

  it('tell images apart without reading all of them', () => {
    const image = (data: string) =>
      chat({
        role: 'user',
        content: [
          { type: 'image_url', image_url: { url: `data:image/png;base64,${data}` } },
          { type: 'text', text: text(900) },
        ],
      });
    const [a, b] = [text(500_000, 'a'), text(500_000, 'b')].map((data) => hash(image(data)));
    expect(common(a as PromptHashes, b as PromptHashes)).toBeLessThanOrEqual(1);
    expect(a?.bytes).toBeLessThan(3_000);
  });

  it('are of bounded number for a prompt of one huge line, which is known by its beginning', () => {
    const huge = 'y'.repeat(8_000_000);
    const one = hash(chat(user(huge)));
    expect(countOf(one)).toBe(MOST_BLOCKS);
    expect(MOST_BLOCKS).toBeLessThan(128);
    expect(one.bytes).toBeLessThanOrEqual(2 ** 20);
    expect(hash(chat(user(`${huge}z`)))).toEqual(one);
    expect(common(hash(chat(user(`z${huge}`))), one)).toBe(0);
  });

  it('take what a client may send: nothing, numbers, nesting, many small messages', () => {
    expect(countOf(completion(''))).toBe(0);
    const tokens = Array.from({ length: 1_000 }, (_, i) => i * 97);
    const found = hash({ prompt: tokens }, { route: 'completions' });
    expect(common(found, hash({ prompt: [...tokens, 5] }, { route: 'completions' }))).toBe(countOf(found));
    let nested: JsonObject = { role: 'user', content: 'x' };
    for (let i = 0; i < 100; i += 1) nested = { content: nested };
    expect(hash(chat(nested)).bytes).toBeGreaterThan(100);
    const many = Array.from({ length: 16_000 }, (_, i) =>
      user(`hi ${i} and what else is there to be said, I wonder, that was not said already`),
    );
    expect(countOf(hash({ messages: many }))).toBe(MOST_BLOCKS);
    expect(hash({ messages: [null, 3, 'text', [], {}] }).bytes).toBeGreaterThan(0);
    expect(
      hasher.hash({ route: 'embeddings', document: jsonDocumentOf({ input: 'x' }), scope: 'a', model: 'm' }),
    ).toBeUndefined();
  });

  it('leave nothing behind for the next prompt', () => {
    const body = chat(user(text(5_000)));
    const before = hash(body);
    hash(chat(user('z'.repeat(70_001))));
    completion('😀');
    expect(hash(body)).toEqual(before);
  });
});

describe('the name of a session', () => {
  const first = chat({ role: 'system', content: 'be brief' }, user('what is up?'));
  const later = chat(...(first['messages'] as JsonObject[]), assistant('nothing'), user('and now?'));

  it('is what comes up to the first message of the user, and the conversation continues after an answer', () => {
    expect(hash(later).session).toBe(hash(first).session);
    expect(hash(first).session).toBeTypeOf('number');
    expect([hash(first).continues, hash(later).continues]).toEqual([false, true]);
    expect(hash(chat(user('what is up!'))).session).not.toBe(hash(first).session);
    expect(hash(first, { scope: 'b' }).session).not.toBe(hash(first).session);
  });

  it('is the id that was given, whatever is said; in another scope it is another session', () => {
    const named = hash(first, { sessionId: 'loop-1' });
    expect(named.continues).toBe(true);
    expect(hash(chat(user('other')), { sessionId: 'loop-1' }).session).toBe(named.session);
    expect(hash(first, { sessionId: 'loop-2' }).session).not.toBe(named.session);
    expect(hash(first, { sessionId: 'loop-1', scope: 'b' }).session).not.toBe(named.session);
    expect(named.blocks).toEqual(hash(first).blocks);
  });

  it('is absent where there is no message of a user', () => {
    expect(completion('once upon a time').session).toBeUndefined();
  });
});
