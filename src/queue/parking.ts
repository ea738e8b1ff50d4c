/**
 * Requests that wait for something that only some of the queue need, such as an adapter that is being loaded: out of the
 * queue, so that they keep nobody waiting, by what they wait for, and in the order of their arrival.
 */
export interface Parked {
  /** Its place among all arrivals. */
  readonly arrival: number;
}

export interface Parking<T extends Parked> {
  add(key: string, item: T): void;
  /** False if it is not there. */
  remove(key: string, item: T): boolean;
  /** Takes out the one of each class that came first, and all that are in none, in the order of their arrival. */
  takeFirsts(key: string, classOf: (item: T) => string | undefined): readonly T[];
  /** Takes out all, in the order of their arrival. */
  takeAll(key: string): readonly T[];
  /** Those that were taken from longest ago first. */
  keys(): Iterable<string>;
  size(): number;
}

export function createParking<T extends Parked>(): Parking<T> {
  const groups = new Map<string, T[]>();
  let size = 0;

  return {
    add(key, item) {
      const group = groups.get(key);
      size += 1;
      if (group === undefined) {
        groups.set(key, [item]);
        return;
      }
      // Who returns came before the rest, who is new after it.
      let at = group.length;
      const [first] = group;
      if (first !== undefined && item.arrival < first.arrival) at = 0;
      while (at > 0 && (group[at - 1]?.arrival ?? 0) > item.arrival) at -= 1;
      group.splice(at, 0, item);
    },
    remove(key, item) {
      const group = groups.get(key);
      const at = group?.indexOf(item) ?? -1;
      if (group === undefined || at === -1) return false;
      group.splice(at, 1);
      size -= 1;
      if (group.length === 0) groups.delete(key);
      return true;
    },
    takeFirsts(key, classOf) {
      const seen = new Set<string>();
      const taken: T[] = [];
      const rest: T[] = [];
      for (const item of groups.get(key) ?? []) {
        const name = classOf(item);
        (name !== undefined && seen.has(name) ? rest : taken).push(item);
        if (name !== undefined) seen.add(name);
      }
      groups.delete(key);
      if (rest.length > 0) groups.set(key, rest);
      size -= taken.length;
      return taken;
    },
    takeAll(key) {
      const group = groups.get(key) ?? [];
      groups.delete(key);
      size -= group.length;
      return group;
    },
    keys: () => groups.keys(),
    size: () => size,
  };
}
