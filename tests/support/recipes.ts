/** The recipes of docs/engines.md, as a test finds them there: a heading, a command line, a part of a configuration. */
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import type { Draft } from './stack.ts';

export interface Recipe {
  readonly title: string;
  /** The command lines that start the engine, as one; none where somebody else runs it. */
  readonly command: string;
  readonly yaml: string;
}

const blockOf = (section: string, language: string): string | undefined =>
  new RegExp(`\`\`\`${language}\\n([^]*?)\`\`\``).exec(section)?.[1];

/** Those that have a configuration. */
export function readRecipes(path = 'docs/engines.md'): readonly Recipe[] {
  return readFileSync(path, 'utf8')
    .split(/^## /m)
    .slice(1)
    .flatMap((section) => {
      const yaml = blockOf(section, 'yaml');
      const title = section.split('\n', 1)[0] ?? '';
      const command = (blockOf(section, 'sh') ?? '').replaceAll(/\\\n\s*/g, '').trim();
      return yaml === undefined ? [] : [{ title, command, yaml }];
    });
}

/** The origins of its endpoints, in their order. */
export const originsOf = ({ yaml }: Recipe): readonly string[] => [
  ...new Set([...yaml.matchAll(/https?:\/\/[\w.-]+(?::\d+)?/g)].map(([origin]) => origin)),
];

/** Its configuration, with other addresses: `to` has one for each of `originsOf`. */
export function configOf(recipe: Recipe, to: readonly string[]): Draft {
  const text = originsOf(recipe).reduce(
    (yaml, origin, i) => yaml.replace(origin, to[i] ?? origin),
    recipe.yaml,
  );
  return parse(text) as Draft;
}

/** The flags of its command line that a test's engine may have as they are; `without` names those with a value of its own. */
export function flagsOf({ command }: Recipe, without: readonly string[]): readonly string[] {
  const words = command.split(' #')[0]?.split(/\s+/) ?? [];
  const flags: string[] = [];
  for (let i = words.findIndex((word) => word.startsWith('--')); i >= 0 && i < words.length; i += 1) {
    const word = words[i] ?? '';
    if (without.includes(word)) i += 1;
    else flags.push(word);
  }
  return flags;
}
