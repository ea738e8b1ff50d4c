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
  /** vLLM's policies; `ideal` is no engine's: the perfect scheduler that benchmarks measure against. */
  readonly scheduling: 'fcfs' | 'priority' | 'ideal';
}

const schema = z.strictObject({
  name: z.string(),
  stepBaseMs: z.number().positive().max(10_000),
  msPerPrefillToken: z.number().nonnegative().max(1_000),
  msPerDecodeSequence: z.number().nonnegative().max(1_000),
  tokensPerStep: z.number().int().positive().max(1_000_000),
  maxSequences: z.number().int().positive().max(100_000),
  kvBlocks: z.number().int().positive().max(4_000_000),
  blockTokens: z.number().int().positive().max(1_024),
  maxModelLen: z.number().int().positive().max(100_000_000),
  scheduling: z.enum(['fcfs', 'priority', 'ideal']),
});

/**
 * By arithmetic on published figures: NVIDIA's data sheets (H100 SXM: 80 GB, 3.35 TB/s, 989 dense TFLOP/s in
 * 16 bits; H200: 141 GB, 4.8 TB/s, 1,979 in 8 bits) and Meta's model cards of Llama 3 (8B: 32 layers, 70B:
 * 80; both 8 KV heads of 128).
 *
 * - A step reads the weights once: 8B in 16 bits are 16 GB, 5 ms on an H100; 70B in 8 bits are 70 GB, 15 ms
 *   on an H200. The rest of stepBaseMs is scheduling and launches.
 * - Prefill computes 2 · parameters FLOP a token, at about 40 % of the peak: 16 GFLOP at 400 TFLOP/s, 140 at
 *   800.
 * - A decoding sequence reads its KV: at 1,000 tokens of context 131 MB for 8B and 328 MB for 70B.
 * - A block of 16 tokens takes 2 MiB (8B) or 5 MiB (70B, KV in 16 bits). Of 90 % of the memory, vLLM's
 *   gpu_memory_utilization, the weights leave 56 GB and 57 GB: 27,000 and 10,500 blocks.
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
    msPerDecodeSequence: 0.04,
    tokensPerStep: 8_192,
    maxSequences: 256,
    kvBlocks: 27_000,
    blockTokens: 16,
    maxModelLen: 32_768,
    scheduling: 'fcfs',
  },
  '70b': {
    name: '70b',
    stepBaseMs: 17,
    msPerPrefillToken: 0.175,
    msPerDecodeSequence: 0.07,
    tokensPerStep: 8_192,
    maxSequences: 256,
    kvBlocks: 10_500,
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
