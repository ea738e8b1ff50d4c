/**
 * Requests that wait until their LoRA adapter is loaded: out of their lanes' queues, so that they keep nobody else waiting.
 *
 * Order: by adapter, and for each in the order of arrival. Invariant: a request is here at most once.
 */

interface Arrived {
  /** Its number among all arrivals. */
  readonly arrival: number;
}

export class WaitingForAdapter<T extends Arrived> {
  private readonly byAdapter = new Map<string, T[]>();
  private length = 0;

  add(adapter: string, request: T): void {
    const group = this.byAdapter.get(adapter);
    this.length += 1;
    if (group === undefined) {
      this.byAdapter.set(adapter, [request]);
      return;
    }
    // Who returns came before the rest, who is new after it.
    let at = group.length;
    const [first] = group;
    if (first !== undefined && request.arrival < first.arrival) at = 0;
    while (at > 0 && (group[at - 1]?.arrival ?? 0) > request.arrival) at -= 1;
    group.splice(at, 0, request);
  }

  /** Takes the request out; false if it is not here. */
  remove(adapter: string, request: T): boolean {
    const group = this.byAdapter.get(adapter);
    const at = group?.indexOf(request) ?? -1;
    if (group === undefined || at === -1) return false;
    group.splice(at, 1);
    this.length -= 1;
    if (group.length === 0) this.byAdapter.delete(adapter);
    return true;
  }

  /**
   * Takes out the one of each class that came first, and all that are in no class, in the order of their arrival.
   *
   * @param classOf undefined: in none.
   */
  takeFirsts(adapter: string, classOf: (request: T) => string | undefined): readonly T[] {
    const seen = new Set<string>();
    const taken: T[] = [];
    const rest: T[] = [];
    for (const request of this.byAdapter.get(adapter) ?? []) {
      const name = classOf(request);
      (name !== undefined && seen.has(name) ? rest : taken).push(request);
      if (name !== undefined) seen.add(name);
    }
    this.byAdapter.delete(adapter);
    if (rest.length > 0) this.byAdapter.set(adapter, rest);
    this.length -= taken.length;
    return taken;
  }

  /** Takes out all, in the order of their arrival. */
  takeAll(adapter: string): readonly T[] {
    const group = this.byAdapter.get(adapter) ?? [];
    this.byAdapter.delete(adapter);
    this.length -= group.length;
    return group;
  }

  /** Adapters that are waited for, those whose requests were taken out longest ago first. */
  adapters(): Iterable<string> {
    return this.byAdapter.keys();
  }

  size(): number {
    return this.length;
  }
}
