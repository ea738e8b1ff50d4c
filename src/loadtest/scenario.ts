/** A benchmark's scenario as users write it in YAML: parsed strictly, or everything that is wrong with it. */
import { dirname, isAbsolute, join } from 'node:path';
import * as z from 'zod';
import { createReport, didYouMean, quote, type Report } from '../config/report.ts';
import { readFailure } from '../config/secrets.ts';
import { durationMs, must } from '../config/values.ts';
import { readYaml } from '../config/yaml-source.ts';
import { type EngineProfile, parseProfile } from '../simulator/profile.ts';
import type { Arrivals, Length, TenantLoad } from './load.ts';
import type { GoodputLimits } from './outcome.ts';

export interface Scenario {
  readonly name: string;
  readonly description?: string;
  /** Of the arrivals. */
  readonly durationMs: number;
  readonly seed: number;
  /** For goodput; absent: none is told. */
  readonly limits?: GoodputLimits;
  /** The lab's engine. */
  readonly engine: EngineProfile;
  /** Rate of the arm request-bucket as a part of the lab engine's capacity. */
  readonly bucket: number;
  /** The same in requests a second, for real targets. */
  readonly bucketPerSecond?: number;
  /** One way between two parts of the lab. */
  readonly hopMs: number;
  /** Real engines are told to make exactly as many tokens as drawn. */
  readonly ignoreEos: boolean;
  /** Asked of a real target; absent: the first that it lists. */
  readonly model?: string;
  readonly tenants: readonly TenantLoad[];
  /** Names of the environment variables with the tenants' keys, for those who have one. */
  readonly keyVariables: ReadonlyMap<string, string>;
}

export interface ScenarioInput {
  readonly text: string;
  /** As it is shown in problems; trace files are relative to its folder. */
  readonly file: string;
  /** Reads a trace file; throws what node:fs throws. */
  readonly readFile: (path: string) => string;
}

export type ParsedScenario =
  | { readonly kind: 'ok'; readonly scenario: Scenario }
  | { readonly kind: 'bad'; readonly problems: readonly string[] };

export const MAX_SCENARIO_BYTES = 1024 ** 2;
/** A million arrivals a file. */
export const MAX_TRACE_BYTES = 16 * 1024 ** 2;
const MOST_ARRIVALS = 1_000_000;
const MOST_TENANTS = 1_000;
const MOST_TOKENS = 10_000_000;

/** Durations of the command line and the file. */
export const SHORTEST_RUN = '100ms';
export const LONGEST_RUN = '24h';

/** As in the configuration; milliseconds may have a fraction. */
export function fineDurationMs(text: string): number | undefined {
  const [, fraction] = /^(\d{1,9}\.\d{1,3})ms$/.exec(text) ?? [];
  return fraction === undefined ? durationMs(text) : Number(fraction);
}

/** A run's duration on the command line; undefined if it is none. */
export function runDurationMs(text: string): number | undefined {
  const parsed = runDuration.safeParse(text);
  return parsed.success ? parsed.data : undefined;
}

const integer = (min: number, max: number) => {
  const error = must(`a whole number from ${min} to ${max}`);
  return z.int({ error }).min(min, { error }).max(max, { error });
};
const number = (min: number, max: number) => {
  const error = must(`a number from ${min} to ${max}`);
  return z.number({ error }).min(min, { error }).max(max, { error });
};
const duration = (min: string, max: string, example: string) => {
  const error = must(`a duration from ${min} to ${max} with a unit (ms, s, m, h), for example ${example}`);
  return z.string({ error }).transform((text, context) => {
    const value = fineDurationMs(text) ?? Number.NaN;
    if (value >= (durationMs(min) ?? 0) && value <= (durationMs(max) ?? 0)) return value;
    context.issues.push({ code: 'custom', message: error({ input: text }), input: text });
    return z.NEVER;
  });
};
const runDuration = duration(SHORTEST_RUN, LONGEST_RUN, '60s');
const text = (pattern: RegExp, what: string) => {
  const error = must(what);
  return z.string({ error }).regex(pattern, { error });
};
const flag = () => z.boolean({ error: must('true or false') });
const mapping = <T extends z.core.$ZodLooseShape>(shape: T) =>
  z.strictObject(shape, { error: must('a mapping') });

const name = text(
  /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/,
  '1 to 64 letters, digits, ".", "_" or "-", the first a letter or digit',
);
/** Control characters could rewrite a terminal. */
const line = (most: number) =>
  text(new RegExp(`^[^\\p{C}]{1,${most}}$`, 'u'), `1 to ${most} printable characters on one line`);

const arrivals = mapping({
  perSecond: number(0.001, 100_000).optional(),
  timesCapacity: number(0.001, 100).optional(),
  trace: z
    .array(number(0, 86_400_000), { error: must('a list of milliseconds from the start') })
    .min(1, { error: must('a list of at least one arrival') })
    .max(MOST_ARRIVALS, { error: must(`a list of at most ${MOST_ARRIVALS} arrivals`) })
    .optional(),
  traceFile: text(/^[^\p{C}]{1,1024}$/u, 'the path of a file').optional(),
});

/** A lone number is put into `tokens` before it gets here. */
const length = z.strictObject(
  {
    tokens: integer(1, MOST_TOKENS).optional(),
    from: integer(1, MOST_TOKENS).optional(),
    to: integer(1, MOST_TOKENS).optional(),
    median: number(1, MOST_TOKENS).optional(),
    sigma: number(0, 5).optional(),
    max: integer(1, MOST_TOKENS).optional(),
  },
  { error: must('a number of tokens, {from, to} or {median, sigma, max}') },
);

const tenant = mapping({
  count: integer(1, MOST_TENANTS).optional(),
  quiet: flag().prefault(false),
  weight: number(0.01, 1_000).prefault(1),
  arrivals,
  prompt: length,
  output: length,
  sharedPrefix: integer(0, MOST_TOKENS).prefault(0),
  key: text(
    /^env:[A-Za-z_][A-Za-z0-9_]*(?:\{n\}[A-Za-z0-9_]*)?$/,
    'env:NAME, the environment variable with the key; with count, {n} in the name stands for the number',
  ).optional(),
  saysLength: flag().prefault(false),
  lane: name.optional(),
});

const limits = mapping({
  ttft: duration('1ms', '1h', '500ms').optional(),
  itl: duration('1ms', '1m', '50ms').optional(),
});

const engine = mapping({
  profile: text(/^[A-Za-z0-9_-]{1,64}$/, 'the name of a profile, for example 8b').prefault('8b'),
  set: z
    .record(z.string(), z.union([z.number(), z.string()], { error: must('a number or a word') }), {
      error: must('a mapping'),
    })
    .prefault({}),
});

const tenantsError = must(`a mapping of 1 to ${MOST_TENANTS} tenants`);
const schema = mapping({
  name: line(100),
  description: line(1_000).optional(),
  duration: runDuration.prefault('60s'),
  seed: integer(0, 4_294_967_295).prefault(1),
  limits: limits.optional(),
  engine: engine.prefault({}),
  bucket: number(0.01, 10).prefault(0.8),
  bucketPerSecond: number(0.01, 100_000).optional(),
  hop: duration('0ms', '10s', '0.5ms').prefault('0.5ms'),
  ignoreEos: flag().prefault(false),
  model: line(256).optional(),
  tenants: z.record(name, tenant, { error: tenantsError }).refine(
    (all) => {
      const count = Object.keys(all).length;
      return count >= 1 && count <= MOST_TENANTS;
    },
    { error: tenantsError },
  ),
});

type Written = z.output<typeof schema>;
type WrittenTenant = z.output<typeof tenant>;
type WrittenLength = z.output<typeof length>;
type Path = readonly (string | number)[];

/** The keys that may stand in the mapping at `path`. */
function knownKeys(path: Path): readonly string[] {
  const shapeOf = (): object => {
    if (path.length === 0) return schema.shape;
    if (path[0] === 'limits') return limits.shape;
    if (path[0] === 'engine') return engine.shape;
    if (path[2] === 'arrivals') return arrivals.shape;
    return path.length === 2 ? tenant.shape : length.shape;
  };
  return Object.keys(shapeOf());
}

const isMapping = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** `prompt: 200` as `prompt: {tokens: 200}`: one form for the schema, whose messages then stay exact. */
function withLengths(root: Readonly<Record<string, unknown>>): unknown {
  const { tenants } = root;
  if (!isMapping(tenants)) return root;
  const inLength = (value: unknown): unknown => (typeof value === 'number' ? { tokens: value } : value);
  return {
    ...root,
    tenants: Object.fromEntries(
      Object.entries(tenants).map(([key, value]) => {
        if (!isMapping(value)) return [key, value];
        const lengths = ['prompt', 'output'].filter((field) => Object.hasOwn(value, field));
        return [
          key,
          { ...value, ...Object.fromEntries(lengths.map((field) => [field, inLength(value[field])])) },
        ];
      }),
    ),
  };
}

function reportIssues(issues: readonly z.core.$ZodIssue[], report: Report): void {
  for (const issue of issues) {
    const path = issue.path.map((step) => (typeof step === 'number' ? step : String(step)));
    if (issue.code === 'unrecognized_keys') {
      const known = knownKeys(path);
      for (const key of issue.keys) {
        const near = didYouMean(key, known) || `; known here: ${known.join(', ')}`;
        report.problem([...path, key], `unknown setting${near}`, 'key');
      }
    } else if (issue.code === 'invalid_key') {
      report.problem(path, `the name ${issue.issues[0]?.message ?? 'is not valid'}`, 'key');
    } else {
      // `tokens` is how a lone number is read, not how it is written.
      report.problem(path.length === 4 && path[3] === 'tokens' ? path.slice(0, 3) : path, issue.message);
    }
  }
}

function lengthOf(written: WrittenLength, path: Path, report: Report): Length | undefined {
  const { tokens, from, to, median, sigma, max } = written;
  const forms = [tokens, from ?? to, median ?? sigma ?? max].filter((form) => form !== undefined);
  const wrong = (message: string): undefined => {
    report.problem(path, message);
  };
  if (forms.length !== 1)
    return wrong('must be one of: a number of tokens, {from, to}, {median, sigma, max}');
  if (tokens !== undefined) return { kind: 'fixed', tokens };
  if (from !== undefined || to !== undefined) {
    if (from === undefined || to === undefined) return wrong('needs both from and to');
    return from <= to ? { kind: 'uniform', from, to } : wrong('has from above to; exchange them');
  }
  if (median === undefined || sigma === undefined || max === undefined) {
    return wrong('needs all of median, sigma and max');
  }
  return median <= max
    ? { kind: 'lognormal', median, sigma, max }
    : wrong('has a median above max; raise max');
}

/** Milliseconds apart by white space or commas; a JSON list is one, too. */
function traceOf(content: string): readonly number[] | undefined {
  const words = content
    .trim()
    .replace(/^\[|\]$/g, '')
    .split(/[\s,]+/)
    .filter((word) => word !== '');
  const times = words.map(Number);
  const good = times.length > 0 && times.length <= MOST_ARRIVALS;
  return good && times.every((ms) => ms >= 0 && ms <= 86_400_000) ? times : undefined;
}

function arrivalsOf(
  written: WrittenTenant['arrivals'],
  path: Path,
  { report, readFile }: { report: Report; readFile: (path: string) => string },
): Arrivals | undefined {
  const { perSecond, timesCapacity, trace, traceFile } = written;
  const given = Object.values(written).filter((value) => value !== undefined);
  if (given.length !== 1) {
    report.problem(path, 'must have exactly one of perSecond, timesCapacity, trace, traceFile');
    return undefined;
  }
  if (perSecond !== undefined) return { kind: 'poisson', perSecond };
  if (timesCapacity !== undefined) return { kind: 'capacity', times: timesCapacity };
  if (trace !== undefined) return { kind: 'trace', atMs: trace };
  const here = [...path, 'traceFile'];
  try {
    const atMs = traceOf(readFile(traceFile ?? ''));
    if (atMs !== undefined) return { kind: 'trace', atMs };
    report.problem(here, 'has something else in it than milliseconds from the start (0 to 86400000)');
  } catch (error) {
    report.problem(here, `cannot be read (${readFailure(error)}); create it or correct the path`);
  }
  return undefined;
}

function engineOf({ profile, set }: Written['engine'], report: Report): EngineProfile | undefined {
  let base: EngineProfile;
  try {
    base = parseProfile(profile, {});
  } catch (error) {
    report.problem(['engine', 'profile'], error instanceof Error ? error.message : String(error));
    return undefined;
  }
  const known = Object.keys(base).filter((key) => key !== 'name');
  let unknown = false;
  for (const key of Object.keys(set)) {
    if (known.includes(key)) continue;
    unknown = true;
    const near = didYouMean(key, known) || `; known here: ${known.join(', ')}`;
    report.problem(['engine', 'set', key], `unknown setting${near}`, 'key');
  }
  if (unknown) return undefined;
  try {
    return parseProfile(profile, set);
  } catch (error) {
    report.problem(['engine', 'set'], error instanceof Error ? error.message : String(error));
    return undefined;
  }
}

/** @returns every problem at once, each with its line. Throws nothing. */
export function parseScenario({ text: source, file, readFile }: ScenarioInput): ParsedScenario {
  const refuse = (problem: string): ParsedScenario => ({ kind: 'bad', problems: [`${file}: ${problem}`] });
  if (source.length > MAX_SCENARIO_BYTES) return refuse('is larger than 1 MiB; put traces into files');
  const yaml = readYaml(source);
  const report = createReport({
    file,
    hide: (shown) => shown,
    position: yaml.source?.position ?? (() => ({ line: 1, column: 1 })),
  });
  const bad = (): ParsedScenario => ({ kind: 'bad', problems: report.problems() });
  for (const { position, path, message } of yaml.faults) report.problem(path, message, position);
  if (yaml.source === undefined) return bad();
  const { value } = yaml.source;
  if (!isMapping(value)) return refuse('is not a mapping of settings; it begins with a line such as "name:"');
  const parsed = schema.safeParse(withLengths(value));
  if (!parsed.success) reportIssues(parsed.error.issues, report);
  if (!parsed.success || report.problems().length > 0) return bad();
  const written = parsed.data;

  const located = (path: string): string => (isAbsolute(path) ? path : join(dirname(file), path));
  const tenants: TenantLoad[] = [];
  const keyVariables = new Map<string, string>();
  const taken = new Set<string>();
  for (const [base, load] of Object.entries(written.tenants)) {
    const path = ['tenants', base];
    const own = {
      arrivals: arrivalsOf(load.arrivals, [...path, 'arrivals'], {
        report,
        readFile: (trace) => readFile(located(trace)),
      }),
      prompt: lengthOf(load.prompt, [...path, 'prompt'], report),
      output: lengthOf(load.output, [...path, 'output'], report),
    };
    const { arrivals: when, prompt, output } = own;
    const numbers =
      load.count === undefined ? [undefined] : Array.from({ length: load.count }, (_, i) => i + 1);
    if (tenants.length + numbers.length > MOST_TENANTS) {
      report.problem([...path, 'count'], `makes more than ${MOST_TENANTS} tenants in all; lower it`);
      continue;
    }
    for (const at of numbers) {
      const full = at === undefined ? base : `${base}-${at}`;
      if (taken.has(full)) {
        report.problem(path, `makes a tenant ${quote(full)}, which there is already; rename one`, 'key');
        continue;
      }
      taken.add(full);
      if (load.key !== undefined) {
        keyVariables.set(full, load.key.slice('env:'.length).replace('{n}', String(at ?? '')));
      }
      if (when === undefined || prompt === undefined || output === undefined) continue;
      tenants.push({
        name: full,
        weight: load.weight,
        quiet: load.quiet,
        arrivals: when,
        prompt,
        output,
        sharedPrefix: load.sharedPrefix,
        saysLength: load.saysLength,
        ...(load.lane !== undefined && { lane: load.lane }),
      });
    }
  }
  const profile = engineOf(written.engine, report);
  if (profile === undefined || report.problems().length > 0) return bad();
  const { ttft, itl } = written.limits ?? {};
  return {
    kind: 'ok',
    scenario: {
      name: written.name,
      ...(written.description !== undefined && { description: written.description }),
      durationMs: written.duration,
      seed: written.seed,
      ...((ttft !== undefined || itl !== undefined) && {
        limits: {
          from: 'arrival',
          ...(ttft !== undefined && { ttftMs: ttft }),
          ...(itl !== undefined && { itlMs: itl }),
        },
      }),
      engine: profile,
      bucket: written.bucket,
      ...(written.bucketPerSecond !== undefined && { bucketPerSecond: written.bucketPerSecond }),
      hopMs: written.hop,
      ignoreEos: written.ignoreEos,
      ...(written.model !== undefined && { model: written.model }),
      tenants,
      keyVariables,
    },
  };
}
