/** Throughput with long prompts, against the same Envoy without the service. */
import { startWithAndWithout, type WithAndWithout } from '../with-and-without.ts';

const PROMPT_BYTES = 220_000;
const CLIENTS = 16;
const ROUND_MS = 3_000;
const ROUNDS = 5;
const WARM_UP_MS = 2_000;

/** A prompt as people write them: lines, quotes, characters beyond ASCII. */
const LINE = 'She said: "the train to Zürich leaves at 7:45", and closed the book.\n';

const payloadOf = (stream: boolean): string =>
  JSON.stringify({
    model: 'demo',
    messages: [{ role: 'user', content: LINE.repeat(Math.ceil(PROMPT_BYTES / LINE.length)) }],
    max_tokens: 1,
    stream,
  });

interface BigBodyFigures {
  /** Requests a second, with ÷ without: the median of the rounds, each with the two in turn. */
  readonly ratio: number;
  readonly withPerS: number;
  readonly withoutPerS: number;
  readonly serviceCpuUs: number;
}

export interface BigBody {
  readonly bytes: number;
  /** An answer in one piece: nothing in the request is changed, and it is not sent back to Envoy. */
  readonly whole: BigBodyFigures;
  /** The engine is asked for usage, so the whole request is sent back. */
  readonly stream: BigBodyFigures;
}

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;

async function compare(bench: WithAndWithout, payload: string): Promise<BigBodyFigures> {
  await bench.rate(bench.with, payload, CLIENTS, WARM_UP_MS);
  await bench.rate(bench.without, payload, CLIENTS, WARM_UP_MS);
  const with_: number[] = [];
  const without: number[] = [];
  let cpuMs = 0;
  for (let round = 0; round < ROUNDS; round += 1) {
    const before = await bench.serviceCpuMs();
    with_.push(await bench.rate(bench.with, payload, CLIENTS, ROUND_MS));
    cpuMs += (await bench.serviceCpuMs()) - before;
    without.push(await bench.rate(bench.without, payload, CLIENTS, ROUND_MS));
  }
  const requests = with_.reduce((sum, rate) => sum + (rate * ROUND_MS) / 1_000, 0);
  return {
    ratio: median(with_.map((rate, i) => rate / (without[i] ?? Number.NaN))),
    withPerS: median(with_),
    withoutPerS: median(without),
    serviceCpuUs: (1_000 * cpuMs) / requests,
  };
}

export async function measureBigBody(say: (text: string) => void): Promise<BigBody> {
  const bench = await startWithAndWithout(say);
  try {
    return {
      bytes: Buffer.byteLength(payloadOf(false)),
      whole: await compare(bench, payloadOf(false)),
      stream: await compare(bench, payloadOf(true)),
    };
  } finally {
    await bench.close();
  }
}
