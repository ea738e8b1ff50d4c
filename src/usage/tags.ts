/**
 * Whom a tenant's requests are counted for: text of clients, in every usage record and so in logs, tables and spreadsheets.
 *
 * Invariants: a tag is harmless text of at most 64 bytes; of a tenant and day there are never more than `most` different ones, and
 * of all tenants no more than 100,000. The others are one.
 */
import { harmless } from '../domain/harmless.ts';
import type { UsageRecord } from './usage-record.ts';

/** No more of what a client sends is looked at: a character may take four bytes, and some are not kept. */
export const LOOKED_AT_BYTES = 256;
const MOST_BYTES = 64;
const MOST_OF_ALL = 100_000;
const MS_PER_DAY = 24 * 3_600_000;
export const OTHER_TAG = '(other)';
/** What a spreadsheet takes for the beginning of a formula. */
const FORMULA = /^[=+\-@]/;

/** Of a client's text; undefined: it names nobody. */
export function tagOf(text: string): string | undefined {
  const shown = harmless(text.slice(0, LOOKED_AT_BYTES).trim());
  if (shown === '') return undefined;
  return cut(FORMULA.test(shown) ? `'${shown}` : shown);
}

/** Whole characters, as many as there is room for. */
function cut(text: string): string {
  if (Buffer.byteLength(text) <= MOST_BYTES) return text;
  let end = 0;
  let bytes = 0;
  for (const character of text) {
    bytes += Buffer.byteLength(character);
    if (bytes > MOST_BYTES) break;
    end += character.length;
  }
  return text.slice(0, end);
}

export class Tags {
  #day = Number.NaN;
  /** By tenant. */
  readonly #known = new Map<string, Set<string>>();
  #count = 0;

  /** The record, with a tag that may be told apart. @param most of a tenant and day. */
  bounded(record: UsageRecord, most: number, unixMs: number): UsageRecord {
    const { tenant, tag } = record;
    if (tag === undefined || this.#isKnown(tenant, tag, most, unixMs)) return record;
    return { ...record, tag: OTHER_TAG };
  }

  #isKnown(tenant: string, tag: string, most: number, unixMs: number): boolean {
    const day = Math.floor(unixMs / MS_PER_DAY);
    if (day !== this.#day) {
      this.#day = day;
      this.#known.clear();
      this.#count = 0;
    }
    const known = this.#known.get(tenant);
    if (known?.has(tag) === true) return true;
    if ((known?.size ?? 0) >= most || this.#count >= MOST_OF_ALL) return false;
    this.#count += 1;
    if (known === undefined) this.#known.set(tenant, new Set([tag]));
    else known.add(tag);
    return true;
  }
}
