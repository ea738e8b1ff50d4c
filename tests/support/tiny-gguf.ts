/** A tiny Llama with random weights and a byte tokenizer, as a GGUF file: 0.3 MB, for a real llama.cpp server. */

const CONTEXT = 2_048;
const WIDTH = 64;
const FEED_FORWARD = 128;
const HEADS = 2;
const ALIGNMENT = 32;

// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
const UINT32 = 4;
const INT32 = 5;
const FLOAT32 = 6;
const BOOL = 7;
const STRING = 8;
const ARRAY = 9;
const TENSOR_F32 = 0;

const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};
const u64 = (value: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
};
const f32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes;
};
const text = (value: string): Buffer => {
  const bytes = Buffer.from(value);
  return Buffer.concat([u64(bytes.length), bytes]);
};
const entry = (key: string, type: number, value: Buffer): Buffer =>
  Buffer.concat([text(key), u32(type), value]);
const list = (key: string, type: number, items: readonly Buffer[]): Buffer =>
  entry(key, ARRAY, Buffer.concat([u32(type), u64(items.length), ...items]));

/** GPT-2's letters for the 256 bytes: printable ones stand for themselves. */
function byteLetters(): readonly string[] {
  const isPrintable = (byte: number): boolean =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  let others = 0;
  return Array.from({ length: 256 }, (_, byte) =>
    String.fromCodePoint(isPrintable(byte) ? byte : 256 + others++),
  );
}

/** Small numbers, the same every time. */
function weights(count: number, seed: number): Buffer {
  const bytes = Buffer.alloc(4 * count);
  let state = seed;
  for (let index = 0; index < count; index += 1) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes.writeFloatLE((state / 2 ** 32 - 0.5) / 4, 4 * index);
  }
  return bytes;
}

/**
 * Sets the first number of every row. The first number of every hidden state is large, and the last layer makes letters
 * of it: bytes that are no UTF-8 are an error to the server.
 */
function setFirst(rows: Buffer, valueOf: (row: number) => number): void {
  for (let row = 0; row * 4 * WIDTH < rows.length; row += 1) rows.writeFloatLE(valueOf(row), row * 4 * WIDTH);
}
const isLetter = (token: string | undefined): boolean => /^[a-z]$/.test(token ?? '');

const TEMPLATE =
  "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}" +
  '{% if add_generation_prompt %}assistant: {% endif %}';

export function tinyGguf(): Buffer {
  const tokens = ['<s>', '</s>', '<unk>', ...byteLetters()];
  const metadata = [
    entry('general.architecture', STRING, text('llama')),
    entry('general.name', STRING, text('tiny')),
    entry('general.alignment', UINT32, u32(ALIGNMENT)),
    entry('llama.context_length', UINT32, u32(CONTEXT)),
    entry('llama.embedding_length', UINT32, u32(WIDTH)),
    entry('llama.block_count', UINT32, u32(1)),
    entry('llama.feed_forward_length', UINT32, u32(FEED_FORWARD)),
    entry('llama.attention.head_count', UINT32, u32(HEADS)),
    entry('llama.attention.head_count_kv', UINT32, u32(HEADS)),
    entry('llama.attention.layer_norm_rms_epsilon', FLOAT32, f32(1e-5)),
    entry('llama.rope.dimension_count', UINT32, u32(WIDTH / HEADS)),
    entry('llama.vocab_size', UINT32, u32(tokens.length)),
    entry('tokenizer.ggml.model', STRING, text('gpt2')),
    entry('tokenizer.ggml.pre', STRING, text('gpt-2')),
    list('tokenizer.ggml.tokens', STRING, tokens.map(text)),
    list(
      'tokenizer.ggml.token_type',
      INT32,
      tokens.map((_, index) => u32(index < 3 ? 3 : 1)),
    ),
    list('tokenizer.ggml.merges', STRING, []),
    entry('tokenizer.ggml.bos_token_id', UINT32, u32(0)),
    entry('tokenizer.ggml.eos_token_id', UINT32, u32(1)),
    entry('tokenizer.ggml.unknown_token_id', UINT32, u32(2)),
    entry('tokenizer.ggml.add_bos_token', BOOL, Buffer.from([0])),
    entry('tokenizer.chat_template', STRING, text(TEMPLATE)),
  ];
  const shapes: readonly (readonly [name: string, ...size: number[]])[] = [
    ['token_embd.weight', WIDTH, tokens.length],
    ['output_norm.weight', WIDTH],
    ['output.weight', WIDTH, tokens.length],
    ['blk.0.attn_norm.weight', WIDTH],
    ['blk.0.attn_q.weight', WIDTH, WIDTH],
    ['blk.0.attn_k.weight', WIDTH, WIDTH],
    ['blk.0.attn_v.weight', WIDTH, WIDTH],
    ['blk.0.attn_output.weight', WIDTH, WIDTH],
    ['blk.0.ffn_norm.weight', WIDTH],
    ['blk.0.ffn_gate.weight', WIDTH, FEED_FORWARD],
    ['blk.0.ffn_up.weight', WIDTH, FEED_FORWARD],
    ['blk.0.ffn_down.weight', FEED_FORWARD, WIDTH],
  ];
  const infos: Buffer[] = [];
  const data: Buffer[] = [];
  let offset = 0;
  for (const [index, [name, ...size]] of shapes.entries()) {
    infos.push(Buffer.concat([text(name), u32(size.length), ...size.map(u64), u32(TENSOR_F32), u64(offset)]));
    const values = weights(
      size.reduce((product, one) => product * one, 1),
      index + 1,
    );
    if (name.endsWith('norm.weight'))
      for (let at = 0; at < values.length; at += 4) values.writeFloatLE(1, at);
    if (name === 'token_embd.weight') setFirst(values, () => 4);
    if (name === 'output.weight') setFirst(values, (token) => (isLetter(tokens[token]) ? 1 : -1));
    // Every size here is a multiple of the alignment.
    data.push(values);
    offset += values.length;
  }
  const head = Buffer.concat([
    Buffer.from('GGUF'),
    u32(3),
    u64(shapes.length),
    u64(metadata.length),
    ...metadata,
    ...infos,
  ]);
  const padding = Buffer.alloc((ALIGNMENT - (head.length % ALIGNMENT)) % ALIGNMENT);
  return Buffer.concat([head, padding, ...data]);
}
