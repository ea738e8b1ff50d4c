/**
 * What is sent on is the client's own body, byte for byte, but for what is changed on purpose.
 *
 *   npm run prove -- unaltered [--bodies 1000000] [--seed 1]
 *
 * Bodies of real clients and bodies by chance, on every route, with every combination of edits: fields left out at any place, the
 * model (an alias, an adapter), caps, usage of streams, cache salt, priority. What is sent is compared with what an oracle makes of
 * the client's text by slices (unaltered/oracle.ts), and its value with the same changes made in the parsed body.
 */
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual, parseArgs } from 'node:util';
import { changedBody, parseRequest, serialiseRequest, withPriority } from '../../src/openai/request.ts';
import { policyWith } from '../support/documents.ts';
import { Random } from './differential/random.ts';
import { type GeneratedBody, generated, POLICIES, wantedBy } from './unaltered/generated.ts';
import { expectedOf, isDropped, placesOf, type Wanted, within } from './unaltered/oracle.ts';

export interface Alteration extends GeneratedBody {
  readonly wanted: Wanted;
  readonly what: string;
  readonly sent: string;
  readonly expected: string;
}

export interface UnalteredResult {
  readonly sent: number;
  /** Of these, such as had to be changed. */
  readonly changed: number;
  /** They are refused: nothing is sent. */
  readonly refused: number;
  readonly alterations: readonly Alteration[];
  readonly seconds: number;
}

const MOST_ALTERATIONS = 10;
const PARSED = POLICIES.map((forbidden) => ({ forbidden, policy: policyWith({ forbidden }) }));

/** @param keeps the proxy still has the client's body: nothing is sent where nothing is changed. */
function sentOf(
  { route, text }: GeneratedBody,
  policy: ReturnType<typeof policyWith>,
  { priority, ...wanted }: Wanted,
  keeps: boolean,
): string | undefined {
  const bytes = Buffer.from(text);
  const before = Buffer.from(bytes);
  const parsed = parseRequest(route, bytes, policy);
  if (parsed.kind === 'bad') return undefined;
  const changes = { ...wanted, ...(priority !== undefined && { priorityFollows: true }) };
  const parts = keeps ? changedBody(parsed.request, changes) : serialiseRequest(parsed.request, changes);
  if (!before.equals(bytes)) return 'the client’s bytes were written to';
  if (parts === undefined) return text;
  return Buffer.concat(priority === undefined ? parts : withPriority(parts, priority)).toString();
}

/** `some` is `all` without some. */
function isWithin(some: readonly string[], all: readonly string[]): boolean {
  let at = 0;
  for (const one of all) if (some[at] === one) at += 1;
  return at === some.length;
}

/** What may stand in front of the client's members, and which of the client's own get another value. */
const ADDED = new Set(['priority', 'max_tokens', 'max_output_tokens', 'stream_options', 'cache_salt']);
const SET = new Set(['model', 'max_completion_tokens', ...ADDED]);

/** A parsed value without what is dropped in it: the same as the oracle's, without places. */
function without(value: unknown, paths: readonly string[]): unknown {
  if (paths.length === 0 || typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map((item: unknown) => without(item, paths));
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key]) => !isDropped(key, paths))
      .map(([key, member]: [string, unknown]) => [key, without(member, within(key, paths))]),
  );
}

/** What is wrong with what was sent; undefined: nothing. */
function wrongWith(
  { text }: GeneratedBody,
  sent: string,
  expected: string,
  dropped: readonly string[],
): string | undefined {
  if (sent !== expected) return 'other bytes';
  if (sent === text) return undefined;
  const keys = (body: string): readonly string[] =>
    placesOf(body).members.map(({ start, value }) =>
      body.slice(start, body.lastIndexOf(':', value.start)).trim(),
    );
  const [before, after] = [keys(text), keys(sent)];
  let added = 0;
  while (!isWithin(after.slice(added), before)) added += 1;
  if (after.slice(0, added).some((key) => !ADDED.has(JSON.parse(key) as string))) return 'a key moved';
  const values = JSON.parse(sent) as Record<string, unknown>;
  const theirs = JSON.parse(text) as Record<string, unknown>;
  const isSame = (key: string): boolean =>
    SET.has(key) || isDeepStrictEqual(values[key], without(theirs[key], within(key, dropped)));
  if (!Object.keys(values).every(isSame)) return 'another value';
  const isGone = (key: string): boolean => key in values || key === 'priority' || isDropped(key, dropped);
  return Object.keys(theirs).every(isGone) ? undefined : 'a member is missing';
}

export function run({ bodies, seed }: { readonly bodies: number; readonly seed: number }): UnalteredResult {
  const begun = performance.now();
  const random = new Random(seed);
  const alterations: Alteration[] = [];
  let [sentBodies, changed, refused] = [0, 0, 0];
  while (sentBodies < bodies && alterations.length < MOST_ALTERATIONS) {
    const body = generated(random);
    const wanted = wantedBy(random);
    const { forbidden, policy } = random.pick(PARSED);
    const sent = sentOf(body, policy, wanted, random.chance(0.5));
    if (sent === undefined) {
      refused += 1;
      continue;
    }
    sentBodies += 1;
    if (sent !== body.text) changed += 1;
    const expected = expectedOf(body.text, body.route, forbidden, wanted);
    const what = wrongWith(body, sent, expected, forbidden);
    if (what !== undefined) alterations.push({ ...body, wanted, what, sent, expected });
  }
  return { sent: sentBodies, changed, refused, alterations, seconds: (performance.now() - begun) / 1_000 };
}

/** For people: one a paragraph, from where they differ on. */
export function told({ route, text, wanted, what, sent, expected }: Alteration): string {
  let at = 0;
  while (at < sent.length && sent[at] === expected[at]) at += 1;
  const from = Math.max(0, at - 40);
  return [
    `${what} (${route}; ${JSON.stringify(wanted)})`,
    `  body     ${text}`,
    `  sent     …${sent.slice(from, from + 300)}`,
    `  expected …${expected.slice(from, from + 300)}`,
  ].join('\n');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: { bodies: { type: 'string', default: '1000000' }, seed: { type: 'string', default: '1' } },
  });
  const { alterations, ...counts } = run({ bodies: Number(values.bodies), seed: Number(values.seed) });
  for (const one of alterations) console.log(told(one));
  console.log(
    `${counts.sent} bodies sent on, ${counts.changed} of them changed, ${counts.refused} others refused, in ${counts.seconds.toFixed(0)} s`,
  );
  console.log(`${alterations.length} altered elsewhere than they had to be`);
  process.exitCode = alterations.length === 0 && counts.sent > 0 ? 0 : 1;
}
