/** How fast a simulated engine is and how much it holds. */
import { z } from 'zod';

export interface EngineProfile {
  readonly name: string;
  /** Duration of a step with nothing in it: reading the weights once. */
  readonly stepBaseMs: number;
  readonly msPerPrefillToken: number;
  readonly msPerDecodeSequence: number;
  /** Most tokens computed in one step: vLLM's max_num_batched_tokens. */
  readonly tokensPerStep: number;
  /** Most sequences in a step: vLLM's max_num_seqs. */
  readonly maxSequences: number;
  readonly kvBlocks: number;
  /** Tokens in a KV block. */
  readonly blockTokens: number;
  readonly maxModelLen: number;
  readonly scheduling: 'fcfs' | 'priority';
}

const schema = z.strictObject({
  name: z.string(),
  stepBaseMs: z.number().positive().max(10_000),
  msPerPrefillToken: z.number().nonnegative().max(1_000),
  msPerDecodeSequence: z.number().nonnegative().max(1_000),
  tokensPerStep: z.number().int().positive().max(1_000_000),
  maxSequences: z.number().int().positive().max(100_000),
  kvBlocks: z.number().int().positive().max(100_000_000),
  blockTokens: z.number().int().positive().max(1_024),
  maxModelLen: z.number().int().positive().max(100_000_000),
  scheduling: z.enum(['fcfs', 'priority']),
});

/**
 * Chosen, in the range of what is published: a step reads the weights once (8B in 16 bits: 16 GB, at the 3.35 TB/s of an
 * H100 about 5 ms; 70B over two of them about 21 ms), and prefill computes 2 · parameters FLOP a token (8B at 400
 * effective TFLOP/s: 0.04 ms).
 */
const PROFILES: Readonly<Record<string, EngineProfile>> = {
  /** Small on purpose: eight sequences are full soon, so a queue can be watched by hand. */
  quickstart: {
    name: 'quickstart',
    stepBaseMs: 10,
    msPerPrefillToken: 0.04,
    msPerDecodeSequence: 0.25,
    tokensPerStep: 2_048,
    maxSequences: 8,
    kvBlocks: 4_096,
    blockTokens: 16,
    maxModelLen: 8_192,
    scheduling: 'fcfs',
  },
  '8b': {
    name: '8b',
    stepBaseMs: 6,
    msPerPrefillToken: 0.04,
    msPerDecodeSequence: 0.03,
    tokensPerStep: 8_192,
    maxSequences: 256,
    kvBlocks: 27_000,
    blockTokens: 16,
    maxModelLen: 32_768,
    scheduling: 'fcfs',
  },
  '70b': {
    name: '70b',
    stepBaseMs: 22,
    msPerPrefillToken: 0.18,
    msPerDecodeSequence: 0.06,
    tokensPerStep: 8_192,
    maxSequences: 256,
    kvBlocks: 12_000,
    blockTokens: 16,
    maxModelLen: 32_768,
    scheduling: 'fcfs',
  },
  /** As fast as timers allow, for tests. */
  test: {
    name: 'test',
    stepBaseMs: 1,
    msPerPrefillToken: 0.001,
    msPerDecodeSequence: 0.01,
    tokensPerStep: 2_048,
    maxSequences: 8,
    kvBlocks: 4_096,
    blockTokens: 16,
    maxModelLen: 32_768,
    scheduling: 'fcfs',
  },
};

/**
 * A named profile with some of its settings replaced; a value may be a number in a string.
 *
 * @throws on an unknown profile, an unknown setting or a value out of range; the message says which.
 */
export function parseProfile(
  name: string,
  overrides: Readonly<Record<string, string | number>>,
): EngineProfile {
  const base = PROFILES[name];
  if (base === undefined) {
    throw new Error(`unknown profile ${name}; there are ${Object.keys(PROFILES).join(', ')}`);
  }
  const numbers = Object.fromEntries(
    Object.entries(overrides).map(([key, value]) => {
      const number = typeof value === 'number' ? value : Number(value);
      return [key, key === 'scheduling' || Number.isNaN(number) ? value : number];
    }),
  );
  const result = schema.safeParse({ ...base, ...numbers });
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new Error(`profile ${name}: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`.trim());
}
