/**
 * The words that the sections of the schema are written in. Each takes the sentence that the reference shows, and each
 * says what a value must be when it is not. A notation has its regular expression here, or in values.ts, once.
 */
import * as z from 'zod';
import { SECRET_REFERENCE } from '../secrets.ts';
import {
  DURATION_PATTERN,
  durationMs,
  FILE_PATH,
  hostPort,
  must,
  SIZE_PATTERN,
  sizeBytes,
} from '../values.ts';

/** `shown` is the type column of the reference. */
export const about = (description: string, shown: string) => ({ description, shown });

/** What is shown of a section whose keys the reference lists. */
export const SECTION = 'mapping';

const thousands = (value: number): string => String(value).replace(/\B(?=(\d{3})+$)/g, ',');

export function integer(min: number, max: number, description: string) {
  const error = must(`a whole number from ${min} to ${max}`);
  return z
    .int({ error })
    .min(min, { error })
    .max(max, { error })
    .meta(about(description, `whole number, ${min} to ${thousands(max)}`));
}

/** A whole number, or `unlimited`: what lifts the limit that a tier sets. */
export function limit(max: number, description: string) {
  const error = must(`a whole number from 1 to ${max}, or the word unlimited`);
  return z
    .union([z.int({ error }).min(1, { error }).max(max, { error }), z.literal('unlimited')], { error })
    .meta(about(description, `whole number, 1 to ${thousands(max)}, or \`unlimited\``));
}

/** A whole number, or `auto`. */
export function orAuto([min, max]: readonly [number, number], description: string) {
  const error = must(`a whole number from ${min} to ${max}, or the word auto`);
  return z
    .union([z.int({ error }).min(min).max(max), z.literal('auto')], { error })
    .meta(about(description, `whole number, ${min} to ${thousands(max)}, or \`auto\``));
}

/** A quantity with a unit, between two others, given in the notation that users write. */
function quantity(
  noun: string,
  pattern: RegExp,
  units: string,
  parse: (text: string) => number | undefined,
  [min, max]: readonly [string, string],
  example: string,
  description: string,
) {
  const error = must(`a ${noun} from ${min} to ${max} with a unit (${units}), for example ${example}`);
  return z
    .string({ error })
    .regex(pattern, { error })
    .transform((text, context) => {
      const value = parse(text) ?? Number.NaN;
      if (value >= (parse(min) ?? 0) && value <= (parse(max) ?? 0)) return value;
      context.issues.push({ code: 'custom', message: error({ input: text }), input: text });
      return z.NEVER;
    })
    .meta(about(description, `${noun}, ${min} to ${max}`));
}

export const duration = (min: string, max: string, example: string, description: string) =>
  quantity('duration', DURATION_PATTERN, 'ms, s, m, h', durationMs, [min, max], example, description);

export const size = (min: string, max: string, example: string, description: string) =>
  quantity('size', SIZE_PATTERN, 'B, KiB, MiB, GiB', sizeBytes, [min, max], example, description);

export function parsed<T>(
  parse: (text: string) => T | undefined,
  what: string,
  shown: string,
  description: string,
) {
  const error = must(what);
  return z
    .string({ error })
    .transform((text, context) => {
      const value = parse(text);
      if (value !== undefined) return value;
      context.issues.push({ code: 'custom', message: error({ input: text }), input: text });
      return z.NEVER;
    })
    .meta(about(description, shown));
}

/** Envoy resolves no names for an address that it listens on. */
export const listenAddress = (example: string, description: string) =>
  parsed(
    (text) => hostPort(text, 'ip'),
    `an IP address and a port from 1 to 65535, for example ${example} or [::1]:${example.split(':')[1]}`,
    '`ip:port`',
    description,
  );

export function word(pattern: RegExp, what: string, description: string, shown = 'string') {
  const error = must(what);
  return z.string({ error }).regex(pattern, { error }).meta(about(description, shown));
}

export const filePath = (example: string, description: string) =>
  word(FILE_PATH, `a path, for example ${example}`, description, 'path');

/** What a server shows of itself, in a section `tls`. */
export const serverCertificate = {
  cert: filePath(
    'tls/tls.crt',
    'The certificate and those between it and its authority (PEM), in this order. Relative to the configuration file’s folder. Read again when it changes; open connections go on.',
  ),
  key: filePath('tls/tls.key', 'Its private key (PEM): RSA from 2048 bits, or EC, without a passphrase.'),
};

/** Tenants, pools and tiers become headers, metric labels and file names. */
export const name = (description: string) =>
  word(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/,
    '1 to 64 letters, digits, ".", "_" or "-", the first a letter or digit',
    description,
  );

/** Up to `most` characters that can be seen, spaces inside, none at the ends. */
const displayable = (most: number): string =>
  String.raw`[^\p{C}\p{Z}](?:[^\p{C}\p{Zl}\p{Zp}]{0,${most - 2}}[^\p{C}\p{Z}])?`;

const MODEL = new RegExp(String.raw`^(?!\*$)${displayable(256)}$`, 'u');
export const model = (description: string) =>
  word(
    MODEL,
    '1 to 256 printable characters, without spaces at the ends ("*" alone is no name: it means all models)',
    description,
  );

const LOADABLE = new RegExp(`^${displayable(1024)}$`, 'u');
/** What an engine loads: a path on its machine, or a name in a registry. */
export const loadable = (description: string) =>
  word(
    LOADABLE,
    'a path or name of up to 1024 characters that the engine can load, for example /adapters/legal',
    description,
  );

/** In lower case. */
export const HEADER_NAME = '[a-z0-9][a-z0-9-]{0,63}';
export const headerName = (description: string) =>
  word(new RegExp(`^${HEADER_NAME}$`), 'a header name in lower case', description);

/** ASCII with spaces. */
export const printable = (most: number, description: string) =>
  word(new RegExp(`^[\\x20-\\x7e]{1,${most}}$`), `1 to ${most} printable characters`, description);

/** ASCII without spaces. */
export const visible = (most: number, what: string, description: string) =>
  word(new RegExp(`^[\\x21-\\x7e]{1,${most}}$`), what, description);

/** The path of a page that an engine serves. */
export const pagePath = (example: string, description: string) =>
  word(/^\/[\x21-\x7e]{0,255}$/, `a path that begins with /, for example ${example}`, description);

/** Kept elsewhere. */
export const secret = (description: string) =>
  z
    .string({ error: must('env:NAME or file:PATH') })
    .regex(SECRET_REFERENCE, { error: must('env:NAME or file:PATH') })
    .meta(about(description, '`env:NAME` or `file:PATH`'));

/** True or false. */
export const yes = (description: string) =>
  z.boolean({ error: must('true or false') }).meta(about(description, '`true` or `false`'));

/** Checked later: it may be a variable's name. */
export const engineUrl = () => z.string({ error: must('a URL, or env:NAME') });

export const anyHostPort = (what: string, description: string) =>
  parsed((text) => hostPort(text, 'any'), what, '`host:port`', description);

/** A list that may be empty. `what` is the type column of the reference. */
export function openList<T extends z.ZodType>(item: T, most: number, what: string, description: string) {
  const error = must(`a list of at most ${most} ${what}`);
  return z
    .array(item, { error })
    .max(most, { error })
    .meta(about(description, `list of ${what}`));
}

export function choice<const T extends readonly [string, ...string[]]>(options: T, description: string) {
  const error = must(`one of ${options.join(', ')}`);
  return z
    .enum(options, { error })
    .meta(about(description, options.map((option) => `\`${option}\``).join(' or ')));
}

export function section<T extends z.core.$ZodLooseShape>(shape: T, description: string, shown = SECTION) {
  return z.strictObject(shape, { error: must('a mapping') }).meta(about(description, shown));
}

export function list<T extends z.ZodType>(item: T, most: number, what: string, description: string) {
  const error = must(`a list of 1 to ${most} ${what}`);
  return z
    .array(item, { error })
    .min(1, { error })
    .max(most, { error })
    .meta(about(description, `list of ${what}`));
}

export function named<V extends z.ZodType>(
  key: z.ZodString,
  value: V,
  [least, most]: readonly [number, number],
  what: string,
  description: string,
) {
  const error = must(`a mapping of ${least} to ${most} ${what}`);
  return z
    .record(key, value, { error })
    .refine((entries) => between(Object.keys(entries).length, least, most), { error })
    .meta(about(description, SECTION));
}

const between = (value: number, min: number, max: number): boolean => value >= min && value <= max;

export function number([min, max]: readonly [number, number], description: string) {
  const error = must(`a number from ${min} to ${max}`);
  return z
    .number({ error })
    .min(min, { error })
    .max(max, { error })
    .meta(about(description, `number, ${min} to ${thousands(max)}`));
}
