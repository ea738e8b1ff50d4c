/** What is done for each endpoint of a pool whose endpoints come and go: begun once for each that comes, stopped when it goes. */
import { isDeepStrictEqual } from 'node:util';
import type { EndpointConfig } from '../config/config.ts';

export class Followed<T extends { stop(): void }> {
  readonly #byUrl = new Map<string, { readonly endpoint: EndpointConfig; readonly job: T }>();

  get(url: string): T | undefined {
    return this.#byUrl.get(url)?.job;
  }

  *jobs(): Iterable<T> {
    for (const { job } of this.#byUrl.values()) yield job;
  }

  /** An endpoint whose settings are other ones than before is a new one. */
  follow(endpoints: readonly EndpointConfig[], begin: (endpoint: EndpointConfig) => T): void {
    const next = new Map(endpoints.map((endpoint) => [endpoint.url, endpoint]));
    for (const [url, { endpoint, job }] of this.#byUrl) {
      if (isDeepStrictEqual(next.get(url), endpoint)) continue;
      this.#byUrl.delete(url);
      job.stop();
    }
    for (const [url, endpoint] of next) {
      if (!this.#byUrl.has(url)) this.#byUrl.set(url, { endpoint, job: begin(endpoint) });
    }
  }

  stop(): void {
    for (const { job } of this.#byUrl.values()) job.stop();
  }
}
