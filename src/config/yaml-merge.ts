/**
 * Aliases (`*x`) and merge keys (`<<: *x`) of a YAML document. A mapping with a merge key gets the pairs of what it names, in
 * the place of the key; its own keys come first, and of several sources the earlier ones (YAML 1.1's type "merge").
 *
 * Both multiply: a text of a few lines can stand for more than fits into memory. So what it stands for is counted before it is
 * built, each node once.
 */
import {
  type Alias,
  type Document,
  isAlias,
  isMap,
  isPair,
  isScalar,
  isSeq,
  type Node,
  type Pair,
  visit,
  type YAMLMap,
} from 'yaml';

export type Path = readonly (string | number)[];

/** Values that a configuration may stand for: ten thousand tenants with twenty settings each. */
const MOST_VALUES = 250_000;

export const UNKNOWN_ALIAS =
  'YAML reads "*" and "&" at the beginning of a value as alias and anchor, and this one is unknown; put the value in quotes, for example "*"';

/** What is wrong with an alias or a merge. */
export class MergeFault extends Error {
  readonly node: unknown;
  readonly path: Path;

  constructor(node: unknown, path: Path, message: string) {
    super(message);
    this.node = node;
    this.path = path;
  }
}

/** A plain `<<`; in quotes it is a key like any other. */
const isMergeKey = (key: unknown): boolean => isScalar(key) && key.value === '<<' && key.type === 'PLAIN';

export const keyText = (key: unknown): string => String(isScalar(key) ? key.value : key);

/**
 * Follows the aliases of a document and does its merges, in place: a pair that is merged is the one that was written, so
 * what is wrong with it is told where it stands.
 *
 * @throws MergeFault for an alias that is unknown or contains itself, a merge of what is no mapping, and for too much.
 */
export function mergeDocument(doc: Document): void {
  new Expansion(doc).valuesOf(doc.contents, []);
}

/** An anchor may be given again: each alias means the last one before it. From then on each has a name of its own. */
function linkAliases(doc: Document): ReadonlyMap<Alias, Node> {
  const latest = new Map<string, Node>();
  const targets = new Map<Alias, Node>();
  let count = 0;
  visit(doc, {
    Node(_, node) {
      if (isAlias(node)) {
        const target = latest.get(node.source);
        if (target === undefined) return;
        targets.set(node, target);
        node.source = (target as { readonly anchor?: string }).anchor ?? node.source;
      } else if (node.anchor !== undefined) {
        latest.set(node.anchor, node);
        count += 1;
        node.anchor = `a${count}`;
      }
    },
  });
  return targets;
}

class Expansion {
  readonly #doc: Document;
  readonly #targets: ReadonlyMap<Alias, Node>;
  /** Values that a node stands for; undefined: it is being looked at. */
  readonly #values = new Map<unknown, number | undefined>();
  #merged = 0;

  constructor(doc: Document) {
    this.#doc = doc;
    this.#targets = linkAliases(doc);
  }

  /** Counts what a node stands for, after its merges. */
  valuesOf(node: unknown, path: Path): number {
    if (isAlias(node)) return this.valuesOf(this.#targetOf(node, path), path);
    if (!isMap(node) && !isSeq(node)) return 1;
    if (this.#values.has(node)) {
      const known = this.#values.get(node);
      if (known === undefined) {
        throw new MergeFault(node, path, 'contains itself by an alias; write the value out');
      }
      return known;
    }
    this.#values.set(node, undefined);
    if (isMap(node) && node.items.some(({ key }) => isMergeKey(key))) this.#merge(node, path);
    let values = 1;
    for (const [i, item] of node.items.entries()) {
      values += isPair(item)
        ? this.valuesOf(item.value, [...path, keyText(item.key)])
        : this.valuesOf(item, [...path, i]);
    }
    if (values > MOST_VALUES) this.#refuseSize();
    this.#values.set(node, values);
    return values;
  }

  #refuseSize(): never {
    const message = 'has too many aliases (*name) of anchors (&name); write the values out';
    throw new MergeFault(this.#doc.contents, [], message);
  }

  #targetOf(alias: Alias, path: Path): unknown {
    const target = this.#targets.get(alias);
    if (target === undefined) throw new MergeFault(alias, path, UNKNOWN_ALIAS);
    return target;
  }

  #merge(map: YAMLMap, path: Path): void {
    const seen = new Set(map.items.filter(({ key }) => !isMergeKey(key)).map(({ key }) => keyText(key)));
    const items: Pair[] = [];
    for (const item of map.items) {
      if (!isMergeKey(item.key)) {
        items.push(item);
        continue;
      }
      for (const pair of this.#sourcesOf(item, path).flatMap((source) => source.items)) {
        const key = keyText(pair.key);
        if (seen.has(key)) continue;
        seen.add(key);
        items.push(pair);
        this.#merged += 1;
      }
      if (this.#merged > MOST_VALUES) this.#refuseSize();
    }
    map.items = items;
  }

  /** The mappings that a merge key names, their own merges done. */
  #sourcesOf({ key, value }: Pair, path: Path): readonly YAMLMap[] {
    const resolved = isAlias(value) ? this.#targetOf(value, path) : value;
    return (isSeq(resolved) ? resolved.items : [resolved]).map((one) => {
      const source = isAlias(one) ? this.#targetOf(one, path) : one;
      if (!isMap(source)) {
        const message = 'merges what is no mapping; write <<: *name, or <<: [*one, *other]';
        throw new MergeFault(key, [...path, '<<'], message);
      }
      this.valuesOf(source, path);
      return source;
    });
  }
}
