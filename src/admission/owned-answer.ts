/** An answer that its engine may store: its id is taken as it passes, with what the conversation has come to at the end. */
import { ResponseIdReader } from '../conversation/response-id-reader.ts';
import type { ResponseOwner } from '../conversation/response-owners.ts';
import type { Usage } from '../openai/usage.ts';
import type { ResponseHead } from './edge.ts';
import type { LifecycleContext } from './lifecycle-context.ts';

const PLAIN = /^(?:identity)?$/;

export class OwnedAnswer {
  private readonly owners: NonNullable<LifecycleContext['owners']>;
  private readonly owner: ResponseOwner;
  private readonly reader: ResponseIdReader;
  private id: string | undefined = undefined;

  constructor(owners: NonNullable<LifecycleContext['owners']>, owner: ResponseOwner, isStream: boolean) {
    this.owners = owners;
    this.owner = owner;
    this.reader = new ResponseIdReader(isStream);
  }

  /** Before the client gets these bytes: it may ask for the id at once. */
  push(bytes: Uint8Array, nowMs: number): void {
    if (this.reader.done) return;
    this.id = this.reader.push(bytes);
    if (this.id !== undefined) this.owners.remember(this.id, this.owner, nowMs);
  }

  /** The answer has come to its end. @param used what it took, with all that came before it. */
  ended({ promptTokens, completionTokens }: Usage, nowMs: number): void {
    if (this.id === undefined) return;
    this.owners.ended(this.id, { ...this.owner, tokens: promptTokens + completionTokens }, nowMs);
  }
}

/** Undefined: nothing of the answer will be asked for by its id, or it cannot be read. */
export function ownedAnswer(
  { owners }: LifecycleContext,
  owner: ResponseOwner,
  { contentType, contentEncoding }: ResponseHead,
): OwnedAnswer | undefined {
  if (owners === undefined || !PLAIN.test(contentEncoding)) return undefined;
  return new OwnedAnswer(owners, owner, contentType === 'text/event-stream');
}
