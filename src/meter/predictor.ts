/**
 * What a request will take, learned from what requests took: no tokenizer in the hot path.
 *
 * Prompt tokens come from the bytes of the prompt and a bytes-per-token ratio of the model; output tokens from
 * `min(max_tokens, what this tenant's requests to this model usually take)`.
 *
 * Replicas may learn together: each row is a vector of sums that fade by DECAY with every sample, so what a replica has
 * learned in n samples is added to what others know as known · DECAY^n + learned. `takeChanges` gives what was learned since
 * it was last told, `merge` takes what all know.
 */
export interface Predictor {
  promptTokens(model: string, promptBytes: number): number;
  /** @param cap the request's own limit for all its outputs together, or undefined. */
  outputTokens(tenant: string, model: string, cap: number | undefined): number;
  /** Of a prompt of this tenant, what the engine's prefix cache usually has. */
  cachedTokens(tenant: string, model: string, promptTokens: number): number;
  /** Learns from an engine's usage. */
  learn(
    tenant: string,
    model: string,
    seen: {
      readonly promptBytes: number;
      readonly promptTokens: number;
      readonly cachedTokens: number;
      readonly outputTokens: number;
    },
  ): void;
}

/** What was learned of one row since it was last told; without samples it is a question. */
export interface LearnedChange {
  /** Starts with `r:` (of a model: bytes, tokens) or `u:` (of a tenant and model: see `Usual`). */
  readonly key: string;
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

/** English text under common tokenizers; only until the first answer of the model. */
const INITIAL_BYTES_PER_TOKEN = 4;
const INITIAL_OUTPUT_TOKENS = 256;
/** Old samples fade: a sample's weight halves about every 34 requests. */
export const DECAY = 0.98;
/** Bounds on what may be learned, so that one odd answer cannot make prompts free or priceless. */
const MIN_BYTES_PER_TOKEN = 0.5;
const MAX_BYTES_PER_TOKEN = 16;
/** No request is larger: others may say anything. */
const MAX_BYTES = 1e9;
const MAX_TOKENS = 1e7;
const MAX_WEIGHT = 1 / (1 - DECAY) + 1;

/** Bytes, tokens. */
type Ratio = [bytes: number, tokens: number];
type Usual = [outputTokens: number, promptTokens: number, cachedTokens: number, weight: number];

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

/** @param size of the row that they are for. */
function isPossible(sums: readonly number[], size: number): boolean {
  const most = MAX_WEIGHT * (size === 2 ? MAX_BYTES : MAX_TOKENS);
  const [, , , weight = 1] = sums;
  return sums.length === size && sums.every((sum) => sum >= 0 && sum <= most) && weight <= MAX_WEIGHT;
}

function createRows(isShared: boolean) {
  const rows = new Map<string, Row>();
  const asked = new Set<string>();
  const learned = new Set<string>();

  const rowOf = (key: string, size: number): Row => {
    let row = rows.get(key);
    if (row === undefined) {
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
    learn(key: string, sample: Ratio | Usual): void {
      const row = rowOf(key, sample.length);
      add(row.sums, 1, sample);
      if (row.untold === undefined) return;
      add(row.untold.sums, 1, sample);
      row.untold.samples += 1;
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

function createOver(rows: ReturnType<typeof createRows>): Predictor {
  const modelKey = (model: string): string => `r:${model}`;
  const usualKey = (tenant: string, model: string): string => `u:${tenant}\n${model}`;

  return {
    promptTokens(model, promptBytes) {
      const [bytes = 0, tokens = 0] = rows.sums(modelKey(model), 2) ?? [];
      const learned = tokens === 0 ? INITIAL_BYTES_PER_TOKEN : bytes / tokens;
      const bytesPerToken = Math.min(MAX_BYTES_PER_TOKEN, Math.max(MIN_BYTES_PER_TOKEN, learned));
      return Math.ceil(promptBytes / bytesPerToken);
    },
    outputTokens(tenant, model, cap) {
      const [sum = 0, , , weight = 0] = rows.sums(usualKey(tenant, model), 4) ?? [];
      const usual = weight === 0 ? INITIAL_OUTPUT_TOKENS : Math.round(sum / weight);
      return cap === undefined ? usual : Math.min(cap, usual);
    },
    cachedTokens(tenant, model, promptTokens) {
      const [, prompt = 0, cached = 0] = rows.sums(usualKey(tenant, model), 4) ?? [];
      return prompt === 0 ? 0 : Math.floor(promptTokens * Math.min(1, cached / prompt));
    },
    learn(tenant, model, { promptBytes, promptTokens, cachedTokens, outputTokens }) {
      if (promptBytes > 0 && promptTokens > 0) rows.learn(modelKey(model), [promptBytes, promptTokens]);
      rows.learn(usualKey(tenant, model), [outputTokens, promptTokens, cachedTokens, 1]);
    },
  };
}

export const createPredictor = (): Predictor => createOver(createRows(false));

export function createSharedPredictor(): SharedPredictor {
  const rows = createRows(true);
  return {
    ...createOver(rows),
    takeChanges: (most) => rows.takeChanges(most),
    merge: (change, sums) => rows.merge(change, sums),
    restore: (change) => rows.restore(change),
    changes: () => rows.changes(),
  };
}
