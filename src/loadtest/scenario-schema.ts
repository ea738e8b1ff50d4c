/** The keys of a scenario file, and what may stand there. */
import * as z from 'zod';
import { durationMs, must } from '../config/values.ts';

/** Where in the file something stands. */
export type Path = readonly (string | number)[];

export const MOST_ARRIVALS = 1_000_000;
export const MOST_TENANTS = 1_000;
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
export const schema = mapping({
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

export type Written = z.output<typeof schema>;
export type WrittenTenant = z.output<typeof tenant>;
export type WrittenLength = z.output<typeof length>;

/** The keys that may stand in the mapping at `path`. */
export function knownKeys(path: Path): readonly string[] {
  const shapeOf = (): object => {
    if (path.length === 0) return schema.shape;
    if (path[0] === 'limits') return limits.shape;
    if (path[0] === 'engine') return engine.shape;
    if (path[2] === 'arrivals') return arrivals.shape;
    return path.length === 2 ? tenant.shape : length.shape;
  };
  return Object.keys(shapeOf());
}
