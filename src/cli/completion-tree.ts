/** What a shell may complete: read from the commands themselves, so that no list of them is written twice. Pure but for the commands. */
import type { Argument, Command, Option } from 'commander';

/** What may stand in a place. */
export type Completion =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'words'; readonly words: readonly string[] }
  | { readonly kind: 'file' }
  /** The running service is asked. */
  | { readonly kind: 'running'; readonly what: RunningKind };

export const RUNNING_KINDS = ['tenants', 'models', 'endpoints'] as const;
export type RunningKind = (typeof RUNNING_KINDS)[number];

export interface CompletedOption {
  /** `--long`, and `-s` where it has one. */
  readonly names: readonly string[];
  readonly about: string;
  /** Absent: it takes no value. */
  readonly value?: Completion;
}

/** One command, or the program itself. */
export interface CompletedCommand {
  /** Names of commands, with spaces between; empty: the program. */
  readonly path: string;
  readonly commands: readonly { readonly name: string; readonly about: string }[];
  readonly options: readonly CompletedOption[];
  readonly operand: Completion;
}

const NOTHING: Completion = { kind: 'nothing' };
const FILE: Completion = { kind: 'file' };
const FILES = /^(file|files|path|paths|folder|folders|directory|request|scenario|config)$/;
const LONGEST = 72;

/** The first sentence, or its beginning. */
function aboutOf(text: string): string {
  const [sentence = ''] = text.split(/(?<=[.:;]) /, 1);
  const plain = sentence.replace(/[.:;]$/, '');
  return plain.length <= LONGEST ? plain : `${plain.slice(0, LONGEST - 1).trimEnd()}…`;
}

/** @param name of what stands there. @param path of the command. */
function completionOf(name: string, choices: readonly string[] | undefined, path: string): Completion {
  if (choices !== undefined) return { kind: 'words', words: choices };
  if (FILES.test(name)) return FILE;
  if (name === 'tenant' || (name === 'name' && /^tenant\b/.test(path)))
    return { kind: 'running', what: 'tenants' };
  if (name === 'model') return { kind: 'running', what: 'models' };
  // Where load sends is no engine.
  return name === 'url' && path !== 'load' ? { kind: 'running', what: 'endpoints' } : NOTHING;
}

/** `name` of `--option <name>`; undefined: it takes no value, or may do without. */
const placeholderOf = ({ flags }: Option): string | undefined => /<([^>.]+)(?:\.\.\.)?>/.exec(flags)?.[1];

function optionOf(option: Option, path: string): CompletedOption {
  const placeholder = placeholderOf(option);
  const { long, short, argChoices, description } = option;
  const byName = completionOf((long ?? '').replace(/^--/, ''), argChoices, path);
  const value =
    placeholder === undefined
      ? undefined
      : byName.kind === 'nothing'
        ? completionOf(placeholder, argChoices, '')
        : byName;
  return {
    names: [long, short].filter((name) => name !== undefined),
    about: aboutOf(description),
    ...(value !== undefined && { value }),
  };
}

const operandOf = (operands: readonly Argument[], path: string): Completion =>
  operands
    .map((one) => completionOf(one.name(), one.argChoices, path))
    .find(({ kind }) => kind !== 'nothing') ?? NOTHING;

/** The program first, then each command before its own. Hidden ones are left out. */
export function completionTree(command: Command, path = ''): readonly CompletedCommand[] {
  const help = command.createHelp();
  const children = help.visibleCommands(command).filter((child) => child.name() !== 'help');
  const own: CompletedCommand = {
    path,
    commands: children.map((child) => ({ name: child.name(), about: aboutOf(child.description()) })),
    options: help.visibleOptions(command).map((option) => optionOf(option, path)),
    operand: operandOf(command.registeredArguments, path),
  };
  const pathOf = (child: Command): string => (path === '' ? child.name() : `${path} ${child.name()}`);
  return [own, ...children.flatMap((child) => completionTree(child, pathOf(child)))];
}

/** Where values come from, in a word that every script understands: nothing, `@file`, `@tenants`, or the values themselves. */
export function wordsOf(completion: Completion): string {
  switch (completion.kind) {
    case 'nothing':
      return '';
    case 'file':
      return '@file';
    case 'running':
      return `@${completion.what}`;
    case 'words':
      return completion.words.join(' ');
  }
}

/** For a POSIX shell. */
export const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;
