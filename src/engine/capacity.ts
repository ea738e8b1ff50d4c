/**
 * How many tokens an endpoint's KV cache holds, and how many sequences its engine runs at once: by its metrics, by its own page,
 * or by the shape of its model, the first that says.
 */
import type { EngineAdapter } from './adapter.ts';

/** What the engine's own page says. */
export interface PageFacts {
  readonly kvCapacityTokens: number | undefined;
  readonly maxSequences: number | undefined;
}

export const NO_FACTS: PageFacts = { kvCapacityTokens: undefined, maxSequences: undefined };

/** @param page whatever the engine answered, as JSON. */
export const factsOf = ({ info }: EngineAdapter, page: unknown): PageFacts => ({
  kvCapacityTokens: info?.kvCapacityTokens?.(page),
  maxSequences: info?.maxSequences(page),
});

export interface Capacities {
  /** By its metrics; undefined: they do not say. */
  saidGauges(url: string, kvTokens: number | undefined): void;
  saidPage(url: string, facts: PageFacts): void;
  /** Of every endpoint whose engine does not say. */
  configured(kvTokens: number | undefined): void;
  kvTokensOf(url: string): number | undefined;
  /** Only these endpoints are left. */
  keep(urls: readonly string[]): void;
}

export function createCapacities(): Capacities {
  const byGauges = new Map<string, number | undefined>();
  const byPage = new Map<string, PageFacts>();
  let byShape: number | undefined;
  return {
    saidGauges: (url, kvTokens) => void byGauges.set(url, kvTokens),
    saidPage: (url, facts) => void byPage.set(url, facts),
    configured(kvTokens) {
      byShape = kvTokens;
    },
    kvTokensOf: (url) => byGauges.get(url) ?? byPage.get(url)?.kvCapacityTokens ?? byShape,
    keep(urls) {
      for (const known of [byGauges, byPage]) {
        for (const url of known.keys()) if (!urls.includes(url)) known.delete(url);
      }
    },
  };
}
