/**
 * Rate limit files, and what the reference's reader of YAML (gopkg.in/yaml.v2) finds in them, with its fields and its checks.
 *
 * node --import tsx tests/prove/yaml.ts [--files N] [--seed S]
 * node --import tsx tests/prove/yaml.ts --record tests/fixtures/rate-limit/yaml-go.json [--seed S]
 */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import {
  readLimitsFile,
  type WrittenDescriptor,
  type WrittenFile,
} from '../../src/rate-limit-service/limits-file.ts';
import { yamlReader } from './differential/install.ts';
import { framed, Oracle } from './differential/oracles.ts';
import { Random } from './differential/random.ts';
import { altered, FileWriter, ODD_SCALARS } from './yaml/files.ts';

/** Fields in the order of the reference's, as JSON; or why a file is refused. */
export type Reading = { readonly fields: string } | { readonly refused: string };

const described = (descriptor: WrittenDescriptor): unknown => [
  descriptor.key,
  descriptor.value,
  descriptor.rateLimit === undefined
    ? null
    : [
        descriptor.rateLimit.requestsPerUnit,
        descriptor.rateLimit.unit,
        descriptor.rateLimit.unlimited,
        descriptor.rateLimit.name,
        descriptor.rateLimit.replaces,
      ],
  descriptor.descriptors.map(described),
  descriptor.shadowMode,
  descriptor.quotaMode,
  descriptor.detailedMetric,
  descriptor.valueToMetric,
  descriptor.shareThreshold,
];
/** A file without a domain is refused by what comes behind. */
const readingOf = ({ domain, descriptors }: WrittenFile): Reading =>
  domain === ''
    ? { refused: 'config file cannot have empty domain' }
    : { fields: JSON.stringify([domain, descriptors.map(described)]) };

export function ourReading(text: string): Reading {
  try {
    return readingOf(readLimitsFile(Buffer.from(text)));
  } catch (error) {
    return { refused: (error as Error).message };
  }
}

interface GoLimit {
  readonly RequestsPerUnit: number;
  readonly Unit: string;
  readonly Unlimited: boolean;
  readonly Name: string;
  readonly Replaces: readonly { readonly Name: string }[] | null;
}
interface GoDescriptor {
  readonly Key: string;
  readonly Value: string;
  readonly RateLimit: GoLimit | null;
  readonly Descriptors: readonly GoDescriptor[] | null;
  readonly ShadowMode: boolean;
  readonly QuotaMode: boolean;
  readonly DetailedMetric: boolean;
  readonly ValueToMetric: boolean;
  readonly ShareThreshold: boolean;
}
type GoAnswer =
  | { readonly error: string }
  | { readonly file: { readonly Domain: string; readonly Descriptors: readonly GoDescriptor[] | null } };

const fromGo = (go: GoDescriptor): WrittenDescriptor => ({
  key: go.Key,
  value: go.Value,
  rateLimit:
    go.RateLimit === null
      ? undefined
      : {
          requestsPerUnit: go.RateLimit.RequestsPerUnit,
          unit: go.RateLimit.Unit,
          unlimited: go.RateLimit.Unlimited,
          name: go.RateLimit.Name,
          replaces: (go.RateLimit.Replaces ?? []).map(({ Name }) => Name),
        },
  descriptors: (go.Descriptors ?? []).map(fromGo),
  shadowMode: go.ShadowMode,
  quotaMode: go.QuotaMode,
  detailedMetric: go.DetailedMetric,
  valueToMetric: go.ValueToMetric,
  shareThreshold: go.ShareThreshold,
  metadata: undefined,
});

export function theirReading(answer: string): Reading {
  const read = JSON.parse(answer) as GoAnswer;
  if ('error' in read) return { refused: read.error };
  return readingOf({ domain: read.file.Domain, descriptors: (read.file.Descriptors ?? []).map(fromGo) });
}
/** Two readings of a file. */
export type Agreement = 'same' | 'both refuse' | 'only ours takes it' | 'only ours refuses it' | 'different';

/** What their scanner says, and what ours does: nobody reads another limit where one of them refuses the text. */
const THEIR_SYNTAX =
  /^error loading config file: yaml: (line \d+: )?(did not find|could not find|found|mapping|block sequence)/;
/** `{ value:, key: k }`: the colon is part of the key there. */
const THEIR_COLON = /^config error, unknown key '[a-z_]+:'/;
const OUR_SYNTAX = /^error loading config file: yaml: (line \d+: (?!unmarshal)|!!binary value is no UTF-8)/;

/** `different` is also a refusal for another reason than the text's syntax. */
export function agreement(ours: Reading, theirs: Reading): Agreement {
  if ('fields' in ours) {
    if ('fields' in theirs) return ours.fields === theirs.fields ? 'same' : 'different';
    return THEIR_SYNTAX.test(theirs.refused) || THEIR_COLON.test(theirs.refused)
      ? 'only ours takes it'
      : 'different';
  }
  if ('refused' in theirs) return 'both refuse';
  return OUR_SYNTAX.test(ours.refused) ? 'only ours refuses it' : 'different';
}

interface Compared {
  readonly text: string;
  readonly ours: Reading;
  readonly theirs: Reading;
}

export interface YamlResult {
  readonly reader: string;
  readonly counts: Readonly<Record<Agreement, number>>;
  /** The different ones, and a few of those that one refuses. */
  readonly told: readonly Compared[];
}

const BATCH = 100;
const MOST_TOLD = 20;

export async function run(files: number, seed: number): Promise<YamlResult> {
  const oracle = new Oracle('yaml.v2', yamlReader(), []);
  const counts = {
    same: 0,
    'both refuse': 0,
    'only ours takes it': 0,
    'only ours refuses it': 0,
    different: 0,
  };
  const told: Compared[] = [];
  try {
    const reader = String(await oracle.ask());
    const texts = textsBy(seed);
    for (let left = files; left > 0; left -= BATCH) {
      const batch = Array.from({ length: Math.min(BATCH, left) }, () => texts.next().value);
      const answers = await Promise.all(batch.map((text) => oracle.ask(framed(text))));
      batch.forEach((text, i) => {
        const [ours, theirs] = [ourReading(text), theirReading(String(answers[i]))];
        const found = agreement(ours, theirs);
        counts[found] += 1;
        if (found === 'different' && told.length < MOST_TOLD) told.push({ text, ours, theirs });
      });
    }
    return { reader, counts, told };
  } finally {
    oracle.close();
  }
}

function* textsBy(seed: number): Generator<string, never> {
  const random = new Random(seed);
  const writer = new FileWriter(random);
  for (;;) {
    const text = writer.file();
    yield random.chance(0.3) ? altered(text, random, writer.file()) : text;
  }
}

/** What is among the tests: what their reader said of files by chance, and of scalars as a text, a number and a flag. */
export interface Recorded {
  readonly reader: string;
  readonly files: readonly (readonly [text: string, theirs: Reading])[];
  readonly scalars: readonly (readonly [
    written: string,
    text: string | null,
    amount: number | null,
    flag: boolean | null,
  ])[];
}

/** A file with a scalar in each place. */
export const scalarFile = (place: 'value' | 'requests_per_unit' | 'shadow_mode', written: string): string =>
  place === 'requests_per_unit'
    ? `domain: D\ndescriptors:\n- key: k\n  rate_limit:\n    requests_per_unit: ${written}\n`
    : `domain: D\ndescriptors:\n- key: k\n  ${place}: ${written}\n`;

const RECORDED_FILES = 250;
const RECORDED_SCALARS = 2_200;

async function record(path: string, seed: number): Promise<void> {
  const oracle = new Oracle('yaml.v2', yamlReader(), []);
  const reader = String(await oracle.ask());
  const asked = async (text: string): Promise<Reading> =>
    theirReading(String(await oracle.ask(framed(text))));
  const files: [string, Reading][] = [];
  for (const text of textsBy(seed)) {
    const theirs = await asked(text);
    // Refused ones are the rule where files are made by chance.
    if ('fields' in theirs || files.length % 3 === 0) files.push([text, theirs]);
    if (files.length === RECORDED_FILES) break;
  }
  const writer = new FileWriter(new Random(seed));
  const scalars = new Map<string, Recorded['scalars'][number]>();
  const first = (reading: Reading): unknown[] | undefined =>
    'fields' in reading ? (JSON.parse(reading.fields) as [string, unknown[][]])[1][0] : undefined;
  for (const written of [
    ...ODD_SCALARS,
    ...Array.from({ length: RECORDED_SCALARS }, () => writer.oddScalar()),
  ]) {
    const text = first(await asked(scalarFile('value', written)))?.[1];
    const amount = first(await asked(scalarFile('requests_per_unit', written)))?.[2] as number[] | undefined;
    const flag = first(await asked(scalarFile('shadow_mode', written)))?.[4];
    scalars.set(written, [
      written,
      (text as string | undefined) ?? null,
      amount?.[0] ?? null,
      (flag as boolean | undefined) ?? null,
    ]);
  }
  oracle.close();
  const lines = (rows: readonly unknown[]): string => rows.map((row) => JSON.stringify(row)).join(',\n');
  writeFileSync(
    path,
    `{"reader":${JSON.stringify(reader)},\n"files":[\n${lines(files)}\n],\n"scalars":[\n${lines([...scalars.values()])}\n]}\n`,
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: {
      files: { type: 'string', default: '50000' },
      seed: { type: 'string', default: '1' },
      record: { type: 'string' },
    },
  });
  const seed = Number(values.seed);
  if (values.record === undefined) {
    const begun = performance.now();
    const { reader, counts, told } = await run(Number(values.files), seed);
    for (const one of told) console.log(JSON.stringify(one, undefined, 1));
    console.log(`${reader}: ${values.files} files in ${((performance.now() - begun) / 1_000).toFixed(0)} s`);
    for (const [found, count] of Object.entries(counts)) console.log(`${count} ${found}`);
    process.exitCode = counts.different === 0 ? 0 : 1;
  } else await record(values.record, seed);
}
