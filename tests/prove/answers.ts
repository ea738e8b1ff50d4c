/**
 * What meters read of answers is what a plain reader finds in the whole text.
 *
 *   npm run prove -- answers [--answers 50000] [--seed 1]
 *
 * Answers as engines send them, changed by chance, written in any way and cut anywhere, some of them compressed, some
 * broken on purpose. Compared: usage, whether it is early or odd, errors, the end, tokens; that bytes pass as they came,
 * or less the events that have only usage; and what a meter holds meanwhile.
 */
import { parseArgs } from 'node:util';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import { createBodyMeter } from '../../src/openai/body-meter.ts';
import { createEncodedMeter } from '../../src/openai/encoded-meter.ts';
import type { MeterResult, ResponseMeter } from '../../src/openai/response-meter.ts';
import { createStreamMeter } from '../../src/openai/stream-meter.ts';
import { type Answer, answerByChance, createRandom, cutByChance } from '../support/answer-generator.ts';
import { bodySays, type Said, streamSays } from '../support/answer-reference.ts';

interface Read {
  readonly result: MeterResult;
  readonly output: Buffer;
}

function read(meter: ResponseMeter, pieces: readonly Buffer[]): Read {
  const output: Uint8Array[] = [];
  for (const piece of pieces) {
    const chunk = Buffer.from(piece);
    output.push(Buffer.from(meter.push(chunk, 1) ?? chunk));
  }
  const rest = meter.end();
  if (rest !== undefined) output.push(rest);
  return { result: meter.result(), output: Buffer.concat(output) };
}

const meterOf = ({ route, isStream }: Answer, removeUsageChunk = false): ResponseMeter =>
  isStream ? createStreamMeter({ route, removeUsageChunk }) : createBodyMeter(route);

/** What is compared: tokens only where they can be known, usage except where it goes by them. */
const told = (result: MeterResult, { isClean }: Answer, { doubtful, several }: Said): object => ({
  ...(!(several && (doubtful || !isClean)) && { usage: result.usage }),
  odd: result.oddUsage === true,
  error: result.errorFrame,
  ...(isClean && { done: result.finished }),
  ...(isClean && !doubtful && { early: result.isUsageEarly === true, tokens: result.tokenEvents }),
});

const expected = (
  { usage, odd, error, done, early, tokens, doubtful, several }: Said,
  isClean: boolean,
): object => ({
  ...(!(several && (doubtful || !isClean)) && { usage }),
  odd,
  error,
  ...(isClean && { done }),
  ...(isClean && !doubtful && { early, tokens }),
});

export interface Difference {
  readonly what: string;
  readonly answer: Answer;
  readonly expected: string;
  readonly found: string;
}

const same = (a: object, b: object): boolean => JSON.stringify(a) === JSON.stringify(b);

/** What is wrong with how an answer is read; undefined if nothing is. */
function differenceIn(answer: Answer, seed: number): Difference | undefined {
  const random = createRandom(seed);
  const { bytes, route, isStream, isClean } = answer;
  const says = isStream ? streamSays : bodySays;
  const said = says(bytes, route);
  const right = expected(said, isClean);
  const wrong = (what: string, a: object, b: object): Difference => ({
    what,
    answer,
    expected: JSON.stringify(a),
    found: JSON.stringify(b),
  });

  const plain = read(meterOf(answer), cutByChance(random, bytes));
  const plainly = told(plain.result, answer, said);
  if (!same(right, plainly)) return wrong('result', right, plainly);
  if (!plain.output.equals(bytes)) return wrong('bytes', {}, {});

  if (!isStream) {
    // Too large to be kept, whatever it is: read as it passes.
    const padded = Buffer.concat([Buffer.alloc(33_000, ' '), bytes]);
    const passing = told(read(meterOf(answer), cutByChance(random, padded)).result, answer, said);
    // What was cut off is no JSON for either; white space may make a byte order mark one.
    if (bytes[0] === 0x7b && !same(right, passing)) return wrong('result, as it passes', right, passing);
  }

  const encoding = random();
  if (encoding < 0.1) {
    const packed = encoding < 0.05 ? gzipSync(bytes) : brotliCompressSync(bytes);
    const meter = createEncodedMeter(meterOf(answer), encoding < 0.05 ? 'gzip' : 'br');
    const { result, output } = read(meter, cutByChance(random, packed));
    const compressed = told(result, answer, said);
    if (!same(right, compressed)) return wrong('result, compressed', right, compressed);
    if (!output.equals(packed)) return wrong('bytes, compressed', {}, {});
  }

  if (isStream && random() < 0.5) {
    const removed = read(meterOf(answer, true), cutByChance(random, bytes));
    const result = told(removed.result, answer, said);
    if (!same(right, result)) return wrong('result, with removal', right, result);
    const [before, after] = [said, says(removed.output, route)];
    const [rest, left] = [before, after].map(({ tokens, error, done }) => ({ tokens, error, done }));
    if (isClean && !same(rest ?? {}, left ?? {})) return wrong('what is left', rest ?? {}, left ?? {});
    if (removed.output.length < bytes.length !== after.usageOnly < before.usageOnly) {
      return wrong('what is removed', { usageOnly: before.usageOnly }, { usageOnly: after.usageOnly });
    }
  }
  return undefined;
}

export interface Compared {
  readonly answers: number;
  readonly streams: number;
  readonly withUsage: number;
  readonly odd: number;
  readonly errors: number;
  readonly differences: readonly Difference[];
}

export function compareAnswers({
  answers,
  seed,
}: {
  readonly answers: number;
  readonly seed: number;
}): Compared {
  const random = createRandom(seed);
  const counts = { answers, streams: 0, withUsage: 0, odd: 0, errors: 0 };
  const differences: Difference[] = [];
  for (let i = 0; i < answers; i += 1) {
    const answer = answerByChance(random);
    const difference = differenceIn(answer, Math.floor(random() * 2 ** 32));
    if (difference !== undefined) differences.push(difference);
    const says = answer.isStream ? streamSays : bodySays;
    const { usage, odd, error } = says(answer.bytes, answer.route);
    if (answer.isStream) counts.streams += 1;
    if (usage !== undefined) counts.withUsage += 1;
    if (odd) counts.odd += 1;
    if (error) counts.errors += 1;
  }
  return { ...counts, differences };
}

function run(args: string[]): void {
  const { values } = parseArgs({
    args,
    options: {
      answers: { type: 'string', default: '50000' },
      seed: { type: 'string', default: '1' },
    },
  });
  const { differences, ...counts } = compareAnswers({
    answers: Number(values.answers),
    seed: Number(values.seed),
  });
  console.log(counts);
  console.log(`differences: ${differences.length}`);
  // The smallest of each kind.
  const shown = new Set<string>();
  for (const { what, answer, expected: right, found } of differences.toSorted(
    (a, b) => a.answer.bytes.length - b.answer.bytes.length,
  )) {
    if (shown.has(what)) continue;
    shown.add(what);
    console.error(
      `${what}, ${answer.route}: ${JSON.stringify(answer.bytes.toString('latin1').slice(0, 4000))}`,
    );
    console.error(`expected ${right}\nfound    ${found}`);
    process.exitCode = 1;
  }
}

if (process.argv[1]?.endsWith('answers.ts') === true) run(process.argv.slice(2));
