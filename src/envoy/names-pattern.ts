/**
 * Regular expressions for all header names but some: Envoy's matchers cannot be inverted, and RE2 has no look-ahead. Several small ones,
 * because Envoy takes none whose program has more than 100 instructions.
 */

interface Node {
  /** What leads here. */
  readonly path: string;
  /** `no` name ends here, a name does (`end`), or every name does that begins so (`any`). */
  kind: 'no' | 'end' | 'any';
  readonly next: Map<string, Node>;
}

/** What a pattern may take of Envoy's 100, and leave it some room. A character of the way to its first node takes one. */
const INSTRUCTIONS = 96;
const instructionsOf = ({ next }: Node): number => 5 + 2 * next.size;
const NAME = /^[a-z0-9-]+\*?$/;

/** The characters of names, all of ASCII: a class with others takes RE2 ten times as much. Envoy takes no names with others. */
const [FIRST, LAST] = [0x21, 0x7e];
const ANYTHING = '[!-~]';

/** One character of a name, but none of these; empty when there is no other. */
function classBut(characters: Iterable<string>): string {
  const codes = [...new Set(Array.from(characters, (character) => character.charCodeAt(0)))].sort(
    (a, b) => a - b,
  );
  const shown = (code: number): string => {
    const character = String.fromCharCode(code);
    return /[a-z0-9]/.test(character) ? character : `\\x${code.toString(16)}`;
  };
  let ranges = '';
  let from = FIRST;
  for (const code of [...codes, LAST + 1]) {
    if (code > from) ranges += code - 1 === from ? shown(from) : `${shown(from)}-${shown(code - 1)}`;
    from = code + 1;
  }
  return ranges === '' ? '' : `[${ranges}]`;
}

function treeOf(names: readonly string[]): Node {
  const root: Node = { path: '', kind: 'end', next: new Map() };
  for (const name of names) {
    if (!NAME.test(name)) throw new Error(`${name} is no header name in lower case`);
    let node = root;
    for (const character of name) {
      if (character === '*') break;
      let following = node.next.get(character);
      if (following === undefined) {
        following = { path: node.path + character, kind: 'no', next: new Map() };
        node.next.set(character, following);
      }
      node = following;
    }
    if (name.endsWith('*')) node.kind = 'any';
    else if (node.kind === 'no') node.kind = 'end';
  }
  return root;
}

/** As many nodes from this one on as one pattern can hold, and those with which others begin. */
function part(root: Node): { readonly inside: ReadonlySet<Node>; readonly after: readonly Node[] } {
  const inside = new Set<Node>();
  const after: Node[] = [];
  let room = INSTRUCTIONS - root.path.length;
  const visit = (node: Node): void => {
    const takes = instructionsOf(node);
    if (takes > room && inside.size > 0) after.push(node);
    else {
      room -= takes;
      inside.add(node);
      if (node.kind !== 'any') for (const following of node.next.values()) visit(following);
    }
  };
  visit(root);
  return { inside, after };
}

/** What may follow on the way to here and is the rest of no name, as far as these nodes know; empty: nothing. */
function othersThan(node: Node, inside: ReadonlySet<Node>): string {
  if (node.kind === 'any') return '';
  // Names that begin with a colon are Envoy's own.
  const known = [...node.next.keys(), ...(node.path === '' ? [':'] : [])];
  const branches = [known.length === 0 ? `${ANYTHING}+` : `${classBut(known)}${ANYTHING}*`];
  for (const [character, following] of node.next) {
    const rest = inside.has(following) ? othersThan(following, inside) : '';
    if (rest !== '') branches.push(character + rest);
  }
  const some = branches.length === 1 && node.kind === 'end' ? branches.join('') : `(?:${branches.join('|')})`;
  return node.kind === 'end' ? some : `${some}?`;
}

/**
 * Each header name, in lower case, is matched as a whole by one of these, but for the given ones and those that begin with a colon.
 *
 * @param names of the characters a-z, 0-9 and `-`; one that ends with `*` stands for all that begin so.
 */
export function anyHeaderBut(names: readonly string[]): readonly string[] {
  const patterns: string[] = [];
  const roots = [treeOf(names)];
  for (let root = roots.pop(); root !== undefined; root = roots.pop()) {
    const { inside, after } = part(root);
    roots.push(...after);
    const rest = othersThan(root, inside);
    if (rest !== '') patterns.push(root.path + rest);
  }
  return patterns;
}
