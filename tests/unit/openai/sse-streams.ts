/** Generated event streams for the property tests, and ways to cut and to meter them. */
import * as fc from 'fast-check';
import type { EngineRoute } from '../../../src/domain/routes.ts';
import type { MeterResult } from '../../../src/openai/response-meter.ts';
import { createStreamMeter } from '../../../src/openai/stream-meter.ts';

export interface Metered {
  readonly output: Buffer;
  readonly result: MeterResult;
}

/** Meters the pieces of a stream, all at one moment unless `times` says otherwise. */
export function meter(
  pieces: readonly Uint8Array[],
  options: {
    readonly route?: EngineRoute;
    readonly remove?: boolean;
    readonly times?: readonly number[];
  } = {},
): Metered {
  const { route = 'chat.completions', remove = false, times } = options;
  const subject = createStreamMeter({ route, removeUsageChunk: remove });
  const out: Uint8Array[] = [];
  for (const [i, piece] of pieces.entries()) {
    // A copy, taken at once: what the meter gives must not change with later chunks, nor depend on ours.
    const chunk = Buffer.from(piece);
    out.push(Buffer.from(subject.push(chunk, times?.[i] ?? 1000) ?? chunk));
  }
  const rest = subject.end();
  if (rest !== undefined) out.push(rest);
  return { output: Buffer.concat(out), result: subject.result() };
}

/** Cuts a stream at the positions, taken modulo its length. */
export function cutAt(stream: Buffer, positions: readonly number[]): Buffer[] {
  const cuts = [...new Set(positions.map((p) => p % (stream.length + 1)))].sort((a, b) => a - b);
  return [0, ...cuts].map((from, i) => stream.subarray(from, cuts[i] ?? stream.length));
}

/** Text that looks like everything the scanner looks for. */
const hostile = fc.constantFrom(
  '"usage":{"prompt_tokens":1}',
  '\n\ndata: [DONE]\n\n',
  '"finish_reason":"stop"',
  '"error":{}',
  '"choices":[]',
  '"type":"response.completed"',
  '"',
  ' "',
  '\\',
  '"usage',
  '{"error"',
  '\r',
  'é🙂',
);
const words = fc.oneof(fc.string({ unit: 'binary', minLength: 1, maxLength: 8 }), hostile);

export interface Event {
  readonly json?: object;
  readonly raw?: string;
  readonly removable?: boolean;
}

const chunk = (choices: readonly object[], rest: object = {}): object => ({
  id: 'chatcmpl-1',
  object: 'chat.completion.chunk',
  created: 1,
  model: 'm',
  choices,
  ...rest,
});

const noise: fc.Arbitrary<Event> = fc.constantFrom<Event>(
  { raw: ': keep-alive "usage":{' },
  { raw: 'event: ping' },
  { raw: 'id: 1' },
  { raw: 'data' },
  { raw: 'data: not json "usage":{' },
  { raw: 'retry: 5' },
  { json: { ping: true } },
);

const chatToken = fc
  .tuple(words, fc.nat(2), fc.constantFrom('content', 'reasoning_content', 'tool_calls'), fc.boolean())
  .map(([text, index, kind, nulls]): Event => {
    const delta =
      kind === 'tool_calls'
        ? { tool_calls: [{ index: 0, function: { arguments: text } }] }
        : { [kind]: text };
    const rest = nulls ? { usage: null, error: null } : {};
    return { json: chunk([{ index, delta, logprobs: null, finish_reason: null }], rest) };
  });

const finish = fc
  .tuple(fc.nat(2), fc.constantFrom('stop', 'length', 'tool_calls'))
  .map(([index, reason]): Event => ({ json: chunk([{ index, delta: {}, finish_reason: reason }]) }));

const usage = fc.tuple(fc.nat(1e6), fc.nat(1e6)).map(
  ([prompt, completion]): Event => ({
    json: chunk([], {
      usage: { prompt_tokens: prompt, completion_tokens: completion, total_tokens: prompt + completion },
    }),
    removable: true,
  }),
);

const role: Event = {
  json: chunk([{ index: 0, delta: { role: 'assistant', content: '' }, finish_reason: null }]),
};

/** A chat stream as engines send it: role, tokens, finish, perhaps usage, perhaps [DONE], with noise in between. */
const chatEvents = fc
  .tuple(
    fc.array(fc.oneof({ weight: 4, arbitrary: chatToken }, { weight: 1, arbitrary: noise }), {
      maxLength: 8,
    }),
    fc.array(finish, { minLength: 1, maxLength: 2 }),
    fc.array(noise, { maxLength: 1 }),
    fc.option(usage, { nil: undefined }),
    fc.boolean(),
  )
  .map(([tokens, ends, between, last, done]): Event[] => [
    role,
    ...tokens,
    ...ends,
    ...between,
    ...(last === undefined ? [] : [last]),
    ...(done ? [{ raw: 'data: [DONE]' }] : []),
  ]);

const typedEvents = (route: EngineRoute): fc.Arbitrary<Event[]> =>
  fc.array(words, { maxLength: 6 }).map((texts): Event[] =>
    route === 'messages'
      ? [
          { json: { type: 'message_start', message: { usage: { input_tokens: 9, output_tokens: 0 } } } },
          { json: { type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } } },
          ...texts.map((text) => ({
            json: { type: 'content_block_delta', delta: { type: 'text_delta', text } },
          })),
          {
            json: {
              type: 'message_delta',
              delta: { stop_reason: 'end_turn' },
              usage: { output_tokens: 4 },
            },
          },
          { json: { type: 'message_stop' } },
        ]
      : [
          { json: { response: { usage: null, error: null }, type: 'response.created' } },
          ...texts.map((delta) => ({ json: { delta, type: 'response.output_text.delta' } })),
          { json: { text: texts.join(''), type: 'response.output_text.done' } },
          {
            json: {
              type: 'response.completed',
              response: { usage: { input_tokens: 9, output_tokens: 4 } },
            },
          },
        ],
  );

/** How one event is written. */
const style = fc.record({
  eol: fc.constantFrom('\n', '\r\n', '\r'),
  space: fc.constantFrom('', ' '),
  /** Several `data` lines: JSON may be broken where it has white space. */
  pretty: fc.boolean(),
  named: fc.boolean(),
});

function write(event: Event, how: { eol: string; space: string; pretty: boolean; named: boolean }): Buffer {
  const { eol, space, pretty, named } = how;
  const lines =
    event.json === undefined
      ? [event.raw ?? '']
      : (pretty ? JSON.stringify(event.json, null, 1).split('\n') : [JSON.stringify(event.json)]).map(
          (line) => `data:${space}${line}`,
        );
  return Buffer.from([...(named ? ['event: x'] : []), ...lines, '', ''].join(eol));
}

export interface Stream {
  readonly bytes: Buffer;
  readonly withoutUsage: Buffer;
  readonly events: readonly Event[];
}

export const streams = (route: EngineRoute): fc.Arbitrary<Stream> =>
  (route === 'messages' || route === 'responses' ? typedEvents(route) : chatEvents).chain((events) =>
    fc.array(style, { minLength: events.length, maxLength: events.length }).map((styles) => {
      const written = events.map((event, i) => write(event, styles[i] as (typeof styles)[number]));
      return {
        bytes: Buffer.concat(written),
        withoutUsage: Buffer.concat(written.filter((_, i) => events[i]?.removable !== true)),
        events,
      };
    }),
  );
