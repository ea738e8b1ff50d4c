/** Which endpoints of a pool are being emptied: tells its endpoints, and everybody else what is new. */
import type { DrainAnswer } from '../admin/commands.ts';
import type { PoolEndpoints } from '../pool/types.ts';
import { createDrains } from '../rollout/drain.ts';
import type { PoolContext } from './pool-context.ts';

export class PoolDrains {
  readonly #pool: string;
  readonly #context: Pick<PoolContext, 'now' | 'tell'>;
  readonly #endpoints: PoolEndpoints;
  readonly #drains = createDrains();
  #urls: readonly string[] = [];
  /** As the endpoints have been told. */
  #drained: ReadonlySet<string> = new Set();

  constructor(pool: string, context: Pick<PoolContext, 'now' | 'tell'>, endpoints: PoolEndpoints) {
    this.#pool = pool;
    this.#context = context;
    this.#endpoints = endpoints;
  }

  /** @param drained those that the configuration wants drained. */
  reconfigure(urls: readonly string[], drained: ReadonlySet<string>): void {
    this.#urls = urls;
    this.#drains.reconfigure(urls, drained, this.#context.now());
    this.#apply();
  }

  /** By a command. @param undo takes an earlier one back. */
  command(url: string, undo: boolean): DrainAnswer {
    const answer = undo ? this.#drains.undo(url) : this.#drains.drain(url, this.#context.now());
    if (answer.kind !== 'unknown') this.#apply();
    return answer;
  }

  isDrained(url: string): boolean {
    return this.#drained.has(url);
  }

  /** Those that are drained, each with the requests that it still has. */
  list(): readonly { readonly url: string; readonly inFlight: number }[] {
    if (this.#drained.size === 0) return [];
    const inFlight = this.#inFlight();
    return [...this.#drained].map((url) => ({ url, inFlight: inFlight.get(url) ?? 0 }));
  }

  /** Tells of those that have become empty. */
  sweep(): void {
    if (this.#drained.size === 0) return;
    const inFlight = this.#inFlight();
    for (const { url } of this.#drains.sweep((one) => inFlight.get(one) ?? 0, this.#context.now())) {
      this.#tell(url, 'empty');
    }
  }

  #apply(): void {
    const before = this.#drained;
    this.#drained = new Set(this.#urls.filter((url) => !this.#drains.takesRequests(url)));
    for (const url of this.#urls) {
      const isDrained = this.#drained.has(url);
      this.#endpoints.setDrained(url, isDrained);
      if (isDrained !== before.has(url)) this.#tell(url, isDrained ? 'draining' : 'over');
    }
  }

  #tell(endpoint: string, state: 'draining' | 'empty' | 'over'): void {
    const last = state === 'draining' && this.#urls.every((url) => this.#drained.has(url));
    this.#context.tell({ kind: 'endpoint-drain', pool: this.#pool, endpoint, state, last });
  }

  #inFlight(): ReadonlyMap<string, number> {
    return new Map(this.#endpoints.list(this.#context.now()).map(({ url, inFlight }) => [url, inFlight]));
  }
}
