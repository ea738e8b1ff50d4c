/** Completion scripts: made of the commands, and run by the shells that there are. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Argument, Command, Option } from 'commander';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bashCompletion } from '../../../src/cli/completion-bash.ts';
import { fishCompletion } from '../../../src/cli/completion-fish.ts';
import { completionTree } from '../../../src/cli/completion-tree.ts';
import { zshCompletion } from '../../../src/cli/completion-zsh.ts';

const program = new Command('fairlane')
  .addCommand(
    new Command('tell')
      .description("Tell it's so: at once.")
      .option('-c, --config <file>', 'where it is')
      .option('-t, --tenant <name>', 'who')
      .option('--port <port>', 'a number')
      .option('--json', 'as JSON')
      .addOption(new Option('--sort <by>', 'order').choices(['name', 'weight'])),
  )
  .addCommand(new Command('drain').argument('<url>', 'endpoint'))
  .addCommand(
    new Command('tenant')
      .addCommand(new Command('set').argument('<name>', 'tenant').option('--model <name>', 'a model'))
      .addCommand(new Command('secret'), { hidden: true }),
  )
  .addCommand(new Command('shell').addArgument(new Argument('<shell>').choices(['bash', 'zsh'])));
const tree = completionTree(program);

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'fairlane-completion-'));
  writeFileSync(join(folder, 'a config.yaml'), '');
  // What asks the running service in the real program.
  const asked = '#!/bin/sh\n[ "$1" = completion-values ] || exit 1\n';
  const answers =
    'case $2 in\n  tenants) echo "quiet${4:+-of-$4}"; echo "no isy" ;;\n  *) echo http://a:1 ;;\nesac\n';
  writeFileSync(join(folder, 'fairlane'), asked + answers, { mode: 0o755 });
  for (const [shell, script] of [
    ['bash', bashCompletion(tree)],
    ['zsh', zshCompletion(tree)],
    ['fish', fishCompletion(tree)],
  ] as const) {
    writeFileSync(join(folder, shell), script);
  }
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const run = (shell: string, args: readonly string[]): string => {
  const env = { ...process.env, PATH: `${folder}:${process.env['PATH'] ?? ''}` };
  const { stdout, stderr, status, error } = spawnSync(shell, args, { cwd: folder, env, encoding: 'utf8' });
  if (error !== undefined || status !== 0) throw new Error(`${shell}: ${error?.message ?? stderr}`);
  return stdout.trim();
};
const hasShell = (shell: string): boolean => spawnSync(shell, ['--version']).status === 0;

describe('the tree of commands', () => {
  it('has every visible command, with the first sentence of what it does', () => {
    expect(tree.map(({ path }) => path)).toEqual(['', 'tell', 'drain', 'tenant', 'tenant set', 'shell']);
    expect(tree[0]?.commands[0]).toEqual({ name: 'tell', about: "Tell it's so" });
    expect(tree.find(({ path }) => path === 'tenant set')?.operand).toEqual({
      kind: 'running',
      what: 'tenants',
    });
  });
});

describe('completion in bash', () => {
  /** @param words as bash has parted them, the last one being completed. */
  const complete = (words: readonly string[], text: string): readonly string[] => {
    const script = `source bash; COMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}
      COMP_LINE='${text}'; COMP_POINT=\${#COMP_LINE}; $(complete -p fairlane | sed 's/.*-F \\([^ ]*\\).*/\\1/'); printf '%s\\n' "\${COMPREPLY[@]}"`;
    return run('bash', ['--norc', '-c', script]).split('\n');
  };

  it.each([
    ['fairlane ', ['tell', 'drain', 'tenant', 'shell']],
    ['fairlane te', ['tell', 'tenant']],
    ['fairlane tenant ', ['set']],
    ['fairlane tell --', ['--config', '--tenant', '--port', '--json', '--sort', '--help']],
    ['fairlane tell --sort ', ['name', 'weight']],
    ['fairlane tell --json --sort w', ['weight']],
    ['fairlane tell --config a', ['a config.yaml']],
    ['fairlane tell --port ', ['']],
    ['fairlane tell --tenant ', ['quiet', 'no\\ isy']],
    ['fairlane tell -c x.yaml --tenant q', ['quiet-of-x.yaml']],
    ['fairlane tenant set q', ['quiet']],
    ['fairlane drain ', ['http://a:1']],
    ['fairlane shell b', ['bash']],
    // The value of an option is no command.
    ['fairlane tell --tenant drain --so', ['--sort']],
  ])('of %j', (text, expected) => {
    expect(complete(text.split(' '), text)).toEqual(expected);
  });

  it('of what bash parts at = and at colons', () => {
    expect(complete(['fairlane', 'tell', '--sort', '=', 'n'], 'fairlane tell --sort=n')).toEqual(['name']);
    expect(complete(['fairlane', 'tell', '--sort', '='], 'fairlane tell --sort=')).toEqual([
      'name',
      'weight',
    ]);
    expect(complete(['fairlane', 'drain', 'http', ':', '//a'], 'fairlane drain http://a')).toEqual(['//a:1']);
  });
});

describe.skipIf(!hasShell('fish'))('completion in fish', () => {
  it.each([
    ['fairlane te', ['tell', 'tenant']],
    ['fairlane tell --sort ', ['name', 'weight']],
    ['fairlane tell --tenant q', ['quiet']],
    ['fairlane tell -c x.yaml --tenant q', ['quiet-of-x.yaml']],
    ['fairlane tenant ', ['set']],
  ])('of %j', (text, expected) => {
    const script = `source fish; complete -C '${text}' | string split -f1 \\t; true`;
    expect(run('fish', ['--no-config', '-c', script]).split('\n').sort()).toEqual(expected);
  });
});

describe.skipIf(!hasShell('zsh'))('completion in zsh', () => {
  it('is a script that zsh reads', () => {
    expect(run('zsh', ['-f', '-n', 'zsh'])).toBe('');
  });
});
