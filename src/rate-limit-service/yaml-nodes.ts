/**
 * The first document of a YAML text as nodes, with the source of each scalar as it was written: what a scalar means is
 * yaml-scalars.ts's to say. Documents behind the first are not looked at, as the reference does not.
 */
import {
  Composer,
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  Parser,
  Scalar,
  type YAMLError,
} from 'yaml';
import { withoutMark } from './yaml-bytes.ts';
import { MERGE_TAG, YamlFault } from './yaml-scalars.ts';

export interface YamlText {
  readonly kind: 'scalar';
  /** Whole, or empty. */
  readonly tag: string;
  readonly text: string;
  /** Without quotes and tag. */
  readonly isPlain: boolean;
  readonly offset: number;
}
export interface YamlMapping {
  readonly kind: 'mapping';
  /** In their order; a key may be there more than once. */
  readonly pairs: (readonly [key: YamlNode, value: YamlNode])[];
  readonly offset: number;
}
interface YamlSequence {
  readonly kind: 'sequence';
  readonly items: YamlNode[];
  readonly offset: number;
}
export interface YamlAlias {
  readonly kind: 'alias';
  readonly name: string;
  readonly target: Exclude<YamlNode, YamlAlias>;
  readonly offset: number;
}
export type YamlNode = YamlText | YamlMapping | YamlSequence | YamlAlias;

export interface YamlDocument {
  readonly root: YamlNode;
  /** From 1, of a node's offset. */
  lineOf(offset: number): number;
}

/** Control characters, and surrogates without their half. */
const NOT_ALLOWED = /[^\t\n\r\P{Control}\x85]|[\uFFFE\uFFFF]|\p{Surrogate}/u;
const HALF = /\p{Surrogate}/u;
/** Lists and mappings; rate limit files stop earlier. */
const MAX_DEPTH = 250;
/** They end lines in YAML 1.1, and not for the parser here: the same text would be two files. */
const OTHER_BREAKS = /[\x85\u2028\u2029]/;

const lineAt = (text: string, at: number): number => (text.slice(0, at).match(/\n/g)?.length ?? 0) + 1;

function checkCharacters(text: string): void {
  const control = text.search(NOT_ALLOWED);
  if (control >= 0) throw new YamlFault(`line ${lineAt(text, control)}: control characters are not allowed`);
  const other = text.search(OTHER_BREAKS);
  if (other >= 0) {
    throw new YamlFault(`line ${lineAt(text, other)}: a line ends with another character than a line feed`);
  }
}

/** Tags of lists and mappings say nothing, and a comment needs no space behind a quote or a bracket. */
const isTaken = ({ code, message }: YAMLError): boolean =>
  (code === 'TAG_RESOLVE_FAILED' && message.startsWith('Unresolved tag: ')) ||
  (code === 'MISSING_CHAR' && message.startsWith('Comments must be separated'));
/** The reference's words where it has one for the same. */
const wordsOf = ({ code, message }: YAMLError): string =>
  code === 'TAB_AS_INDENT' ? 'found character that cannot start any token' : message;

function firstDocument(text: string, lines: LineCounter): Document.Parsed {
  const composer = new Composer({ schema: 'failsafe', uniqueKeys: false, logLevel: 'silent' });
  let isRead = false;
  for (const token of new Parser(lines.addNewLine).parse(text)) {
    if (isRead && (token.type === 'document' || token.type === 'doc-end' || token.type === 'directive'))
      break;
    // Documents are told one late: none is before the end.
    composer.next(token).next();
    isRead ||= token.type === 'document';
  }
  const [document] = composer.end(true, text.length);
  if (document === undefined) throw new YamlFault('there is no document');
  const bad = document.errors.find((error) => !isTaken(error));
  if (bad !== undefined) throw new YamlFault(`line ${lines.linePos(bad.pos[0]).line}: ${wordsOf(bad)}`);
  return document;
}

type Anchored = Exclude<YamlNode, YamlAlias>;

class NodeReader {
  /** The latest of each name: an alias means the last one before it. */
  readonly #anchors = new Map<string, Anchored>();

  read(node: unknown, offset: number, depth: number): YamlNode {
    if (depth > MAX_DEPTH) throw new YamlFault(`nested more than ${MAX_DEPTH} levels deep`);
    if (isAlias(node)) {
      const target = this.#anchors.get(node.source);
      if (target === undefined) throw new YamlFault(`unknown anchor '${node.source}' referenced`);
      return { kind: 'alias', name: node.source, target, offset: node.range?.[0] ?? offset };
    }
    if (isMap(node)) {
      const at = node.range?.[0] ?? offset;
      const pairs: [YamlNode, YamlNode][] = [];
      const read = this.#anchored(node.anchor, { kind: 'mapping', pairs, offset: at });
      for (const { key, value } of node.items) {
        const name = this.read(key, at, depth + 1);
        pairs.push([name, this.read(value, name.offset, depth + 1)]);
      }
      return read;
    }
    if (isSeq(node)) {
      const at = node.range?.[0] ?? offset;
      const items: YamlNode[] = [];
      const read = this.#anchored(node.anchor, { kind: 'sequence', items, offset: at });
      for (const item of node.items) items.push(this.read(item, at, depth + 1));
      return read;
    }
    if (!isScalar(node)) return { kind: 'scalar', tag: '', text: '', isPlain: true, offset };
    const { source: text = '', tag = '', anchor } = node;
    if (HALF.test(text)) throw new YamlFault('a text has half a surrogate pair');
    return this.#anchored(anchor, {
      kind: 'scalar',
      tag,
      text,
      isPlain: tag === '' && (node.type === undefined || node.type === Scalar.PLAIN),
      offset: node.range?.[0] ?? offset,
    });
  }

  /** Named before its contents are read: an alias within it means it. */
  #anchored<T extends Anchored>(name: string | undefined, node: T): T {
    if (name !== undefined) this.#anchors.set(name, node);
    return node;
  }
}

/**
 * Reads the first document; an empty text is one that is null.
 *
 * @throws YamlFault in the words of the reference where it has some for the same.
 */
export function readYamlNodes(text: string): YamlDocument {
  checkCharacters(text);
  const lines = new LineCounter();
  const document = firstDocument(withoutMark(text).replace(/\r\n?/g, '\n'), lines);
  return {
    root: new NodeReader().read(document.contents, 0, 0),
    lineOf: (offset) => lines.linePos(offset).line,
  };
}

/** Whether a key stands for the mappings behind it. */
export const isMerge = (key: YamlNode): boolean =>
  key.kind === 'scalar' && key.text === '<<' && (key.isPlain || key.tag === MERGE_TAG);
