/** A strict JSON reader written for clarity: the reference that the fast one is compared with. */

export type Naive = { readonly ok: true; readonly value: unknown } | { readonly ok: false };

const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
// oxlint-disable-next-line no-control-regex -- JSON forbids exactly these in strings
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[\da-fA-F]{4}))*"/y;
const SPACE = /[ \t\n\r]*/y;

export function naiveStrict(text: string): Naive {
  let at = 0;
  const refuse = (): never => {
    throw new Error('refused');
  };
  const take = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at;
    const found = pattern.exec(text)?.[0];
    if (found !== undefined) at += found.length;
    return found;
  };
  const space = (): void => void take(SPACE);
  const expectText = (word: string): void => {
    if (!text.startsWith(word, at)) refuse();
    at += word.length;
  };

  const value = (depth: number): unknown => {
    space();
    const first = text[at];
    if (first === '{' || first === '[') {
      if (depth === 128) refuse();
      at++;
      return first === '{' ? object(depth + 1) : array(depth + 1);
    }
    if (first === '"') return string();
    for (const [word, constant] of [
      ['true', true],
      ['false', false],
      ['null', null],
    ] as const) {
      if (text.startsWith(word, at)) {
        expectText(word);
        return constant;
      }
    }
    const number = take(NUMBER) ?? refuse();
    if (number.length > 1_000) refuse();
    return Number(number);
  };
  const string = (): string => {
    const read = JSON.parse(take(STRING) ?? refuse()) as string;
    if (/\p{Cs}/u.test(read)) refuse();
    return read;
  };
  const array = (depth: number): unknown[] => {
    const items: unknown[] = [];
    space();
    if (text[at] === ']') {
      at++;
      return items;
    }
    for (;;) {
      items.push(value(depth));
      space();
      if (text[at] === ']') break;
      expectText(',');
    }
    at++;
    return items;
  };
  const object = (depth: number): Record<string, unknown> => {
    const members: Record<string, unknown> = {};
    const keys = new Set<string>();
    space();
    if (text[at] === '}') {
      at++;
      return members;
    }
    for (;;) {
      space();
      const key = string();
      if (keys.has(key) || key === '__proto__') refuse();
      keys.add(key);
      space();
      expectText(':');
      members[key] = value(depth);
      space();
      if (text[at] === '}') break;
      expectText(',');
    }
    at++;
    return members;
  };

  try {
    const root = value(0);
    space();
    if (at !== text.length || typeof root !== 'object' || root === null || Array.isArray(root)) refuse();
    return { ok: true, value: root };
  } catch {
    return { ok: false };
  }
}
