/** Problems and warnings: `file:line:column: path.to.key: what is wrong, what to do`. Keys never appear in one. */
import { closest, distance } from 'fastest-levenshtein';
import type { Path, Position } from './yaml-source.ts';

type Place = Position | 'key' | 'value';

export interface Report {
  /** `place`: where to point, by default at the value that `path` leads to. */
  readonly problem: (path: Path, message: string, place?: Place) => void;
  readonly warning: (path: Path, message: string, place?: Place) => void;
  readonly problems: () => readonly string[];
  readonly warnings: () => readonly string[];
}

/** More would scroll the first ones, which cause the others, off the screen. */
const MOST_LINES = 50;
/** A mistake that ten thousand tenants share is not looked up ten thousand times. */
const MOST_KEPT = 100;
const LONGEST_QUOTE = 80;

export interface ReportContext {
  readonly file: string;
  readonly hide: (text: string) => string;
  readonly position: (path: Path, at: 'key' | 'value') => Position;
  /** A path in the keys that the user wrote, where these have another name now. */
  readonly asWritten?: (path: Path) => Path;
}

export function createReport({ file, hide, position, asWritten = (path) => path }: ReportContext): Report {
  const list = () => {
    const lines = new Map<string, Position>();
    let unkept = 0;
    return {
      add: (current: Path, message: string, place: Place = 'value'): void => {
        if (lines.size >= MOST_KEPT) {
          unkept++;
          return;
        }
        const path = asWritten(current);
        const at = typeof place === 'string' ? position(path, place) : place;
        const where = path.length === 0 ? '' : `${showPath(path, hide)}: `;
        lines.set(`${file}:${at.line}:${at.column}: ${hide(`${where}${message}`)}`, at);
      },
      /** In the order of the file. */
      all: (): readonly string[] => {
        const all = [...lines]
          .sort(([, a], [, b]) => a.line - b.line || a.column - b.column)
          .map(([line]) => line);
        const rest = all.length + unkept - MOST_LINES;
        return rest > 0 ? [...all.slice(0, MOST_LINES), `${file}: and ${rest} more`] : all;
      },
    };
  };
  const problems = list();
  const warnings = list();
  return {
    problem: problems.add,
    warning: warnings.add,
    problems: problems.all,
    warnings: warnings.all,
  };
}

/** Replaces secrets. Short ones are left: they would hide words that only happen to contain them. */
export function hiding(secrets: Iterable<string>, shortest: number): (text: string) => string {
  // A key that contains another one goes first, or its rest would stay.
  const hidden = [...new Set(secrets)]
    .filter((secret) => secret.length >= shortest)
    .sort((a, b) => b.length - a.length);
  return (text) => hidden.reduce((shown, secret) => shown.replaceAll(secret, '(hidden)'), text);
}

function showPath(path: Path, hide: (text: string) => string): string {
  return path
    .map((step, i) => {
      if (typeof step === 'number') return `[${step}]`;
      const text = /^[A-Za-z0-9_-]{1,80}$/.test(step) ? hide(step) : quote(hide(step));
      return i === 0 ? text : `.${text}`;
    })
    .join('');
}

/** A user's text inside a message: in quotes, on one line, cut. Hide secrets before: a cut one would not be found. */
export function quote(text: string): string {
  const cut = text.length > LONGEST_QUOTE ? `${text.slice(0, LONGEST_QUOTE)}…` : text;
  return JSON.stringify(cut).replaceAll(/\p{C}/gu, '�');
}

/**
 * `; did you mean "x"?` where one of the candidates is near.
 *
 * @param renamed what an old name, also a candidate, is called now: the new one is named.
 */
export function didYouMean(
  word: string,
  candidates: readonly string[],
  renamed: ReadonlyMap<string, string> = new Map(),
): string {
  if (candidates.length === 0 || word.length > 256) return '';
  const nearest = closest(word, candidates);
  // Two swapped letters count as two.
  const near = word.length < 4 ? 1 : Math.max(2, Math.floor(word.length / 3));
  return distance(word.toLowerCase(), nearest.toLowerCase()) <= near
    ? `; did you mean ${quote(renamed.get(nearest) ?? nearest)}?`
    : '';
}
