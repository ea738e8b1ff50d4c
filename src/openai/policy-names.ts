/** Names that a policy adds to ours, and other spellings of all of them. */
import type { FieldPolicy } from '../config/config.ts';
import { NameTable } from './json/names.ts';
import { KNOWN_NAMES } from './names.ts';

/** A policy lives as long as its configuration: compiled once. */
const tables = new WeakMap<FieldPolicy, NameTable>();

/** What a body is read with: the names above, with the same numbers, and those that the policy forbids. */
export function namesOf(fields: FieldPolicy): NameTable {
  let table = tables.get(fields);
  if (table === undefined) {
    table = new NameTable([...KNOWN_NAMES, ...fields.forbidden.flatMap((path) => path.split('.'))]);
    tables.set(fields, table);
  }
  return table;
}

interface Spellings {
  /** By what the name becomes where cases are not told apart. */
  readonly exact: ReadonlyMap<string, string>;
  readonly prefixes: readonly string[];
  /** In UTF-16 units; a longer key can only have one of the prefixes. */
  readonly longest: number;
}

const spellings = new WeakMap<FieldPolicy, Spellings>();

/** As Go's encoding/json compares: `ſ` is an s, and the sign of Kelvin a k. */
export const folded = (key: string): string => key.toUpperCase().toLowerCase();

function spellingsOf(fields: FieldPolicy): Spellings {
  let known = spellings.get(fields);
  if (known === undefined) {
    const top = fields.forbidden.filter((path) => !path.includes('.'));
    const exact = new Map<string, string>();
    for (const name of [...KNOWN_NAMES, ...top.filter((one) => !one.endsWith('*'))])
      exact.set(folded(name), name);
    const prefixes = top.filter((one) => one.endsWith('*')).map((one) => one.slice(0, -1));
    const longest = Math.max(...[...exact.keys(), ...prefixes].map(({ length }) => length));
    known = { exact, prefixes, longest };
    spellings.set(fields, known);
  }
  return known;
}

/** The name that a key is another spelling of, for readers that do not tell cases apart. Undefined: none, or it is that name. */
export function otherSpelling(key: string, fields: FieldPolicy): string | undefined {
  const { exact, prefixes, longest } = spellingsOf(fields);
  const text = folded(key.slice(0, longest));
  if (text === key.slice(0, longest)) return undefined;
  return (
    (key.length <= longest ? exact.get(text) : undefined) ??
    prefixes.find((prefix) => text.startsWith(prefix))
  );
}
