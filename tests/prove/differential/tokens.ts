/**
 * Values as words, to compare readers: `{ } [ ] t f n`, `k` and `s` with UTF-8 in hex, `i` with an integer, `d` with a double's bits in
 * hex. Ours has `#` with a number as the body has it: Fairlane keeps the text.
 */
import { type JsonDocument, KIND } from '../../../src/openai/json/document.ts';

export function tokensOf(document: JsonDocument): string {
  const out: string[] = [];
  put(document, 0, out);
  return out.join(' ');
}

function put(document: JsonDocument, at: number, out: string[]): void {
  const end = document.next(at);
  switch (document.kind(at)) {
    case KIND.object:
      out.push('{');
      for (let key = document.first(at); key < end; ) {
        out.push(`k${hexOf(document, key)}`);
        put(document, document.next(key), out);
        key = document.next(document.next(key));
      }
      out.push('}');
      break;
    case KIND.array:
      out.push('[');
      for (let item = document.first(at); item < end; item = document.next(item)) put(document, item, out);
      out.push(']');
      break;
    case KIND.number:
      for (const number of numbersOf(document, at)) out.push(`#${number}`);
      break;
    case KIND.string:
    case KIND.key:
      out.push(`s${hexOf(document, at)}`);
      break;
    case KIND.true:
      out.push('t');
      break;
    case KIND.false:
      out.push('f');
      break;
    case KIND.null:
      out.push('n');
      break;
  }
}

/** By both ways that there are to a text, and its length, which must agree. */
function hexOf(document: JsonDocument, at: number): string {
  const hex = document.utf8(at).toString('hex');
  const agree =
    Buffer.from(document.text(at)).toString('hex') === hex && document.more(at) * 2 === hex.length;
  return agree ? hex : `${hex}?`;
}

function numbersOf(document: JsonDocument, at: number): readonly string[] {
  const run = document.bytes.toString('latin1', document.start(at), document.end(at));
  const numbers = run.split(',').map((text) => text.trim());
  const isDigits = numbers.every((text) => /^\d+$/.test(text));
  // What the tape says of them is compared too.
  const agree = numbers.length === document.more(at) && isDigits === document.isDigits(at);
  return agree ? numbers : [`${run.replaceAll(' ', '')}?`];
}

/** Where the first difference is: the token of ours and theirs. Undefined: none. */
export function difference(ours: string, theirs: string): readonly [string, string] | undefined {
  if (ours === theirs) return undefined;
  if (theirs.startsWith('!')) return ['accepted', theirs];
  const [a, b] = [ours.split(' '), theirs.split(' ')];
  for (let i = 0; i < Math.max(a.length, b.length); i += 1) {
    const [one = 'the end', other = 'the end'] = [a[i], b[i]];
    if (one !== other && !(one.startsWith('#') && isSameNumber(one.slice(1), other))) return [one, other];
  }
  return undefined;
}

/** Integers exactly where both keep them as such, else as doubles. */
function isSameNumber(text: string, theirs: string): boolean {
  if (theirs.startsWith('i')) {
    const integer = theirs.slice(1);
    return /^-?\d+$/.test(text)
      ? BigInt(text) === BigInt(integer)
      : bitsOf(Number(text)) === bitsOf(Number(integer));
  }
  return theirs === `d${bitsOf(Number(text))}`;
}

const double = Buffer.alloc(8);
function bitsOf(number: number): string {
  double.writeDoubleBE(number);
  return double.toString('hex');
}

/** Our tokens: a number is beyond a double. */
export const hasOverflow = (tokens: string): boolean =>
  tokens.split(' ').some((token) => token.startsWith('#') && !Number.isFinite(Number(token.slice(1))));

/** A reader's refusal of such a number: of nlohmann::json and of orjson. */
export const isOverflow = (tokens: string): boolean =>
  /^!.*(?:number overflow|number is infinity when parsed as double)/s.test(tokens);
