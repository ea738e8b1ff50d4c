/** Numbers by chance that come again with their seed (xorshift32). */
export class Random {
  private state: number;

  constructor(seed: number) {
    // Seeds that are near each other begin far apart; nought would stay nought.
    this.state = Math.imul(seed + 1, 0x9e3779b1) | 1;
    for (let i = 0; i < 8; i += 1) this.next();
  }

  /** 32 bits. */
  next(): number {
    let x = this.state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.state = x;
    return x >>> 0;
  }

  /** A whole number below `bound`; 0 for a bound of 0. */
  below(bound: number): number {
    return Math.floor((this.next() / 2 ** 32) * bound);
  }

  chance(share: number): boolean {
    return this.next() < share * 2 ** 32;
  }

  /** @throws for a list of nothing: a mistake of ours. */
  pick<T>(list: readonly T[]): T {
    const index = this.below(list.length);
    if (index >= list.length) throw new Error('nothing to pick from');
    return list[index] as T;
  }

  shuffled<T>(list: readonly T[]): readonly T[] {
    return list
      .map((item) => ({ item, place: this.next() }))
      .toSorted((a, b) => a.place - b.place)
      .map(({ item }) => item);
  }
}
