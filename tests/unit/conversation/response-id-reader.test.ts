/** The id at the beginning of an answer, as engines write it, in any pieces. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ResponseIdReader } from '../../../src/conversation/response-id-reader.ts';

const ID = 'resp_0123456789abcdef0123456789abcdef';

function read(text: string, isStream: boolean, cuts: readonly number[] = []): string | undefined {
  const bytes = Buffer.from(text);
  const reader = new ResponseIdReader(isStream);
  const edges = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).toSorted((a, b) => a - b), bytes.length];
  for (const [i, from] of edges.entries()) {
    const found = reader.push(bytes.subarray(from, edges[i + 1] ?? bytes.length));
    if (found !== undefined) return found;
  }
  return undefined;
}

const body = (before: object, after: object = {}) => JSON.stringify({ ...before, id: ID, ...after });
const event = (type: string, response: object, rest: object = {}) =>
  `event: ${type}\ndata: ${JSON.stringify({ ...rest, response, type })}\n\n`;

const FOUND: readonly (readonly [string, string, boolean])[] = [
  ['vLLM, in one piece', body({}, { object: 'response', output: [{ id: 'msg_1' }] }), false],
  ['llama.cpp, in one piece', body({ completed_at: 1, created_at: 1.5 }, { object: 'response' }), false],
  [
    'names in the order of the alphabet',
    body({ background: null, conversation: { id: 'conv_1' }, error: null }),
    false,
  ],
  [
    'after values that look like it',
    body({ a: 'id', b: '"id":"resp_x"', c: ['id', 'resp_y', { id: 'resp_z' }] }),
    false,
  ],
  ['pretty', JSON.stringify({ id: ID, x: 1 }, null, 2), false],
  ['white space before', `\n\n ${body({})}`, false],
  ['vLLM, streamed', event('response.created', { id: ID, output: [] }, { sequence_number: 0 }), true],
  ['OpenAI, streamed', `data: {"type":"response.created","response":{"id":"${ID}"}}\n\n`, true],
  ['without a space', `data:{"response":{"id":"${ID}"}}\n`, true],
  ['with line ends of the other kind', `event: x\r\ndata: {"response":{"id":"${ID}"}}\r\n\r\n`, true],
  [
    'after comments and other events',
    `: ping\n\nevent: ping\ndata: {"id":"resp_x"}\n\n${event('response.created', { id: ID })}`,
    true,
  ],
  [
    'after lists within',
    event('response.created', { a: [1, { id: 'resp_x' }], b: { id: 'resp_y' }, id: ID }),
    true,
  ],
];

const NOT_FOUND: readonly (readonly [string, string, boolean])[] = [
  ['nothing', '', false],
  ['another type', '{"id":7}', false],
  ['an object', '{"id":{"id":"resp_a"}}', false],
  ['deeper', '{"response":{"id":"resp_a"}}', false],
  ['with an escape', '{"id":"resp_\\u0061"}', false],
  ['a name with an escape', '{"\\u0069d":"resp_a"}', false],
  ['too late', `{"x":"${'a'.repeat(20_000)}","id":"resp_a"}`, false],
  ['after the end', '{} {"id":"resp_a"}', false],
  ['a list', '["id","resp_a"]', false],
  ['cut off', '{"id":"resp_a', false],
  ['a huge one', `{"id":"resp_${'a'.repeat(1_000)}"}`, false],
  ['a stream’s other events', 'data: {"id":"resp_a"}\n\ndata: {"item":{"id":"resp_b"}}\n\n', true],
  ['no data', 'event: {"response":{"id":"resp_a"}}\n\n', true],
  ['in an event that was cut', 'data: {"response":{\ndata: "id":"resp_a"}}\n\n', true],
  ['not in the response', 'data: {"response":{"x":1},"id":"resp_a","y":{"id":"resp_b"}}\n\n', true],
  ['a response that is a list', 'data: {"response":["id","resp_a",{"id":"resp_b"}]}\n\n', true],
];

describe('the id of a response', () => {
  it.each(FOUND)('is found: %s', (_, text, isStream) => {
    expect(read(text, isStream)).toBe(ID);
  });

  it.each(NOT_FOUND)('is not found: %s', (_, text, isStream) => {
    expect(read(text, isStream)).toBeUndefined();
  });

  it('is the same in whatever pieces the answer comes', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...FOUND, ...NOT_FOUND),
        fc.array(fc.nat(20_000), { maxLength: 12 }),
        ([, text, isStream], cuts) => {
          expect(read(text, isStream, cuts)).toBe(read(text, isStream));
        },
      ),
      { seed: 13, numRuns: 1_000 },
    );
  });

  it('is looked for in the first 16 KiB alone, and no longer than that', () => {
    const reader = new ResponseIdReader(false);
    const piece = Buffer.alloc(1_024, 0x20);
    for (let i = 0; i < 16; i += 1) {
      expect(reader.done).toBe(false);
      reader.push(piece);
    }
    expect(reader.done).toBe(true);
  });

  it('is what JSON.parse says of any object whose members are in any order', () => {
    const member = fc.tuple(
      fc.string({ maxLength: 8 }).filter((name) => name !== 'id'),
      fc.jsonValue({ maxDepth: 3 }),
    );
    fc.assert(
      fc.property(fc.array(member, { maxLength: 5 }), fc.array(member, { maxLength: 5 }), (before, after) => {
        const response = Object.fromEntries([...before, ['id', ID], ...after]) as { id: string };
        expect(read(JSON.stringify(response), false)).toBe(response.id);
        expect(
          read(
            event(
              'response.created',
              response,
              Object.fromEntries(before.filter(([name]) => name !== 'response')),
            ),
            true,
          ),
        ).toBe(ID);
      }),
      { seed: 13, numRuns: 500 },
    );
  });
});
