/** Answers of an engine to agents, as /v1/messages and /v1/responses have them. Words come one an event. */

export interface Turn {
  /** What the model says. */
  readonly text?: string;
  /** What it calls. `input` is JSON, or for a custom tool plain text. */
  readonly tool?: { readonly name: string; readonly input: object | string };
  /** What it thinks before. */
  readonly thinking?: string;
  /** The connection breaks in the middle. */
  readonly dies?: boolean;
}

const INPUT_TOKENS = 1_000;
const OUTPUT_TOKENS = 7;

let made = 0;
const newId = (prefix: string): string => {
  made += 1;
  return `${prefix}_${String(made).padStart(12, '0')}`;
};
const words = (text: string): readonly string[] => text.split(/(?<= )/);
const frame = (event: { readonly type: string }): string =>
  `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;

/** The first half, and a part of the event that stands there. */
export const deadPart = (stream: string): string => stream.slice(0, Math.floor(stream.length / 2));

const usageOf = (output: number): object => ({
  input_tokens: INPUT_TOKENS,
  output_tokens: output,
  cache_read_input_tokens: 0,
  cache_creation_input_tokens: 0,
});

function blocksOf({ text, tool, thinking }: Turn): readonly object[] {
  return [
    ...(thinking === undefined ? [] : [{ type: 'thinking', thinking, signature: 'c2ln' }]),
    ...(text === undefined ? [] : [{ type: 'text', text }]),
    ...(tool === undefined ? [] : [{ type: 'tool_use', id: newId('toolu'), ...tool }]),
  ];
}

const message = (model: string, content: readonly object[], turn: Turn | undefined): object => ({
  id: newId('msg'),
  type: 'message',
  role: 'assistant',
  model,
  content,
  stop_reason: turn === undefined ? null : stopOf(turn),
  stop_sequence: null,
  usage: usageOf(turn === undefined ? 1 : OUTPUT_TOKENS),
});

const stopOf = ({ tool }: Turn): string => (tool === undefined ? 'end_turn' : 'tool_use');

export const messageJson = (model: string, turn: Turn): string =>
  JSON.stringify(message(model, blocksOf(turn), turn));

export function messageStream(model: string, turn: Turn): string {
  const events: { readonly type: string }[] = [
    { type: 'message_start', message: message(model, [], undefined) } as { type: string },
  ];
  const block = (index: number, start: object, deltas: readonly object[]): void => {
    events.push(
      { type: 'content_block_start', index, content_block: start } as { type: string },
      ...deltas.map((delta) => ({ type: 'content_block_delta', index, delta })),
      { type: 'content_block_stop', index } as { type: string },
    );
  };
  blocksOf(turn).forEach((content, index) => {
    if ('thinking' in content) {
      block(index, { type: 'thinking', thinking: '', signature: '' }, [
        { type: 'thinking_delta', thinking: content.thinking },
        { type: 'signature_delta', signature: 'c2ln' },
      ]);
    } else if ('text' in content) {
      const deltas = words(String(content.text)).map((text) => ({ type: 'text_delta', text }));
      block(index, { type: 'text', text: '' }, deltas);
    } else {
      const input = JSON.stringify((content as { input: object }).input);
      block(index, { ...content, input: {} }, [{ type: 'input_json_delta', partial_json: input }]);
    }
  });
  const delta = { stop_reason: stopOf(turn), stop_sequence: null };
  events.push({ type: 'message_delta', delta, usage: usageOf(OUTPUT_TOKENS) } as { type: string });
  events.push({ type: 'message_stop' });
  return events.map(frame).join('');
}

function itemsOf({ text, tool, thinking }: Turn): readonly object[] {
  return [
    ...(thinking === undefined
      ? []
      : [
          {
            type: 'reasoning',
            id: newId('rs'),
            summary: [{ type: 'summary_text', text: thinking }],
            encrypted_content: 'c2VjcmV0',
          },
        ]),
    ...(text === undefined
      ? []
      : [
          {
            type: 'message',
            id: newId('msg'),
            role: 'assistant',
            status: 'completed',
            content: [{ type: 'output_text', text, annotations: [] }],
          },
        ]),
    ...(tool === undefined ? [] : [callOf(tool)]),
  ];
}

const callOf = ({ name, input }: NonNullable<Turn['tool']>): object =>
  typeof input === 'string'
    ? { type: 'custom_tool_call', id: newId('ctc'), call_id: newId('call'), name, input }
    : {
        type: 'function_call',
        id: newId('fc'),
        call_id: newId('call'),
        status: 'completed',
        name,
        arguments: JSON.stringify(input),
      };

export function responseStream(model: string, turn: Turn): string {
  const id = newId('resp');
  const items = itemsOf(turn);
  const response = (status: string, output: readonly object[]): object => ({
    id,
    object: 'response',
    created_at: 1,
    model,
    status,
    output,
    usage:
      status === 'completed'
        ? {
            input_tokens: INPUT_TOKENS,
            input_tokens_details: { cached_tokens: 0 },
            output_tokens: OUTPUT_TOKENS,
            output_tokens_details: { reasoning_tokens: 0 },
            total_tokens: INPUT_TOKENS + OUTPUT_TOKENS,
          }
        : null,
  });
  const events: object[] = [{ type: 'response.created', response: response('in_progress', []) }];
  items.forEach((item, index) => {
    events.push({ type: 'response.output_item.added', output_index: index, item });
    if ('content' in item) {
      for (const delta of words(turn.text ?? '')) {
        const at = { output_index: index, content_index: 0, item_id: (item as { id?: string }).id };
        events.push({ type: 'response.output_text.delta', ...at, delta });
      }
    }
    events.push({ type: 'response.output_item.done', output_index: index, item });
  });
  events.push({ type: 'response.completed', response: response('completed', items) });
  return events
    .map((event, sequence) => frame({ ...event, sequence_number: sequence } as unknown as { type: string }))
    .join('');
}
