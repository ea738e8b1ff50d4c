/** Whom a body says that it is for: read only where requests are attributed by it. */
import { type EngineRoute, isAnthropic } from '../domain/routes.ts';
import { ABSENT, type JsonDocument, STRIDE } from './json/document.ts';

/** Of an object: a body with two members of one name is refused. */
function member(document: JsonDocument, object: number, name: string): number {
  const end = document.next(object);
  for (let key = document.first(object); key < end; key = document.next(key + STRIDE)) {
    if (document.says(key, name)) return key + STRIDE;
  }
  return ABSENT;
}

/**
 * The first bytes of the user's name as the API of the route has it: OpenAI's `user`, or `safety_identifier` that took its place;
 * Anthropic's `metadata.user_id`. Undefined: there is none, or it is no text.
 */
export function namedUser(route: EngineRoute, document: JsonDocument, bytes: number): string | undefined {
  if (!document.isObject(0)) return undefined;
  const textAt = (at: number): string | undefined =>
    document.isString(at) ? document.head(at, bytes) : undefined;
  if (isAnthropic(route)) {
    const metadata = member(document, 0, 'metadata');
    return document.isObject(metadata) ? textAt(member(document, metadata, 'user_id')) : undefined;
  }
  return textAt(member(document, 0, 'user')) ?? textAt(member(document, 0, 'safety_identifier'));
}
