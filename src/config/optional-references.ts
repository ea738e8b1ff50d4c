/**
 * Optional references, `env:NAME?` and `file:PATH?`: where the variable is not set, or empty, or the file is not there, or empty,
 * what the reference stands in is as if it were absent. So one configuration serves with and without a Redis beside it.
 */
import type { Sources } from './secrets.ts';
import { isMapping, type Mapping } from './written-data.ts';
import type { Path } from './yaml-source.ts';

interface Place {
  /** The keys that lead to what may be absent; `*` stands for any name, or for an element of a list. */
  readonly within: readonly string[];
  /** The key in it that may have the reference; it may also stand alone. */
  readonly key: string;
  /** Whether a list that has nothing left is absent too. */
  readonly mayEmpty?: true;
  /** No file can say what stands there: such a reference is as wrong as a plain one, whether the file is there or not. */
  readonly noFile?: true;
}

/** Where they may stand: what is absent there has a meaning, and what is left is whole. */
const PLACES: readonly Place[] = [
  { within: ['redis'], key: 'url' },
  { within: ['webhooks', '*'], key: 'url', mayEmpty: true },
  { within: ['pools', '*', 'endpoints', '*'], key: 'url', noFile: true },
  { within: ['pools', '*', 'drain', '*'], key: 'url', mayEmpty: true, noFile: true },
  { within: ['tenants', '*', 'keys', '*'], key: 'key' },
];

const OPTIONAL = /^(env|file):.+\?$/s;
const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]*$/;

type Reading = Pick<Sources, 'env' | 'readFile' | 'locate' | 'isUnresolved'>;

export interface WithoutAbsent {
  /** A copy: optional references that lead somewhere are plain ones, and what has one that does not is gone. */
  readonly value: unknown;
  /** A path in what was written, from one in `value`: elements of lists have moved. */
  readonly asWritten: (path: Path) => Path;
}

/** @param root what was written, as plain data. It is not changed. */
export function withoutAbsent(root: unknown, sources: Reading): WithoutAbsent {
  /** The written indexes of the elements that are left, by the list's path. */
  const moved = new Map<string, readonly number[]>();
  let value = root;
  for (const place of PLACES) value = resolve(value, place, [], sources, moved) ?? value;
  return {
    value,
    asWritten: (path) =>
      moved.size === 0
        ? path
        : path.map((step, i) =>
            typeof step === 'number' ? (moved.get(JSON.stringify(path.slice(0, i)))?.[step] ?? step) : step,
          ),
  };
}

/** @returns undefined: it is absent. */
function resolve(
  value: unknown,
  place: Place,
  path: Path,
  sources: Reading,
  moved: Map<string, readonly number[]>,
): unknown {
  const step = place.within[path.length];
  if (step === undefined) return resolveHere(value, place, sources);
  if (Array.isArray(value)) {
    if (step !== '*') return value;
    const left = value.flatMap((one: unknown, i) => {
      const found = resolve(one, place, [...path, i], sources, moved);
      return found === undefined ? [] : [{ found, i }];
    });
    if (left.length < value.length) {
      if (left.length === 0 && place.mayEmpty === true) return undefined;
      moved.set(
        JSON.stringify(path),
        left.map(({ i }) => i),
      );
    } else if (left.every(({ found }, i) => found === value[i])) {
      return value;
    }
    return left.map(({ found }) => found);
  }
  if (!isMapping(value)) return value;
  const names = step === '*' ? Object.keys(value) : Object.hasOwn(value, step) ? [step] : [];
  let copy: Mapping = value;
  for (const name of names) {
    const found =
      value[name] === undefined ? undefined : resolve(value[name], place, [...path, name], sources, moved);
    if (found === value[name]) continue;
    copy = Object.fromEntries(
      Object.entries(copy).flatMap(([key, one]) =>
        key !== name ? [[key, one] as const] : found === undefined ? [] : [[key, found] as const],
      ),
    );
  }
  return copy;
}

/** What has the reference, or is it: with a plain one; undefined: it is absent. */
function resolveHere(value: unknown, { key, noFile }: Place, sources: Reading): unknown {
  const follow = (text: string): string | undefined =>
    noFile === true && text.startsWith('file:') ? text : plainOf(text, sources);
  if (typeof value === 'string') return follow(value);
  if (!isMapping(value) || typeof value[key] !== 'string') return value;
  const plain = follow(value[key]);
  if (plain === undefined || plain === value[key]) return plain === undefined ? undefined : value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, name === key ? plain : one]));
}

/** @returns undefined: it leads nowhere. What is no optional reference, or a wrong one, is as it was. */
function plainOf(text: string, { env, readFile, locate, isUnresolved }: Reading): string | undefined {
  if (!OPTIONAL.test(text)) return text;
  const plain = text.slice(0, -1);
  if (plain.startsWith('env:')) {
    const name = plain.slice('env:'.length);
    if (!VARIABLE.test(name)) return text;
    if (isUnresolved === true) return plain;
    const value = Object.hasOwn(env, name) ? env[name] : undefined;
    return value === undefined || value.trim() === '' ? undefined : plain;
  }
  if (isUnresolved === true) return plain;
  const read = (reference: string): 'there' | 'absent' | 'other' => {
    const path = reference.slice('file:'.length);
    if (path.includes('\0')) return 'other';
    try {
      return readFile(locate(path)).trim() === '' ? 'absent' : 'there';
    } catch (error) {
      const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
      return code === 'ENOENT' ? 'absent' : 'other';
    }
  };
  // A name may end so: such a file is what is meant.
  if (read(text) === 'there') return text;
  // One that is there and cannot be read is told as any other is.
  return read(plain) === 'absent' ? undefined : plain;
}
