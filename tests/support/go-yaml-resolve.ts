/**
 * What gopkg.in/yaml.v2 (v2.4.0) makes of a plain scalar without a tag, step by step as its `resolve` and Go's strconv do it,
 * character by character: an oracle for src/rate-limit-service/yaml-scalars.ts, which shares no code with it.
 */

const DIGITS = '0123456789abcdef';
const MOST_INT = 9_223_372_036_854_775_807n;
const MOST_UINT = 18_446_744_073_709_551_615n;

/** strconv.ParseUint: undefined for its errors. Base 0 goes by the prefix. */
function parseUint(text: string, base: number): bigint | undefined {
  let digits = text;
  let radix = base;
  if (base === 0) {
    radix = 10;
    if (text.startsWith('0')) {
      const letter = (text[1] ?? '').toLowerCase();
      const named = { x: 16, o: 8, b: 2 }[letter];
      if (text.length >= 3 && named !== undefined) {
        radix = named;
        digits = text.slice(2);
      } else {
        radix = 8;
        digits = text.slice(1);
        if (digits === '') return 0n;
      }
    }
  }
  if (digits === '') return undefined;
  let value = 0n;
  for (const one of digits.toLowerCase()) {
    const digit = DIGITS.indexOf(one);
    if (digit < 0 || digit >= radix) return undefined;
    value = value * BigInt(radix) + BigInt(digit);
    if (value > MOST_UINT) return undefined;
  }
  return value;
}

/** strconv.ParseInt */
function parseInt64(text: string, base: number): bigint | undefined {
  const isNegative = text.startsWith('-');
  const size = parseUint(isNegative || text.startsWith('+') ? text.slice(1) : text, base);
  if (size === undefined) return undefined;
  if (isNegative) return size > MOST_INT + 1n ? undefined : -size;
  return size > MOST_INT ? undefined : size;
}

/** yaml.v2's yamlStyleFloat, read by hand; the rest of strconv.ParseFloat is IEEE's. */
function parseFloat64(text: string): number | undefined {
  let at = text.startsWith('-') || text.startsWith('+') ? 1 : 0;
  const digits = (): number => {
    const from = at;
    while (at < text.length && DIGITS.slice(0, 10).includes(text[at] ?? '!')) at += 1;
    return at - from;
  };
  const whole = digits();
  let fraction = 0;
  if (text[at] === '.') {
    at += 1;
    fraction = digits();
  }
  if (whole + fraction === 0) return undefined;
  if ((text[at] ?? '').toLowerCase() === 'e') {
    at += 1;
    if (text[at] === '-' || text[at] === '+') at += 1;
    if (digits() === 0) return undefined;
  }
  const value = Number(text);
  return at === text.length && Math.abs(value) !== Number.POSITIVE_INFINITY ? value : undefined;
}

/** strconv's underscoreOK for decimals: each is between two digits. */
function withoutUnderscores(text: string): string {
  let result = '';
  for (let i = 0; i < text.length; i += 1) {
    const isBetween = /\d/.test(text[i - 1] ?? '') && /\d/.test(text[i + 1] ?? '');
    if (text[i] !== '_' || !isBetween) result += text[i] ?? '';
  }
  return result;
}

export type Resolved = readonly ['null' | 'bool' | 'int' | 'uint' | 'float' | 'text', unknown];

const TRUE = 'y Y yes Yes YES true True TRUE on On ON'.split(' ');
const FALSE = 'n N no No NO false False FALSE off Off OFF'.split(' ');

export function goResolve(text: string): Resolved {
  if (['', '~', 'null', 'Null', 'NULL'].includes(text)) return ['null', undefined];
  if (TRUE.includes(text)) return ['bool', true];
  if (FALSE.includes(text)) return ['bool', false];
  if (['.nan', '.NaN', '.NAN'].includes(text)) return ['float', Number.NaN];
  const [sign, rest] = /^[-+]/.test(text) ? [text[0], text.slice(1)] : ['', text];
  if (['.inf', '.Inf', '.INF'].includes(rest)) {
    return ['float', sign === '-' ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY];
  }
  if (text.startsWith('.')) {
    const value = parseFloat64(withoutUnderscores(text));
    return value === undefined ? ['text', text] : ['float', value];
  }
  if (!/^[-+0-9]/.test(text)) return ['text', text];
  const plain = text.split('_').join('');
  const int = parseInt64(plain, 0);
  if (int !== undefined) return ['int', int];
  const uint = /^[-+]/.test(plain) ? undefined : parseUint(plain, 0);
  if (uint !== undefined) return ['uint', uint];
  const float = parseFloat64(plain);
  if (float !== undefined) return ['float', float];
  const late = plain.startsWith('0b')
    ? parseInt64(plain.slice(2), 2)
    : plain.startsWith('-0b')
      ? parseInt64(`-${plain.slice(3)}`, 2)
      : undefined;
  return late === undefined ? ['text', text] : ['int', late];
}
