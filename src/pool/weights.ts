/**
 * Which of two endpoints is next, where they have weights: the one with less in flight ÷ weight. Equal ones are in turn as start-time
 * fair queueing has it (Goyal, Vin, Cheng 1996, section 2): few requests, one after another, are shared as many at once are.
 * Who was away begins with the others, not with what it has missed.
 */
import type { Endpoint } from './endpoint.ts';

export class Weights {
  /** Endpoints have different ones. */
  #isUsed = false;
  /** When the last one that was chosen began its turn, in sequences ÷ weight. */
  #clock = 0;

  /** Takes over the weights that the endpoints have. */
  reconfigure(endpoints: readonly Endpoint[]): void {
    const largest = endpoints.reduce((most, { weight }) => Math.max(most, weight), 0);
    for (const endpoint of endpoints) endpoint.weightPart = endpoint.weight / largest;
    this.#isUsed = endpoints.some(({ weight }) => weight !== largest);
  }

  isBefore(one: Endpoint, other: Endpoint): boolean {
    if (one.load !== other.load) return one.load < other.load;
    return this.#isUsed && Math.max(one.turnEnds, this.#clock) < Math.max(other.turnEnds, this.#clock);
  }

  chosen(endpoint: Endpoint, sequences: number): void {
    this.#clock = Math.max(endpoint.turnEnds, this.#clock);
    endpoint.turnEnds = this.#clock + sequences / endpoint.weight;
  }
}
