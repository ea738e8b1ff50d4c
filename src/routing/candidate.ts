/**
 * What the choice of an endpoint goes by: what is known of each endpoint, and what is asked for.
 *
 * The hot path reads these objects for every endpoint of a pool at every decision, so all of them have one shape
 * (newCandidate makes them), counts are small integers, and what is rarely true is one bit of `flags`.
 */
import type { ScorerName } from '../domain/routing-profiles.ts';
import type { PromptHashes } from './prompt-hash.ts';

/** Bits of `flags`. */
export const UNHEALTHY = 1;
/** By outlier detection. */
export const EJECTED = 2;
/** It takes no new requests, and ends those that it has. */
export const DRAINING = 4;
/** The breaker of at least one of its models or adapters is not closed: `permits` has to be asked. */
export const GUARDED = 8;
/** It is kept for slow clients, where the profile isolates them. */
export const ISOLATED = 16;

/** What is known of an endpoint. Whoever owns the endpoint writes it; the choice only reads. */
export interface CandidateState {
  /** Small, of this pool, and given to another endpoint only after this one left. */
  readonly candidateIndex: number;
  /** `ip:port`. */
  address: string;
  flags: number;
  /** In flight there, as far as is known: our own, or what the engine says if that is more. */
  sequences: number;
  /** Requests in the engine's own queue. */
  waiting: number;
  /** Sequences that may be in flight. */
  concurrencyLimit: number;
  /** Part of the concurrency limit that an endpoint takes that has just come back. Over 0, up to 1. */
  startWeight: number;
  /** Prompt tokens that are released to it and not computed yet, without those that its cache has. */
  prefillTokens: number;
  /** KV tokens that what is in flight needs, prompts and predicted outputs. */
  kvTokens: number;
  /** 0: unknown. */
  kvCapacityTokens: number;
  /** Loaded LoRA adapters, and those that are being loaded. */
  adapters: Pick<ReadonlySet<string>, 'has' | 'size'>;
  adaptersLoading: Pick<ReadonlySet<string>, 'has' | 'size'>;
  /** How many it may have; 0: it takes none. */
  adaptersMax: number;
  /** Loaded ones without a request in flight: they can make room. */
  adaptersIdle: number;
  /** Requests in flight whose clients read slowly. */
  slowClients: number;
  zone: string | undefined;
}

export type Candidate = Readonly<CandidateState>;

const NONE: ReadonlySet<string> = new Set();

/** An endpoint of which nothing is known but that it is not in the rotation yet. */
export const newCandidate = (candidateIndex: number, address: string): CandidateState => ({
  candidateIndex,
  address,
  flags: UNHEALTHY,
  sequences: 0,
  waiting: 0,
  concurrencyLimit: 1,
  startWeight: 1,
  prefillTokens: 0,
  kvTokens: 0,
  kvCapacityTokens: 0,
  adapters: NONE,
  adaptersLoading: NONE,
  adaptersMax: 0,
  adaptersIdle: 0,
  slowClients: 0,
  zone: undefined,
});

/** What is asked for. */
export interface ChoiceRequest {
  /** Absent: the base model is asked for. */
  readonly adapter?: string;
  /** Undefined where nothing is cached by prefix: embeddings. */
  readonly prompt: PromptHashes | undefined;
  /** Bytes of the whole prompt, also of what is beyond the hashed part. */
  readonly promptBytes: number;
  readonly promptTokens: number;
  /** Prompt and predicted output, of all sequences. */
  readonly totalTokens: number;
  /** Its answer streams. */
  readonly stream: boolean;
  /** Its client was seen to read slowly. */
  readonly slow: boolean;
  readonly zone?: string;
  /** Only these addresses may serve it. */
  readonly subset?: ReadonlySet<string>;
}

/** What only the caller can say of an endpoint. Asked as late as possible, and of as few as possible. */
export interface EndpointQueries {
  /**
   * It has room for the request now.
   *
   * @param matchedTokens prompt tokens that it is thought to have cached.
   */
  room(candidate: Candidate, matchedTokens: number): boolean;
  /** The breaker of the model or adapter lets the request in. */
  permits(candidate: Candidate): boolean;
  /** It may go to the other side when its own has no room, where slow clients are isolated. Default: false. */
  readonly borrows?: boolean;
}

/** Everything that filters and scorers may look at besides the endpoint; the same for all endpoints of one choice. */
export interface ScoringContext {
  readonly request: ChoiceRequest;
  readonly queries: EndpointQueries;
  /** By candidateIndex: bytes of the prompt, from its beginning, that the endpoint is thought to have cached. */
  readonly matchedBytes: Uint32Array;
  /** Of the prompt's beginning: what every endpoint of the pool has cached, and matchedBytes does not list. */
  readonly matchedEverywhere: number;
  readonly tokensPerByte: number;
  /** Where its session was served last; -1: nowhere. */
  readonly sessionCandidate: number;
  /** Prompt tokens that are 1 in the scores of `prefix` and `queue`. */
  readonly prefillScale: number;
  /** Slow clients and others are kept apart now. */
  readonly isolate: boolean;
}

/** A pure yes or no for one endpoint. */
export interface Filter {
  readonly name: string;
  readonly passes: (candidate: Candidate, context: ScoringContext) => boolean;
}

/** A pure number for one endpoint: 0 is worst, 1 is best. */
export interface Scorer {
  readonly name: ScorerName;
  /** False: all endpoints are the same to this request, and none is scored. */
  readonly applies: (context: ScoringContext) => boolean;
  /** It scores what the endpoint remembers: not counted above the attraction limit (attraction.ts). Default: false. */
  readonly remembers?: boolean;
  readonly score: (candidate: Candidate, context: ScoringContext) => number;
}
