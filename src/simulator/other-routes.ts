/** Routes of the simulated engine that write no tokens, answered at once in vLLM's shapes. */

export interface OtherAnswer {
  readonly status: number;
  readonly type: string;
  readonly body: string | Uint8Array;
}

type Body = Readonly<Record<string, unknown>>;
const isWhole = (answer: object): answer is OtherAnswer => 'status' in answer && 'type' in answer;
type Answering = (body: Body, model: string) => object | OtherAnswer;

const BYTES_PER_TOKEN = 4;
const SPEECH_BYTES = 2_048;

const json = (status: number, value: object): OtherAnswer => ({
  status,
  type: 'application/json',
  body: JSON.stringify(value),
});
const tokensOf = (...values: readonly unknown[]): number =>
  Math.ceil(JSON.stringify(values).length / BYTES_PER_TOKEN);
const listOf = (value: unknown): readonly unknown[] =>
  Array.isArray(value) ? (value as unknown[]) : [value];
const promptUsage = (tokens: number): object => ({ prompt_tokens: tokens, total_tokens: tokens });

const rerank: Answering = ({ query, documents }, model) => ({
  id: 'rerank-1',
  model,
  usage: promptUsage(tokensOf(query) * listOf(documents).length + tokensOf(documents)),
  results: listOf(documents).map((text, index) => ({
    index,
    document: { text },
    relevance_score: 1 / (1 + index),
  })),
});
const score: Answering = (body, model) => ({
  id: 'score-1',
  object: 'list',
  model,
  data: listOf(body['text_2']).map((_, index) => ({ index, object: 'score', score: 0.5 })),
  usage: promptUsage(tokensOf(body['text_1'], body['text_2'])),
});
const classify: Answering = ({ input }, model) => ({
  id: 'classify-1',
  object: 'list',
  model,
  data: listOf(input).map((_, index) => ({ index, label: 'one', probs: [0.75, 0.25], num_classes: 2 })),
  usage: { ...promptUsage(tokensOf(input)), completion_tokens: 0 },
});
const pooling: Answering = ({ input, messages }, model) => ({
  id: 'pool-1',
  object: 'list',
  model,
  data: [{ index: 0, object: 'pooling', data: [0.5, 0.25] }],
  usage: promptUsage(tokensOf(input ?? messages)),
});
const tokenize: Answering = ({ prompt, messages }) => {
  const count = tokensOf(prompt ?? messages);
  return { count, max_model_len: 4_096, tokens: Array.from({ length: count }, (_, index) => index) };
};
const speech: Answering = () => ({
  status: 200,
  type: 'audio/wav',
  body: new Uint8Array(SPEECH_BYTES).fill(7),
});
const images: Answering = ({ n }) => ({
  created: 0,
  data: Array.from({ length: typeof n === 'number' ? n : 1 }, () => ({ b64_json: 'aW1hZ2U=' })),
});
const detokenize: Answering = ({ tokens }) => ({ prompt: listOf(tokens).join(' ') });

const ANSWERS: Readonly<Record<string, Answering>> = {
  '/v1/messages/count_tokens': ({ messages, system }) => ({ input_tokens: tokensOf(messages, system) }),
  '/v1/rerank': rerank,
  '/rerank': rerank,
  '/v2/rerank': rerank,
  '/v1/score': score,
  '/score': score,
  '/classify': classify,
  '/pooling': pooling,
  '/tokenize': tokenize,
  '/detokenize': detokenize,
  '/v1/audio/speech': speech,
  '/v1/images/generations': images,
};
const AUDIO = ['/v1/audio/transcriptions', '/v1/audio/translations'];

export const isOtherRoute = (path: string): boolean => Object.hasOwn(ANSWERS, path) || AUDIO.includes(path);

/** Seconds of audio: by the size of the file, as compressed speech has it. */
const SPEECH_BYTES_PER_SECOND = 10_000;

async function heard(
  type: string,
  bytes: Uint8Array<ArrayBuffer>,
  models: readonly string[],
): Promise<OtherAnswer> {
  const form = await new Response(bytes, { headers: { 'content-type': type } }).formData();
  const file = form.get('file');
  const written = form.get('model');
  const model = typeof written === 'string' ? written : '';
  if (!(file instanceof File)) return json(422, { error: { message: "Expected 'file' to be a file." } });
  if (!models.includes(model)) return unknownModel(model);
  const seconds = Math.ceil(file.size / SPEECH_BYTES_PER_SECOND);
  const text = `heard ${file.name}, ${file.size} bytes`;
  const format = form.get('response_format');
  if (format === 'text') return { status: 200, type: 'text/plain; charset=utf-8', body: `${text}\n` };
  return format === 'verbose_json'
    ? json(200, { duration: `${seconds}.5`, language: 'en', text, segments: [] })
    : json(200, { text, usage: { type: 'duration', seconds } });
}

const unknownModel = (model: string): OtherAnswer =>
  json(404, {
    error: { message: `The model \`${model}\` does not exist.`, type: 'NotFoundError', code: 404 },
  });

/** @param type of the body. @param bytes of it. */
export async function otherAnswer(
  path: string,
  type: string,
  bytes: Uint8Array<ArrayBuffer>,
  models: readonly string[],
): Promise<OtherAnswer> {
  try {
    if (AUDIO.includes(path)) return await heard(type, bytes, models);
    const body = JSON.parse(Buffer.from(bytes).toString('utf8')) as Body;
    const model = typeof body['model'] === 'string' ? body['model'] : '';
    if (!models.includes(model)) return unknownModel(model);
    const answer = ANSWERS[path]?.(body, model) ?? {};
    return isWhole(answer) ? answer : json(200, answer);
  } catch {
    return json(400, {
      error: { message: 'The body could not be read.', type: 'BadRequestError', code: 400 },
    });
  }
}
