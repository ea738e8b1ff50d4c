/** YAML text as plain data that remembers where everything stands. */
import {
  type Document,
  type ErrorCode,
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  parseDocument,
  type YAMLError,
} from 'yaml';
import { keyText, MergeFault, mergeDocument, type Path, UNKNOWN_ALIAS } from './yaml-merge.ts';

export type { Path };

/** Both count from 1. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

interface YamlFault {
  readonly position: Position;
  readonly path: Path;
  readonly message: string;
}

interface YamlSource {
  readonly value: unknown;
  /** Where the value at `path`, or its key, stands; where something is missing, the mapping that misses it. */
  readonly position: (path: Path, at: 'key' | 'value') => Position;
  /** The keys of the mapping at `path` as written; objects would put those that look like numbers first. */
  readonly keys: (path: Path) => readonly string[];
}

export interface ReadYaml {
  /** Absent if the text is not YAML. */
  readonly source?: YamlSource;
  readonly faults: readonly YamlFault[];
}

const START: Position = { line: 1, column: 1 };

export function readYaml(text: string): ReadYaml {
  const fault = (message: string): ReadYaml => ({ faults: [{ position: START, path: [], message }] });
  try {
    return read(text);
  } catch (error) {
    // Parser and walk recurse once a level: a nesting that no configuration has ends in a stack overflow.
    if (error instanceof RangeError)
      return fault('is nested too deeply; no setting needs more than six levels');
    throw error;
  }
}

function read(text: string): ReadYaml {
  const lines = new LineCounter();
  // Duplicates are looked for below: the parser compares each key with every other.
  const doc = parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    stringKeys: true,
    uniqueKeys: false,
    merge: false,
    logLevel: 'error',
  });
  const at = (offset: number): Position => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col) };
  };
  const broken = [...doc.errors, ...doc.warnings];
  if (broken.length > 0) {
    return {
      faults: broken.map((error) => ({ position: at(error.pos[0]), path: [], message: explain(error) })),
    };
  }
  const faults: YamlFault[] = [];
  const found = (node: unknown, path: Path, message: string): void => {
    faults.push({ position: at(start(node) ?? 0), path, message });
  };
  checkNodes(doc.contents, [], found);
  try {
    mergeDocument(doc);
  } catch (error) {
    if (!(error instanceof MergeFault)) throw error;
    found(error.node, error.path, error.message);
    return { faults };
  }
  // What aliases multiply has been counted.
  const value: unknown = doc.toJS({ maxAliasCount: -1 });
  return {
    source: {
      value,
      position: (path, what) => at(offsetOf(doc, path, what)),
      keys: (path) => {
        const node = nodeAt(doc, path);
        return isMap(node) ? node.items.map(({ key }) => keyText(key)) : [];
      },
    },
    faults,
  };
}

/** The parser's own messages may quote the text, and with it a key: each is said anew. */
const EXPLANATIONS: Readonly<Partial<Record<ErrorCode, string>>> = {
  BAD_ALIAS: UNKNOWN_ALIAS,
  ALIAS_PROPS: UNKNOWN_ALIAS,
  TAB_AS_INDENT: 'has a tab as indentation; YAML wants spaces',
  BAD_INDENT:
    'is indented differently than its neighbours, or a bracket that was opened above is not closed; align it or close the bracket',
  MISSING_CHAR: 'a closing bracket, quote, comma or colon is missing here or just before; add it',
  MULTIPLE_DOCS: 'is a second document; a configuration is one, remove the "---" line and what follows',
  TAG_RESOLVE_FAILED:
    'has a tag ("!name"), or a value its tag does not allow; remove the tag, or put the value in quotes',
  BAD_SCALAR_START: 'begins with a character that YAML reserves; put the value in quotes',
  NON_STRING_KEY: 'has a mapping or list as a key; keys are plain words',
};

const explain = (error: YAMLError): string =>
  EXPLANATIONS[error.code] ??
  'is not YAML here; check indentation, colons and quotes of this line and the one before';

type Found = (node: unknown, path: Path, message: string) => void;

function checkNodes(node: unknown, path: Path, found: Found): void {
  if (isSeq(node)) {
    for (const [i, item] of node.items.entries()) checkNodes(item, [...path, i], found);
  } else if (isMap(node)) {
    const seen = new Set<string>();
    for (const { key, value } of node.items) {
      const text = keyText(key);
      const here = [...path, text];
      if (seen.has(text)) found(key, here, 'is written twice in this mapping; remove one');
      if (text === '__proto__') found(key, here, 'cannot be used as a name; choose another');
      seen.add(text);
      checkNodes(value, here, found);
    }
  }
}

function child(doc: Document, node: unknown, step: string | number): { key?: unknown; value?: unknown } {
  const parent = isAlias(node) ? node.resolve(doc) : node;
  if (isSeq(parent)) return typeof step === 'number' ? { value: parent.items[step] } : {};
  if (!isMap(parent)) return {};
  return parent.items.find(({ key }) => keyText(key) === String(step)) ?? {};
}

function nodeAt(doc: Document, path: Path): unknown {
  let node: unknown = doc.contents;
  for (const step of path) node = child(doc, node, step).value;
  return isAlias(node) ? node.resolve(doc) : node;
}

const start = (node: unknown): number | undefined => (isNode(node) ? node.range?.[0] : undefined);

function offsetOf(doc: Document, path: Path, what: 'key' | 'value'): number {
  let node: unknown = doc.contents;
  let offset = start(node) ?? 0;
  for (const [i, step] of path.entries()) {
    const { key, value } = child(doc, node, step);
    const last = i === path.length - 1;
    // Inside a mapping the key's place says more than that of the value's first key.
    const preferred = (last && what === 'value') || key === undefined ? [value, key] : [key, value];
    const empty = isScalar(value) && value.source === '' ? [key] : preferred;
    const found = empty.map(start).find((place) => place !== undefined);
    if (found === undefined) return offset;
    offset = found;
    node = value;
  }
  return offset;
}
