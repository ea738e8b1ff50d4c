/** Rows that several metrics of one scrape read: made once, when the first of them asks. Pure. */

/** Gives the rows of an iterator as often as they are asked for. None is made before it is wanted. */
export class KeptRows<Row> implements Iterable<Row> {
  readonly #made: Row[] = [];
  readonly #rest: Iterator<Row>;

  constructor(rows: Iterable<Row>) {
    this.#rest = rows[Symbol.iterator]();
  }

  *[Symbol.iterator](): Iterator<Row> {
    for (let i = 0; ; i += 1) {
      if (i === this.#made.length) {
        const next = this.#rest.next();
        if (next.done === true) return;
        this.#made.push(next.value);
      }
      yield this.#made[i] as Row;
    }
  }
}
