/**
 * Answers that may have megabytes, as those to scrapes have with thousands of tenants. What is answered to many is in memory once, and
 * the texts of those who are slow to read are bounded together: the oldest are cut, so that the next scrape is answered.
 */
import type { OutgoingHttpHeaders, ServerResponse } from 'node:http';

/** One of 10,000 tenants has 16 MiB. */
const MOST_BYTES = 64 * 1024 * 1024;

interface Held {
  readonly bytes: Buffer;
  readonly readers: Set<ServerResponse>;
}

export class LargeAnswers {
  /** The oldest first. */
  readonly #held = new Map<string, Held>();
  #bytes = 0;

  /** Answers with 200. A line feed ends it. */
  send(response: ServerResponse, headers: OutgoingHttpHeaders, text: string): void {
    // Who is gone would be told of it by nobody.
    if (response.destroyed) return;
    const held = this.#held.get(text) ?? this.#hold(text);
    const { bytes, readers } = held;
    readers.add(response);
    response.once('close', () => {
      readers.delete(response);
      // After a cut the same text may be held anew, for others.
      if (readers.size === 0 && this.#held.get(text) === held) this.#forget(text);
    });
    response.writeHead(200, { ...headers, 'content-length': bytes.length }).end(bytes);
  }

  #hold(text: string): Held {
    const bytes = Buffer.from(text.endsWith('\n') ? text : `${text}\n`);
    for (const [oldest, { readers }] of this.#held) {
      if (this.#bytes + bytes.length <= MOST_BYTES) break;
      this.#forget(oldest);
      for (const reader of readers) reader.destroy();
    }
    const made: Held = { bytes, readers: new Set() };
    this.#held.set(text, made);
    this.#bytes += bytes.length;
    return made;
  }

  #forget(text: string): void {
    this.#bytes -= this.#held.get(text)?.bytes.length ?? 0;
    this.#held.delete(text);
  }
}
