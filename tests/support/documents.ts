/** Bodies as the service reads them, and the policy that they are read by unless a test is about it. */
import type { FieldPolicy, MediaPolicy } from '../../src/config/config.ts';
import { DEFAULT_FORBIDDEN_FIELDS, DEFAULT_TOOLS } from '../../src/config/forbidden-fields.ts';
import type { JsonDocument } from '../../src/openai/json/document.ts';
import { KIND } from '../../src/openai/json/document.ts';
import { readJson } from '../../src/openai/json/reader.ts';
import { namesOf } from '../../src/openai/policy-names.ts';
import type { PromptPolicy } from '../../src/openai/prompt.ts';

export const FIELDS: FieldPolicy = {
  onForbidden: 'drop',
  forbidden: DEFAULT_FORBIDDEN_FIELDS,
  tools: DEFAULT_TOOLS,
  state: 'refuse',
};

export const MEDIA: MediaPolicy = {
  urls: 'refuse',
  hosts: [],
  tokens: { image: 1_024, audio: 256, video: 2_048, file: 1_024 },
};

export const policyWith = (
  fields: Partial<FieldPolicy> = {},
  media: Partial<MediaPolicy> = {},
): PromptPolicy => ({
  fields: { ...FIELDS, ...fields },
  media: { ...MEDIA, ...media },
});

/** @throws when the reader refuses it. */
export function jsonDocumentOf(value: unknown): JsonDocument {
  const reading = readJson(Buffer.from(JSON.stringify(value)), namesOf(FIELDS));
  if (reading.kind === 'bad') throw new Error(reading.message);
  return reading.document;
}

/** What a document says, read through its tape. Numbers of a run are taken apart. */
export function valueOf(document: JsonDocument, at = 0): unknown {
  switch (document.kind(at)) {
    case KIND.object: {
      const members: [string, unknown][] = [];
      const end = document.next(at);
      for (let key = document.first(at); key < end; ) {
        const value = document.next(key);
        members.push([document.text(key), valueOf(document, value)]);
        key = document.next(value);
      }
      return Object.fromEntries(members);
    }
    case KIND.array: {
      const items: unknown[] = [];
      const end = document.next(at);
      for (let item = document.first(at); item < end; item = document.next(item)) {
        if (document.kind(item) !== KIND.number) items.push(valueOf(document, item));
        else {
          const text = document.bytes.toString('latin1', document.start(item), document.end(item));
          items.push(...text.split(',').map(Number));
        }
      }
      return items;
    }
    case KIND.number:
      return document.number(at);
    case KIND.string:
    case KIND.key:
      return document.text(at);
    case KIND.true:
      return true;
    case KIND.false:
      return false;
    case KIND.null:
      return null;
  }
}
