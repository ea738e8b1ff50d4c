/**
 * What a request will take, learned from what requests took: no tokenizer in the hot path.
 *
 * Prompt tokens come from the bytes of the prompt and a bytes-per-token ratio of the tenant and model
 * (bytes-per-token.ts); output tokens from `min(max_tokens, what this tenant's requests to this model usually take)`.
 * What one tenant's requests report moves what is predicted for another by MAX_INFLUENCE at most.
 *
 * Replicas may learn together: each row is a vector of sums that fade by DECAY with every sample, so what a replica
 * has learned in n samples is added to what others know as known · DECAY^n + learned. `takeChanges` gives what was
 * learned since it was last told, `merge` takes what all know.
 */
import { MAX_TOKENS, mostOfCap, TEMPLATE_TOKENS } from './believed-usage.ts';
import {
  createVotes,
  DECAY,
  isPossibleRatio,
  MAX_WEIGHT,
  type RatioSums,
  ratioSample,
  tokensIn,
} from './bytes-per-token.ts';

export { DECAY } from './bytes-per-token.ts';

/** An engine's usage of one request, and what is known of the request. */
interface Seen {
  readonly promptBytes: number;
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly outputTokens: number;
  /** Pictures and sound are in it: its bytes say nothing of its tokens. */
  readonly hasMedia?: boolean;
  /** The request's own limit for all its outputs together. */
  readonly outputCap?: number;
  /** Bytes of the text that was streamed, where that was counted. */
  readonly contentBytes?: number;
}

export interface Predictor {
  promptTokens(tenant: string, model: string, promptBytes: number): number;
  /** @param cap the request's own limit for all its outputs together, or undefined. */
  outputTokens(tenant: string, model: string, cap: number | undefined): number;
  /** Of a prompt of this tenant, what the engine's prefix cache usually has. */
  cachedTokens(tenant: string, model: string, promptTokens: number): number;
  /** What the engine's prefix cache has of a prompt of this tenant, in the mean. */
  usualCachedTokens(tenant: string, model: string): number;
  /** Tokens of so much streamed text. */
  contentTokens(tenant: string, model: string, contentBytes: number): number;
  /** Learns from an engine's usage; of what cannot be, nothing. */
  learn(tenant: string, model: string, seen: Seen): void;
}

/** What was learned of one row since it was last told; without samples it is a question. */
export interface LearnedChange {
  /**
   * Of a tenant and model: starts with `p:` (bytes per token of prompts), `o:` (of output) or `u:` (see `Usual`).
   * Others, as older versions have them, are not asked for.
   */
  readonly key: string;
  /** Samples, by weight. */
  readonly samples: number;
  readonly sums: readonly number[];
}

/** A predictor whose rows others know too. */
export interface SharedPredictor extends Predictor {
  /** Those asked for first, then those learned, in their order; what is taken is told to others by the caller. */
  takeChanges(most: number): readonly LearnedChange[];
  /** What all know, the change included. Sums that no requests can have are ignored. */
  merge(change: LearnedChange, sums: readonly number[]): void;
  /** The change could not be told: it is given out again. */
  restore(change: LearnedChange): void;
  /** Rows that were not told yet. */
  changes(): number;
}

const INITIAL_OUTPUT_TOKENS = 256;
/** An output counts as so many times the usual one at most, once there is one. */
const MAX_OUTPUT_SURPRISE = 16;
const LEAST_OUTPUT_BOUND = 4_096;
/** Tenants times models that exist; those that came first go first. */
const MAX_ROWS = 100_000;

type Usual = readonly [outputTokens: number, promptTokens: number, cachedTokens: number, weight: number];

const RATIO_SIZE = 2;
const USUAL_SIZE = 4;

interface Row {
  /** All that is known here. */
  sums: number[];
  /** Of that, what others were not told; undefined while nobody else is there. */
  untold: { samples: number; sums: number[] } | undefined;
}

const add = (sums: number[], samples: number, more: readonly number[]): void => {
  const fade = DECAY ** samples;
  for (let i = 0; i < sums.length; i += 1) sums[i] = (sums[i] ?? 0) * fade + (more[i] ?? 0);
};

/** Sums of floats in another order differ in their last digits. */
const ROUNDING = 1 + 1e-9;

const isWithin = (sum: number, most: number): boolean => sum >= 0 && sum <= most;

/** @param size of the row that they are for. */
function isPossible(sums: readonly number[], size: number): boolean {
  if (sums.length !== size) return false;
  if (size === RATIO_SIZE) return isPossibleRatio(sums);
  const [output = 0, prompt = 0, cached = 0, weight = 0] = sums;
  // As means: a weight that is next to nothing would make of any sum whatever it likes.
  const most = weight * MAX_TOKENS * ROUNDING;
  return (
    weight >= 0 &&
    weight <= MAX_WEIGHT &&
    isWithin(output, most) &&
    isWithin(prompt, most) &&
    isWithin(cached, prompt * ROUNDING)
  );
}

/** @param changed the row of the key is this now; undefined: it is not kept any more. */
function createRows(isShared: boolean, changed: (key: string, sums: readonly number[] | undefined) => void) {
  const rows = new Map<string, Row>();
  const asked = new Set<string>();
  const learned = new Set<string>();

  const dropOldest = (): void => {
    const [oldest] = rows.keys();
    if (oldest === undefined) return;
    rows.delete(oldest);
    asked.delete(oldest);
    learned.delete(oldest);
    changed(oldest, undefined);
  };

  const rowOf = (key: string, size: number): Row => {
    let row = rows.get(key);
    if (row === undefined) {
      if (rows.size >= MAX_ROWS) dropOldest();
      const zero = (): number[] => Array.from({ length: size }, () => 0);
      row = { sums: zero(), untold: isShared ? { samples: 0, sums: zero() } : undefined };
      rows.set(key, row);
      if (isShared) asked.add(key);
    }
    return row;
  };

  return {
    /** What is known: zeros at first. The first look at a row asks others for it. */
    sums(key: string, size: number): readonly number[] | undefined {
      return isShared ? rowOf(key, size).sums : rows.get(key)?.sums;
    },
    /** @param weight of the sample: by it older ones fade. */
    learn(key: string, sample: RatioSums | Usual, weight: number): void {
      const row = rowOf(key, sample.length);
      add(row.sums, weight, sample);
      changed(key, row.sums);
      if (row.untold === undefined) return;
      add(row.untold.sums, weight, sample);
      row.untold.samples += weight;
      if (!asked.has(key)) learned.add(key);
    },
    takeChanges(most: number): readonly LearnedChange[] {
      const changes: LearnedChange[] = [];
      for (const keys of [asked, learned]) {
        for (const key of keys) {
          if (changes.length >= most) return changes;
          asked.delete(key);
          learned.delete(key);
          const row = rows.get(key);
          if (row?.untold === undefined) continue;
          changes.push({ key, ...row.untold });
          row.untold = { samples: 0, sums: row.sums.map(() => 0) };
        }
      }
      return changes;
    },
    merge({ key }: LearnedChange, sums: readonly number[]): void {
      const row = rows.get(key);
      if (row?.untold === undefined || !isPossible(sums, row.sums.length)) return;
      row.sums = [...sums];
      add(row.sums, row.untold.samples, row.untold.sums);
      changed(key, row.sums);
    },
    restore({ key, samples, sums }: LearnedChange): void {
      const row = rows.get(key);
      if (row?.untold === undefined) return;
      const later = row.untold;
      row.untold = { samples: samples + later.samples, sums: [...sums] };
      add(row.untold.sums, later.samples, later.sums);
      if (row.untold.samples > 0) learned.add(key);
      else asked.add(key);
    },
    changes: () => asked.size + learned.size,
  };
}

const isSample = (tokens: number): boolean => tokens >= 0 && tokens <= MAX_TOKENS;

type RatioKind = 'p' | 'o';

const keyOf = (kind: RatioKind | 'u', tenant: string, model: string): string => `${kind}:${tenant}\n${model}`;

class LearnedPredictor implements SharedPredictor {
  private readonly votes = { p: createVotes(), o: createVotes() };
  private readonly rows: ReturnType<typeof createRows>;

  constructor(isShared: boolean) {
    this.rows = createRows(isShared, (key, sums) => this.rowChanged(key, sums));
  }

  promptTokens(tenant: string, model: string, bytes: number): number {
    return this.tokensOf('p', tenant, model, bytes);
  }

  contentTokens(tenant: string, model: string, bytes: number): number {
    return this.tokensOf('o', tenant, model, bytes);
  }

  outputTokens(tenant: string, model: string, cap: number | undefined): number {
    const [sum = 0, , , weight = 0] = this.usualOf(tenant, model);
    const usual = weight === 0 ? INITIAL_OUTPUT_TOKENS : Math.round(sum / weight);
    return cap === undefined ? usual : Math.min(cap, usual);
  }

  cachedTokens(tenant: string, model: string, promptTokens: number): number {
    const [, prompt = 0, cached = 0] = this.usualOf(tenant, model);
    return prompt === 0 ? 0 : Math.floor(promptTokens * Math.min(1, cached / prompt));
  }

  usualCachedTokens(tenant: string, model: string): number {
    const [, , cached = 0, weight = 0] = this.usualOf(tenant, model);
    return weight === 0 ? 0 : cached / weight;
  }

  learn(tenant: string, model: string, seen: Seen): void {
    const { promptBytes, promptTokens, cachedTokens, outputTokens, outputCap, contentBytes = 0 } = seen;
    // Whoever asks has asked the rule of believed-usage.ts, which knows more of the request. What it let pass is no
    // sample of text if it is more than the text.
    if (!isSample(promptTokens) || !isSample(outputTokens)) return;
    if (outputTokens > mostOfCap(outputCap ?? MAX_TOKENS)) return;
    const isPlain = seen.hasMedia !== true;
    if (isPlain && promptTokens > promptBytes + TEMPLATE_TOKENS) return;
    if (isPlain) this.learnRatio('p', tenant, model, promptBytes, promptTokens);
    // More tokens than bytes: part of the output was not shown.
    if (contentBytes >= outputTokens) this.learnRatio('o', tenant, model, contentBytes, outputTokens);
    const [sum = 0, , , weight = 0] = this.usualOf(tenant, model);
    const most =
      weight === 0 ? MAX_TOKENS : Math.max(LEAST_OUTPUT_BOUND, (MAX_OUTPUT_SURPRISE * sum) / weight);
    const usual: Usual = [
      Math.min(outputTokens, most),
      promptTokens,
      Math.min(cachedTokens, promptTokens),
      1,
    ];
    this.rows.learn(keyOf('u', tenant, model), usual, 1);
  }

  takeChanges(most: number): readonly LearnedChange[] {
    return this.rows.takeChanges(most);
  }

  merge(change: LearnedChange, sums: readonly number[]): void {
    this.rows.merge(change, sums);
  }

  restore(change: LearnedChange): void {
    this.rows.restore(change);
  }

  changes(): number {
    return this.rows.changes();
  }

  private rowChanged(key: string, sums: readonly number[] | undefined): void {
    const kind = key[0];
    if (kind !== 'p' && kind !== 'o') return;
    const end = key.indexOf('\n');
    const [tenant, model] = [key.slice(2, end), key.slice(end + 1)];
    if (sums === undefined) this.votes[kind].forget(tenant, model);
    else this.votes[kind].vote(tenant, model, sums);
  }

  private ratioOf(kind: RatioKind, tenant: string, model: string): readonly number[] {
    return this.rows.sums(keyOf(kind, tenant, model), RATIO_SIZE) ?? [];
  }

  private usualOf(tenant: string, model: string): readonly number[] {
    return this.rows.sums(keyOf('u', tenant, model), USUAL_SIZE) ?? [];
  }

  private tokensOf(kind: RatioKind, tenant: string, model: string, bytes: number): number {
    const prior = this.votes[kind].prior(model);
    return Math.ceil(tokensIn(bytes, this.ratioOf(kind, tenant, model), prior));
  }

  private learnRatio(kind: RatioKind, tenant: string, model: string, bytes: number, tokens: number): void {
    if (bytes <= 0 || tokens <= 0) return;
    const prior = this.votes[kind].prior(model);
    const sample = ratioSample(bytes, tokens, this.ratioOf(kind, tenant, model), prior);
    this.rows.learn(keyOf(kind, tenant, model), sample, sample[1]);
  }
}

export const createPredictor = (): Predictor => new LearnedPredictor(false);

export const createSharedPredictor = (): SharedPredictor => new LearnedPredictor(true);
