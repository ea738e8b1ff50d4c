/** Requests to the simulated engine's API, read as generously as vLLM does. */
import { createHash, randomUUID } from 'node:crypto';
import type { EngineProfile } from './profile.ts';

export type SimulatedRoute =
  | '/v1/chat/completions'
  | '/v1/completions'
  | '/v1/embeddings'
  | '/v1/responses'
  | '/v1/messages';

export const SIMULATED_ROUTES: readonly string[] = [
  '/v1/chat/completions',
  '/v1/completions',
  '/v1/embeddings',
  '/v1/responses',
  '/v1/messages',
] satisfies readonly SimulatedRoute[];

export interface Job {
  readonly route: SimulatedRoute;
  readonly model: string;
  readonly stream: boolean;
  readonly includeUsage: boolean;
  readonly continuousUsage: boolean;
  readonly choices: number;
  readonly promptTokens: number;
  readonly prefixHashes: readonly string[];
  readonly outputTokens: number;
  /** The output ends because the cap was reached, not by itself. */
  readonly capped: boolean;
  readonly priority: number;
  /** Number of inputs of an embeddings request. */
  readonly inputs: number;
  /** Of a response. */
  readonly responseId?: string;
  /** All that was said up to here, as items; undefined: it is not stored. */
  readonly said?: readonly unknown[];
}

export type FrontResult =
  | { readonly kind: 'job'; readonly job: Job }
  | { readonly kind: 'error'; readonly status: number; readonly body: string };

type Body = Readonly<Record<string, unknown>>;

const BYTES_PER_TOKEN = 4;
const TEMPLATE_TOKENS = 8;
const DEFAULT_COMPLETION_TOKENS = 16;
const NATURAL_STOP = { least: 32, most: 256 };

const error = (status: number, type: string, message: string, param: string | null = null): FrontResult => ({
  kind: 'error',
  status,
  body: JSON.stringify({ error: { message, type, param, code: status } }),
});
const anthropicError = (status: number, type: string, message: string): FrontResult => ({
  kind: 'error',
  status,
  body: JSON.stringify({ type: 'error', error: { type, message } }),
});

/** Every string that is part of the prompt, in order. */
function promptText(value: unknown): string {
  if (typeof value === 'string') return value;
  if (typeof value === 'number') return 'tok ';
  if (Array.isArray(value)) return value.map(promptText).join('\n');
  if (typeof value === 'object' && value !== null) {
    const { role, content, text, input } = value as Body;
    return [role, content, text, input]
      .filter((part) => part !== undefined && part !== null)
      .map(promptText)
      .join('\n');
  }
  return '';
}

const wholeNumber = (value: unknown): number | undefined => {
  const number = typeof value === 'string' ? Number(value) : value;
  return typeof number === 'number' && Number.isInteger(number) ? number : undefined;
};

/** What the engine remembers of responses: all that was said before it answered, by id. */
export type StoredConversations = (id: string) => readonly unknown[] | undefined;
const NOTHING_STORED: StoredConversations = () => undefined;

/** Of /v1/responses: what was said before, the id of the answer, and whether it is stored. */
function conversationOf(
  body: Body,
  stored: StoredConversations,
): { readonly before: readonly unknown[]; readonly fields: Pick<Job, 'responseId' | 'said'> } | string {
  const previous = body['previous_response_id'];
  const before = typeof previous === 'string' ? stored(previous) : [];
  if (before === undefined) return String(previous);
  const input = body['input'];
  const said = [
    ...before,
    ...(Array.isArray(input) ? (input as unknown[]) : [{ role: 'user', content: input }]),
  ];
  const responseId = `resp_${randomUUID().replaceAll('-', '')}`;
  return { before, fields: { responseId, ...(body['store'] !== false && { said }) } };
}

/** The body, or what is wrong with it. */
function bodyOf(text: string): Body | string {
  try {
    const parsed: unknown = JSON.parse(text);
    return typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)
      ? 'The body is not an object.'
      : (parsed as Body);
  } catch {
    return 'The body is not JSON.';
  }
}

/** Reads a request. Numbers in strings and `"stream": "yes"` are accepted, as vLLM does. */
export function readRequest(
  route: SimulatedRoute,
  text: string,
  profile: EngineProfile,
  models: readonly string[],
  stored: StoredConversations = NOTHING_STORED,
): FrontResult {
  const isMessages = route === '/v1/messages';
  const bad = (message: string, param: string | null = null): FrontResult =>
    isMessages
      ? anthropicError(400, 'invalid_request_error', message)
      : error(400, 'BadRequestError', message, param);
  const body = bodyOf(text);
  if (typeof body === 'string') return bad(body);
  const model = typeof body['model'] === 'string' && body['model'] !== '' ? body['model'] : (models[0] ?? '');
  if (!models.includes(model)) {
    const message = `The model \`${model}\` does not exist.`;
    return isMessages
      ? anthropicError(404, 'not_found_error', message)
      : error(404, 'NotFoundError', message, 'model');
  }
  const prompt = body['messages'] ?? body['prompt'] ?? body['input'];
  if (prompt === undefined || prompt === null) return bad('There is no prompt.');
  const conversation = route === '/v1/responses' ? conversationOf(body, stored) : undefined;
  if (typeof conversation === 'string') {
    const message = `Response with id '${conversation}' not found.`;
    return error(404, 'invalid_request_error', message, 'response_id');
  }
  const salt = typeof body['cache_salt'] === 'string' ? body['cache_salt'] : '';
  const parts = [body['system'], body['instructions'], ...(conversation?.before ?? []), prompt];
  const promptString = promptText(parts.filter((part) => part !== undefined));
  const bytes = Buffer.from(promptString, 'utf8');
  const promptTokens = Math.ceil(bytes.length / BYTES_PER_TOKEN) + TEMPLATE_TOKENS;

  const capacity = Math.min(profile.maxModelLen, (profile.kvBlocks - 1) * profile.blockTokens);
  const isEmbeddings = route === '/v1/embeddings';
  const asked = wholeNumber(body['max_completion_tokens'] ?? body['max_tokens'] ?? body['max_output_tokens']);
  if (asked !== undefined && (asked < 1 || asked > profile.maxModelLen)) {
    return bad(`max_tokens must be between 1 and ${profile.maxModelLen}, got ${asked}.`, 'max_tokens');
  }
  if (promptTokens + 1 > capacity) {
    return bad(
      `The maximum context length is ${capacity} tokens, the prompt has ${promptTokens}.`,
      'messages',
    );
  }
  const natural = naturalLength(bytes);
  const cap = Math.min(
    asked ?? (route === '/v1/completions' ? DEFAULT_COMPLETION_TOKENS : capacity),
    capacity - promptTokens,
  );
  const outputTokens = isEmbeddings ? 1 : body['ignore_eos'] === true ? cap : Math.min(cap, natural);

  const streamOptions = body['stream_options'] as Body | null | undefined;
  const choices = isEmbeddings ? 1 : Math.min(16, Math.max(1, wholeNumber(body['n']) ?? 1));
  return {
    kind: 'job',
    job: {
      route,
      model,
      stream: !isEmbeddings && ['true', 'yes', '1'].includes(String(body['stream'])),
      includeUsage: streamOptions?.['include_usage'] === true,
      continuousUsage: streamOptions?.['continuous_usage_stats'] === true,
      choices,
      promptTokens,
      prefixHashes: hashesOf(bytes, profile.blockTokens, salt),
      outputTokens,
      capped: outputTokens === cap,
      priority: wholeNumber(body['priority']) ?? 0,
      inputs: isEmbeddings && Array.isArray(prompt) ? prompt.length : 1,
      ...conversation?.fields,
    },
  };
}

/** Tokens after which the output ends by itself: of a prompt, always the same. */
function naturalLength(prompt: Uint8Array): number {
  const digest = createHash('sha256').update(prompt).digest();
  return NATURAL_STOP.least + (digest.readUInt32BE(0) % (NATURAL_STOP.most - NATURAL_STOP.least + 1));
}

/** A chain: the hash of a block covers everything before it, and the salt. */
function hashesOf(bytes: Uint8Array, blockTokens: number, salt: string): readonly string[] {
  const size = blockTokens * BYTES_PER_TOKEN;
  const hashes: string[] = [];
  let previous = salt;
  for (let at = 0; at + size <= bytes.length; at += size) {
    previous = createHash('md5')
      .update(previous)
      .update(bytes.subarray(at, at + size))
      .digest('base64');
    hashes.push(previous);
  }
  return hashes;
}
