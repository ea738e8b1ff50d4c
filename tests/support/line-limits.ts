/**
 * The lines of src/: what .oxlintrc.json allows, and what stands there. `node --import tsx tests/support/line-limits.ts` writes
 * the allowances anew from what stands there; the comment above an allowance, which says why it is needed, is kept.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const SETTINGS = '.oxlintrc.json';
/** Lines of a file, and of its longest function. */
export interface Lines {
  readonly file: number;
  readonly function: number;
}
/** For every file that has no allowance. */
export const LIMITS: Lines = { file: 400, function: 80 };
/** No allowance is larger. */
export const MOST: Lines = { file: 565, function: 80 };

const RULES = { 'max-lines': 'file', 'max-lines-per-function': 'function' } as const;
type Rule = keyof typeof RULES;
const RULE_NAMES = Object.keys(RULES) as Rule[];

/** What the linter counts in each file of src/, where that is over the limits. */
export function linesOver(limits: Lines): ReadonlyMap<string, Lines> {
  const folder = mkdtempSync(join(tmpdir(), 'fairlane-lines-'));
  const settings = join(folder, 'oxlintrc.json');
  const rules = {
    'max-lines': ['error', limits.file],
    'max-lines-per-function': ['error', limits.function],
  };
  writeFileSync(settings, JSON.stringify({ categories: { correctness: 'off' }, rules }));
  const { stdout } = spawnSync('node_modules/.bin/oxlint', ['-c', settings, '-f', 'json', 'src'], {
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  });
  rmSync(folder, { recursive: true });
  const { diagnostics } = JSON.parse(stdout) as {
    readonly diagnostics: readonly {
      readonly code: string;
      readonly filename: string;
      readonly message: string;
    }[];
  };
  const found = new Map<string, { file: number; function: number }>();
  for (const { code, filename, message } of diagnostics) {
    const kind = RULES[/^eslint\((.*)\)$/.exec(code)?.[1] as Rule];
    const count = Number(/\((\d+)\)/.exec(message)?.[1]);
    if ((kind as unknown) === undefined || Number.isNaN(count))
      throw new Error(`not understood: ${code}: ${message}`);
    const lines = found.get(filename) ?? { file: 0, function: 0 };
    lines[kind] = Math.max(lines[kind], count);
    found.set(filename, lines);
  }
  return found;
}

const BEGIN =
  '    // Lines over the limits, each with its reason: written by tests/support/line-limits.ts.\n';
const END = '    // The end of the lines over the limits.\n';
/** The comment and the allowance of a file. */
const ENTRY = /((?: *\/\/ .*\n)+) *\{\s*"files": \["([^"]+)"\],\s*"rules": (\{.*\})\s*\},?\n/g;

interface Allowance {
  readonly reason: string;
  readonly lines: Lines;
}

function partsOf(settings: string): {
  readonly before: string;
  readonly own: string;
  readonly after: string;
} {
  const [before, rest] = settings.split(BEGIN);
  const [own, after] = (rest ?? '').split(END);
  if (before === undefined || own === undefined || after === undefined)
    throw new Error(`${SETTINGS} has no lines ${BEGIN.trim()} … ${END.trim()}`);
  return { before, own, after };
}

const allowancesOf = (own: string): ReadonlyMap<string, Allowance> =>
  new Map(
    [...own.matchAll(ENTRY)].map(([, reason = '', file = '', text = '']) => {
      const rules = JSON.parse(text) as Partial<Record<Rule, readonly ['error', number]>>;
      const lines = {
        file: rules['max-lines']?.[1] ?? 0,
        function: rules['max-lines-per-function']?.[1] ?? 0,
      };
      return [file, { reason, lines }];
    }),
  );

/** What .oxlintrc.json allows beyond the limits: 0 where it allows nothing. */
export function allowedLines(): ReadonlyMap<string, Lines> {
  const allowances = allowancesOf(partsOf(readFileSync(SETTINGS, 'utf8')).own);
  return new Map([...allowances].map(([file, { lines }]) => [file, lines]));
}

function rewrite(): void {
  const { before, own, after } = partsOf(readFileSync(SETTINGS, 'utf8'));
  const known = allowancesOf(own);
  const entries = [...linesOver(LIMITS)]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([file, lines]) => {
      const rules = RULE_NAMES.filter((rule) => lines[RULES[rule]] > 0).map(
        (rule) => `"${rule}": ["error", ${lines[RULES[rule]]}]`,
      );
      const reason = known.get(file)?.reason ?? '    // Its first comment says why.\n';
      return `${reason}    {\n      "files": ["${file}"],\n      "rules": { ${rules.join(', ')} }\n    }`;
    });
  const list = entries.length === 0 ? '' : `${entries.join(',\n')}\n`;
  writeFileSync(SETTINGS, before + BEGIN + list + END + after);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) rewrite();
