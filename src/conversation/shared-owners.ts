/**
 * Owners of responses as all replicas know them: this one's table, and what the others have told.
 *
 * Whoever asks for an id that is not his own waits for what the others say, whether the id is known here or not: how long a "no" takes
 * says nothing of the id.
 */
import { isResponseId } from '../domain/routes.ts';
import { ownerOfText, ownerText } from './owner-text.ts';
import { OWNER_BOUNDS, type OwnerBounds, type ResponseOwner, ResponseOwners } from './response-owners.ts';

/** What the other replicas are told and asked; nothing of it rejects. */
export interface SharedIds {
  /** Tells whose an id is. @returns whose it was before, if that is another; undefined: it is told, or could not be. */
  tell(id: string, owner: string, tokens: number, lifeMs: number): Promise<string | undefined>;
  /** Answers within a bounded time. `unsure`: they cannot be asked. */
  ask(id: string): Promise<{ readonly owner: string; readonly tokens: number } | 'unknown' | 'unsure'>;
  forget(id: string, owner: string): void;
}

/** Undefined: nobody's, or another's. `unsure`: another replica may know it, and cannot be asked. */
export type FoundOwner = ResponseOwner | undefined | 'unsure';

export class SharedOwners {
  private readonly table: ResponseOwners;
  private readonly shared: SharedIds | undefined;
  private readonly bounds: OwnerBounds;
  /** Monotonic milliseconds. */
  private readonly now: () => number;

  /** @param shared undefined: there are no other replicas. */
  constructor(shared: SharedIds | undefined, now: () => number, bounds: OwnerBounds = OWNER_BOUNDS) {
    this.table = new ResponseOwners(bounds);
    this.shared = shared;
    this.bounds = bounds;
    this.now = now;
  }

  size(): number {
    return this.table.size();
  }

  /** An answer carries this id. */
  remember(id: string, owner: ResponseOwner, nowMs: number): void {
    if (!this.table.remember(id, owner, nowMs) || this.shared === undefined) return;
    const text = ownerText(owner);
    void this.shared.tell(id, text, owner.tokens, this.bounds.lifeMs).then((first) => {
      if (first !== undefined && first !== text) this.table.forget(owner.tenant, id);
    });
  }

  /** The answer has ended, and its tokens are known. One that was deleted meanwhile stays nobody's. */
  ended(id: string, owner: ResponseOwner, nowMs: number): void {
    if (this.table.find(owner.tenant, id, nowMs) !== undefined) this.remember(id, owner, nowMs);
  }

  /** What this replica knows by itself: an answer at once. */
  findHere(tenant: string, id: string, nowMs: number): ResponseOwner | undefined {
    return this.table.find(tenant, id, nowMs);
  }

  find(tenant: string, id: string, nowMs: number): FoundOwner | Promise<FoundOwner> {
    if (!isResponseId(id)) return undefined;
    const here = this.table.find(tenant, id, nowMs);
    return here !== undefined || this.shared === undefined ? here : this.ask(this.shared, tenant, id);
  }

  private async ask(shared: SharedIds, tenant: string, id: string): Promise<FoundOwner> {
    const told = await shared.ask(id);
    if (typeof told === 'string') return told === 'unsure' ? 'unsure' : undefined;
    const owner = ownerOfText(told.owner, told.tokens);
    if (owner?.tenant !== tenant) return undefined;
    this.table.remember(id, owner, this.now());
    return owner;
  }

  /** Its engine has deleted it. */
  forget(id: string, owner: ResponseOwner): void {
    this.table.forget(owner.tenant, id);
    this.shared?.forget(id, ownerText(owner));
  }
}
