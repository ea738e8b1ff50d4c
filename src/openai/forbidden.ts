/** Fields that a tenant may not set: found by name, at any depth that is named, and left out or refused. */
import type { FieldPolicy } from '../config/config.ts';
import { type JsonDocument, STRIDE } from './json/document.ts';
import { UNKNOWN_NAME } from './json/names.ts';
import { folded, namesOf } from './policy-names.ts';

export interface Forbidden {
  /** Their paths, at most MOST_FORBIDDEN and one more. */
  readonly names: readonly string[];
  /** By object: its forbidden keys, in their order. */
  readonly keys: ReadonlyMap<number, readonly number[]>;
}

/** One level of the names, by their numbers: what is forbidden here, and what is forbidden within. */
interface Level {
  /** Of the object that the names are members of, with a dot behind it; empty for the body. */
  readonly path: string;
  readonly exact: Set<number>;
  /** The same, as they are where cases are not told apart. */
  readonly folded: Set<string>;
  readonly prefixes: string[];
  readonly within: Map<number, Level>;
}

/** A name that is told: keys may be longer. */
const TOLD_CHARACTERS = 128;
/** In bytes; a longer key is no other spelling of one. */
const LONGEST_NAME = 128;
/** No client of good will sends so many; each costs an edit. */
export const MOST_FORBIDDEN = 1_000;
const NOTHING: Forbidden = { names: [], keys: new Map() };

/** A policy lives as long as its configuration: compiled once. */
const compiled = new WeakMap<FieldPolicy, Level>();

const emptyLevel = (path: string): Level => ({
  path,
  exact: new Set(),
  folded: new Set(),
  prefixes: [],
  within: new Map(),
});

function levelOf(fields: FieldPolicy): Level {
  const known = compiled.get(fields);
  if (known !== undefined) return known;
  const root = emptyLevel('');
  const names = namesOf(fields);
  for (const path of fields.forbidden) {
    const steps = path.split('.');
    const last = steps.pop() ?? '';
    let level = root;
    for (const step of steps) {
      const name = names.get(step);
      const next = level.within.get(name) ?? emptyLevel(`${level.path}${step}.`);
      level.within.set(name, next);
      level = next;
    }
    if (last.endsWith('*')) level.prefixes.push(last.slice(0, -1));
    else {
      level.exact.add(names.get(last));
      level.folded.add(folded(last));
    }
  }
  compiled.set(fields, root);
  return root;
}

/** Whether a field of a form is forbidden: its name is one of the body's own. */
export function isForbiddenName(name: string, fields: FieldPolicy): boolean {
  const { exact, folded: others, prefixes } = levelOf(fields);
  const other = folded(name);
  return (
    exact.has(namesOf(fields).get(name)) ||
    others.has(other) ||
    prefixes.some((prefix) => other.startsWith(folded(prefix)))
  );
}

/** One body. */
class Search {
  private readonly document: JsonDocument;
  readonly names: string[] = [];
  readonly keys = new Map<number, readonly number[]>();

  constructor(document: JsonDocument) {
    this.document = document;
  }

  /** Lists are passed through: a name holds in each of their items. */
  look(at: number, level: Level): void {
    const { document } = this;
    if (document.isArray(at)) {
      const end = document.next(at);
      for (let item = document.first(at); item < end; item = document.next(item)) {
        this.look(item, level);
      }
      return;
    }
    if (!document.isObject(at)) return;
    let found: number[] | undefined;
    const end = document.next(at);
    for (let key = document.first(at); key < end; key = document.next(key + STRIDE)) {
      if (this.isForbidden(key, level)) {
        (found ??= []).push(key);
        this.names.push((level.path + document.head(key, TOLD_CHARACTERS)).slice(0, TOLD_CHARACTERS));
        if (this.names.length > MOST_FORBIDDEN) return;
      } else if (document.name(key) !== UNKNOWN_NAME) {
        const within = level.within.get(document.name(key));
        if (within !== undefined) this.look(key + STRIDE, within);
      }
    }
    if (found !== undefined) this.keys.set(at, found);
  }

  private isForbidden(key: number, level: Level): boolean {
    const name = this.document.name(key);
    if (name !== UNKNOWN_NAME && level.exact.has(name)) return true;
    const isUnusual = this.document.isUnusual(key) && this.document.more(key) <= LONGEST_NAME;
    if (level.prefixes.length === 0 && !isUnusual) return false;
    const text = this.document.head(key, LONGEST_NAME);
    if (level.prefixes.some((prefix) => text.startsWith(prefix))) return true;
    if (!isUnusual) return false;
    // `Chat_Template` is the same to readers that do not tell cases apart.
    const other = folded(text);
    return level.folded.has(other) || level.prefixes.some((prefix) => other.startsWith(prefix));
  }
}

/** What of a document, read with namesOf(fields), is forbidden. Its cost grows with the members at the depths that the names have. */
export function findForbidden(document: JsonDocument, fields: FieldPolicy): Forbidden {
  const search = new Search(document);
  search.look(0, levelOf(fields));
  return search.names.length === 0 ? NOTHING : search;
}
