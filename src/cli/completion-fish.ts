/** A script for fish. Pure. */
import type { CompletedCommand, CompletedOption, Completion } from './completion-tree.ts';

const quotedForFish = (text: string): string => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;

/** What may follow, as \`complete\` is told. */
function valuesOf(completion: Completion): string {
  switch (completion.kind) {
    case 'nothing':
      return '-x';
    case 'file':
      return '-r -F';
    case 'running':
      return `-x -a '(__fairlane_values ${completion.what})'`;
    case 'words':
      return `-x -a ${quotedForFish(completion.words.join(' '))}`;
  }
}

function namesOf({ names }: CompletedOption): string {
  return names
    .map((name) => (name.startsWith('--') ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`))
    .join(' ');
}

function commandLines({ path, commands, options, operand }: CompletedCommand): readonly string[] {
  const start = `complete -c fairlane -n ${quotedForFish(`__fairlane_at ${quotedForFish(path)}`)}`;
  return [
    ...commands.map(({ name, about }) => `${start} -a ${name} -d ${quotedForFish(about)}`),
    ...options.map((option) => {
      const values = option.value === undefined ? '' : ` ${valuesOf(option.value)}`;
      return `${start} ${namesOf(option)}${values} -d ${quotedForFish(option.about)}`;
    }),
    ...(operand.kind === 'nothing' ? [] : [`${start} ${valuesOf(operand).replace(/^-[rx] /, '')}`]),
  ];
}

export function fishCompletion(tree: readonly CompletedCommand[]): string {
  const paths = tree.map(({ path }) => path).filter((path) => path !== '');
  const takes = tree.flatMap(({ path, options }) =>
    options.flatMap(({ names, value }) =>
      value === undefined ? [] : names.map((name) => `${path} ${name}`),
    ),
  );
  return `# Completion of fairlane for fish, written by \`fairlane completion fish\`.

set -g __fairlane_paths ${paths.map(quotedForFish).join(' ')}
set -g __fairlane_takes ${takes.map(quotedForFish).join(' ')}

# Whether the command line is at this command.
function __fairlane_at
    set -l at ''
    set -l skip 0
    for token in (commandline -opc)[2..-1]
        if test $skip = 1
            set skip 0
        else if string match -q -- '-*' $token
            contains -- "$at $token" $__fairlane_takes; and set skip 1
        else
            set -l next (string trim -- "$at $token")
            contains -- $next $__fairlane_paths; and set at $next
        end
    end
    test "$at" = "$argv[1]"
end

# Asks the running service.
function __fairlane_values
    set -l tokens (commandline -opc)
    set -l where
    for i in (seq (count $tokens))
        switch $tokens[$i]
            case -c --config
                set where --config $tokens[(math $i + 1)]
            case -a --address
                set where --address $tokens[(math $i + 1)]
        end
    end
    $tokens[1] completion-values $argv[1] $where 2>/dev/null
end

complete -c fairlane -f
${tree.flatMap(commandLines).join('\n')}
`;
}
