/**
 * How many tokens an endpoint's KV cache holds, and how many sequences its engine runs at once: by its metrics, by its own page,
 * or by the shape of its model, the first that says.
 */
import type { EngineDriver } from './driver.ts';

/** What the engine's own page says. */
export interface PageFacts {
  readonly kv: KvCapacity | undefined;
  readonly maxSequences: number | undefined;
}

interface KvCapacity {
  readonly tokens: number;
  /** Each sequence has its own part. */
  readonly isDivided: boolean;
}

export const NO_FACTS: PageFacts = { kv: undefined, maxSequences: undefined };

/** @param page whatever the engine answered, as JSON. */
export function factsOf({ info }: EngineDriver, page: unknown): PageFacts {
  const tokens = info?.kvCapacityTokens?.(page);
  return {
    kv: tokens === undefined ? undefined : { tokens, isDivided: info?.kvIsDivided === true },
    maxSequences: info?.maxSequences(page),
  };
}

export interface Capacities {
  /** By its metrics; undefined: they do not say. */
  saidGauges(url: string, kvTokens: number | undefined): void;
  saidPage(url: string, facts: PageFacts): void;
  /** Of every endpoint whose engine does not say. */
  configured(kvTokens: number | undefined): void;
  kvOf(url: string): KvCapacity | undefined;
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
    kvOf(url) {
      const said = byGauges.get(url);
      const whole = (tokens: number): KvCapacity => ({ tokens, isDivided: false });
      if (said !== undefined) return whole(said);
      return byPage.get(url)?.kv ?? (byShape === undefined ? undefined : whole(byShape));
    },
    keep(urls) {
      for (const known of [byGauges, byPage]) {
        for (const url of known.keys()) if (!urls.includes(url)) known.delete(url);
      }
    },
  };
}
