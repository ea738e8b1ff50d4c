/** The members of a body, and those that have a meaning on a route. */
import type { EngineRoute, RouteName } from '../domain/routes.ts';
import { ABSENT, type JsonDocument, STRIDE } from './json/document.ts';
import { type KnownName, NAME } from './names.ts';

/** Names under which one engine or another reads the output cap. */
export const CAP_FIELDS = ['max_completion_tokens', 'max_tokens', 'max_output_tokens'] as const;
type CapField = (typeof CAP_FIELDS)[number];

interface RouteFields {
  /** Fields whose text becomes prompt. */
  readonly prompt: readonly KnownName[];
  /** The API's names of the output cap, the strongest first. */
  readonly caps: readonly CapField[];
  /** The name under which every engine reads a cap on this route. */
  readonly cap: CapField | undefined;
  /** `stream_options.include_usage` exists on this route. */
  readonly usageOption: boolean;
}

const NO_OUTPUT: RouteFields = { prompt: [], caps: [], cap: undefined, usageOption: false };

export const ROUTE_FIELDS: Readonly<Record<RouteName, RouteFields>> = {
  'chat.completions': {
    prompt: ['messages'],
    caps: ['max_completion_tokens', 'max_tokens'],
    cap: 'max_tokens',
    usageOption: true,
  },
  completions: { prompt: ['prompt', 'suffix'], caps: ['max_tokens'], cap: 'max_tokens', usageOption: true },
  // llama.cpp reads `content` where there is no input.
  embeddings: { prompt: ['input', 'messages', 'content'], caps: [], cap: undefined, usageOption: false },
  responses: {
    prompt: ['input', 'instructions'],
    caps: ['max_output_tokens'],
    cap: 'max_output_tokens',
    usageOption: false,
  },
  'responses.compact': { ...NO_OUTPUT, prompt: ['input', 'instructions'] },
  messages: { prompt: ['messages', 'system'], caps: ['max_tokens'], cap: 'max_tokens', usageOption: false },
  'messages.count_tokens': { ...NO_OUTPUT, prompt: ['messages', 'system'] },
  // Beside those that make pairs: see PAIRS.
  rerank: { ...NO_OUTPUT, prompt: [] },
  score: { ...NO_OUTPUT, prompt: [] },
  classify: { ...NO_OUTPUT, prompt: ['input', 'messages'] },
  pooling: { ...NO_OUTPUT, prompt: ['input', 'messages'] },
  // llama.cpp reads `content`.
  tokenize: { ...NO_OUTPUT, prompt: ['prompt', 'messages', 'content'] },
  detokenize: { ...NO_OUTPUT, prompt: ['tokens'] },
  // Their fields are parts of a form: form-request.ts.
  'audio.transcriptions': NO_OUTPUT,
  'audio.translations': NO_OUTPUT,
  'audio.speech': { ...NO_OUTPUT, prompt: ['input', 'instructions', 'ref_text'] },
  'images.generations': { ...NO_OUTPUT, prompt: ['prompt', 'negative_prompt'] },
};

/** Of a route of the configuration nothing is known. */
export const fieldsOf = (route: EngineRoute): RouteFields =>
  route in ROUTE_FIELDS ? ROUTE_FIELDS[route as RouteName] : NO_OUTPUT;

/** Each text of the first list is computed with one of the second, or with each of them: the first that are there. */
export const PAIRS: Readonly<Partial<Record<RouteName, readonly (readonly [KnownName, KnownName])[]>>> = {
  rerank: [['query', 'documents']],
  score: [
    ['text_1', 'text_2'],
    ['data_1', 'data_2'],
    ['queries', 'documents'],
    ['queries', 'items'],
    ['query', 'items'],
  ],
};

/** Media that stand beside the prompt: of them, too, engines fetch what they are given an address of. */
export const MEDIA_FIELDS: readonly KnownName[] = [
  'ref_audio',
  'image',
  'image_url',
  'reference_url',
  'input_reference',
  'mask',
];

/** The values of the body's own members, by name. */
export class BodyFields {
  readonly document: JsonDocument;
  private readonly values = new Map<number, number>();

  /** @param skipped keys of members that are left out. */
  constructor(document: JsonDocument, skipped: ReadonlySet<number>) {
    this.document = document;
    const end = document.next(0);
    for (let key = document.first(0); key < end; key = document.next(key + STRIDE)) {
      const name = document.name(key);
      if (name !== 0 && !skipped.has(key)) this.values.set(name, key + STRIDE);
    }
  }

  /** Index of the value, ABSENT without one. */
  at(name: KnownName): number {
    return this.values.get(NAME[name]) ?? ABSENT;
  }
}
