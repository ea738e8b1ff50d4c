/** Keys that nobody uses, for asking each server of a Redis Cluster whether it can be written to. */
import { keySlot } from './key-slot.ts';

/** So many names hit every slot. */
const NAMES = 300_000;

export class ProbeKeys {
  private readonly keyPrefix: string;
  /** For each slot that was hit, the number of a name that falls into it. */
  private readonly numbers = new Map<number, number>();
  private namesTried = 0;

  constructor(keyPrefix: string) {
    this.keyPrefix = keyPrefix;
  }

  /** Gives a key in one of the slots; undefined: no key of this prefix falls into them. */
  keyIn(slots: ReadonlySet<number>): string | undefined {
    for (const [slot, number] of this.numbers) if (slots.has(slot)) return this.keyOf(number);
    while (this.namesTried < NAMES) {
      const number = this.namesTried;
      this.namesTried += 1;
      const slot = keySlot(this.keyOf(number));
      if (!this.numbers.has(slot)) this.numbers.set(slot, number);
      if (slots.has(slot)) return this.keyOf(number);
    }
    return undefined;
  }

  private keyOf(number: number): string {
    return `${this.keyPrefix}{probe${number}}`;
  }
}
