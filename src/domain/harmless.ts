/**
 * Text of others (clients, engines, files) for a terminal or a log. What moves the cursor, turns the reading direction, breaks
 * the line or cannot be seen is shown as `\u202e`: by what is read, not by what is stored, so that `jq -r` shows it too.
 *
 * That is Unicode's category "Other" (controls, format characters, lone surrogates, private use, unassigned) and both separators.
 */
const UNSEEN = /[\p{C}\p{Zl}\p{Zp}]/gu;
const PLAIN = /^[ -~]*$/;

/** Named as JSON names them: who reads a log knows these. */
const SHORT: Readonly<Record<string, string>> = {
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\b': '\\b',
  '\f': '\\f',
};

/** Of a character beyond 16 bits: both of its code units. */
function named(character: string, backslash = '\\'): string {
  const short = SHORT[character];
  if (short !== undefined) return short;
  let text = '';
  for (let i = 0; i < character.length; i += 1) {
    text += `${backslash}u${character.charCodeAt(i).toString(16).padStart(4, '0')}`;
  }
  return text;
}

/** On one line, whatever was in it. */
export function harmless(text: string): string {
  return PLAIN.test(text) ? text : text.replace(UNSEEN, (found) => named(found));
}

/** The same with its lines and tabs kept: for text that is ours and quotes others. */
export function harmlessLines(text: string): string {
  return text.replace(UNSEEN, (found) => (found === '\n' || found === '\t' ? found : named(found)));
}

/** What a line of JSON has when there is nothing to do: visible ASCII, and no escape but those of `"` and `\`. */
const PLAIN_JSON = /^(?:[ -[\]-~]|\\["\\])*\n?$/;
/** An escape, or a character that JSON leaves as it is. */
const IN_JSON = /\\(.)|[\p{C}\p{Zl}\p{Zp}]/gsu;
/** A longer line is cut, so no string of it is longer. */
const LONGEST_LINE = 16 * 1024;
const LONGEST_STRING = 1024;
const LONGEST_LIST = 100;

/**
 * A line of JSON in which no string has such a character, escaped or not: read as JSON, a string has the text `\u202e` where
 * the character was. In a line of more than 16 KiB strings are cut at 1024 characters, and lists after 100 values.
 *
 * @param line as JSON.stringify writes it, with or without a line feed at its end.
 */
export function harmlessJson(line: string): string {
  const short = line.length > LONGEST_LINE ? cutJson(line) : line;
  if (PLAIN_JSON.test(short)) return short;
  const end = short.endsWith('\n') ? '\n' : '';
  const body = end === '' ? short : short.slice(0, -1);
  return (
    body.replace(IN_JSON, (found, escaped: string | undefined) => {
      if (escaped === '"' || escaped === '\\' || escaped === '/') return found;
      return escaped === undefined ? named(found, '\\\\') : `\\${found}`;
    }) + end
  );
}

function cutJson(line: string): string {
  const cut = JSON.stringify(JSON.parse(line), (_, value: unknown) => {
    if (typeof value === 'string') return cutText(value);
    if (!Array.isArray(value) || value.length <= LONGEST_LIST) return value;
    return [...(value.slice(0, LONGEST_LIST) as unknown[]), `and ${value.length - LONGEST_LIST} more`];
  });
  return line.endsWith('\n') ? `${cut}\n` : cut;
}

const cutText = (text: string): string =>
  text.length <= LONGEST_STRING
    ? text
    : `${text.slice(0, LONGEST_STRING)}… (${text.length - LONGEST_STRING} more)`;
