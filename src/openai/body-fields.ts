/** The members of a body, and those that have a meaning on a route. */
import type { EngineRoute } from '../domain/routes.ts';
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

export const ROUTE_FIELDS: Readonly<Record<EngineRoute, RouteFields>> = {
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
  messages: { prompt: ['messages', 'system'], caps: ['max_tokens'], cap: 'max_tokens', usageOption: false },
};

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
