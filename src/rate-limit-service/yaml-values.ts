/**
 * Nodes as values without a schema, and the walk that every reading of nodes shares: it follows aliases and bounds what
 * they can make of a small file, by the rule of the reference's reader (gopkg.in/yaml.v2 v2.4.0, decode.go).
 */
import { isMerge, type YamlAlias, type YamlMapping, type YamlNode } from './yaml-nodes.ts';
import { resolveScalar, YamlFault, type YamlScalar } from './yaml-scalars.ts';

export type YamlValue = YamlScalar | YamlList | YamlMap;
interface YamlList {
  readonly kind: 'list';
  readonly items: readonly YamlValue[];
}
export interface YamlMap {
  readonly kind: 'map';
  /** By their kind and text: `1` and `"1"` are two keys. The last of a key is the one that counts. */
  readonly entries: ReadonlyMap<string, readonly [key: YamlScalar, value: YamlValue]>;
}

const FEW_ALIASES = 100;
const FEW_NODES = 1_000;
/** Up to here nearly everything may come from aliases, */
const MANY_NODES = 400_000;
/** and from here on a tenth. */
const MOST_NODES = 4_000_000;

function mostAliased(nodes: number): number {
  if (nodes <= MANY_NODES) return 0.99;
  if (nodes >= MOST_NODES) return 0.1;
  return 0.99 - (0.89 * (nodes - MANY_NODES)) / (MOST_NODES - MANY_NODES);
}

/** One reading of a document. */
export class YamlWalk {
  #nodes = 0;
  #aliased = 0;
  #depth = 0;
  readonly #open = new Set<YamlAlias>();

  /**
   * Gives a node to `read`, or what an alias stands for.
   *
   * @throws YamlFault for an alias within what it stands for, and for aliases without end.
   */
  visit<T>(node: YamlNode, read: (node: Exclude<YamlNode, YamlAlias>) => T): T {
    this.#count();
    if (node.kind !== 'alias') return read(node);
    if (this.#open.has(node)) throw new YamlFault(`anchor '${node.name}' value contains itself`);
    this.#open.add(node);
    this.#depth += 1;
    this.#count();
    const result = read(node.target);
    this.#depth -= 1;
    this.#open.delete(node);
    return result;
  }

  /**
   * Gives the mappings that a merge key stands for, those first that others win over.
   *
   * @throws YamlFault for what is no mapping.
   */
  merge(value: YamlNode, read: (mapping: YamlMapping) => void): void {
    const items = value.kind === 'sequence' ? value.items.toReversed() : [value];
    for (const item of items) {
      const isMapping = (item.kind === 'alias' ? item.target : item).kind === 'mapping';
      if (!isMapping) throw new YamlFault('map merge requires map or sequence of maps as the value');
      this.visit(item, (mapping) => {
        if (mapping.kind === 'mapping') read(mapping);
      });
    }
  }

  #count(): void {
    this.#nodes += 1;
    if (this.#depth > 0) this.#aliased += 1;
    if (
      this.#aliased > FEW_ALIASES &&
      this.#nodes > FEW_NODES &&
      this.#aliased / this.#nodes > mostAliased(this.#nodes)
    ) {
      throw new YamlFault('document contains excessive aliasing');
    }
  }
}

const keyOf = (key: YamlScalar): string =>
  key.kind === 'null' ? 'null' : `${key.kind} ${String(key.value)}`;

class ValueReader {
  readonly #walk = new YamlWalk();

  read(node: YamlNode): YamlValue {
    return this.#walk.visit(node, (found): YamlValue => {
      if (found.kind === 'scalar') return resolveScalar(found.tag, found.text, found.isPlain);
      if (found.kind === 'sequence')
        return { kind: 'list', items: found.items.map((item) => this.read(item)) };
      const entries = new Map<string, readonly [YamlScalar, YamlValue]>();
      this.#addTo(entries, found);
      return { kind: 'map', entries };
    });
  }

  #addTo(entries: Map<string, readonly [YamlScalar, YamlValue]>, { pairs }: YamlMapping): void {
    for (const [writtenKey, value] of pairs) {
      if (isMerge(writtenKey)) {
        this.#walk.merge(value, (mapping) => this.#addTo(entries, mapping));
        continue;
      }
      const key = this.read(writtenKey);
      if (key.kind === 'map' || key.kind === 'list') throw new YamlFault(`invalid map key: ${textOf(key)}`);
      entries.set(keyOf(key), [key, this.read(value)]);
    }
  }
}

/** @throws YamlFault */
export const readYamlValue = (node: YamlNode): YamlValue => new ValueReader().read(node);

const MOST_TEXT = 200;

/** A value as the reference prints it (`%v` of Go), cut where it is long. */
export function textOf(value: YamlValue, room = MOST_TEXT): string {
  const cut = (text: string): string => (text.length > room ? `${text.slice(0, room)}...` : text);
  switch (value.kind) {
    case 'null':
      return '<nil>';
    case 'list':
      return cut(
        `[${value.items
          .slice(0, room)
          .map((item) => textOf(item, room))
          .join(' ')}]`,
      );
    case 'map': {
      const pairs = [...value.entries.values()].slice(0, room);
      const texts = pairs.map(([key, item]) => `${textOf(key, room)}:${textOf(item, room)}`);
      return cut(`map[${texts.sort().join(' ')}]`);
    }
    case 'bool':
    case 'int':
    case 'uint':
    case 'float':
    case 'text':
      return cut(String(value.value));
  }
}
