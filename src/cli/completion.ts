import { Argument, Command } from 'commander';
import { DEFAULT_STATUS_QUERY, MOST_TENANT_ROWS, type StatusReport } from '../admin/status.ts';
import { bashCompletion } from './completion-bash.ts';
import { fishCompletion } from './completion-fish.ts';
import { type CompletedCommand, completionTree, RUNNING_KINDS, type RunningKind } from './completion-tree.ts';
import { zshCompletion } from './completion-zsh.ts';
import { addressOf, addressOption, askStatus, configOfRunning, type Where } from './status-client.ts';
import { print } from './terminal.ts';

const SCRIPTS: Readonly<Record<'bash' | 'zsh' | 'fish', (tree: readonly CompletedCommand[]) => string>> = {
  bash: bashCompletion,
  zsh: zshCompletion,
  fish: fishCompletion,
};

const EXAMPLES = `
Examples:
  source <(fairlane completion bash)                                    # in ~/.bashrc
  source <(fairlane completion zsh)                                     # in ~/.zshrc, after compinit
  fairlane completion fish > ~/.config/fish/completions/fairlane.fish
`;

/** `fairlane completion`: a script that teaches a shell the commands, their options and values. */
export function completionCommand(): Command {
  return new Command('completion')
    .description(
      'Print a script that completes commands, options and values in a shell. Names of tenants, models and endpoints come from the running service, where that answers within 300 ms.',
    )
    .addArgument(new Argument('<shell>', 'bash, zsh or fish').choices(Object.keys(SCRIPTS)))
    .addHelpText('after', EXAMPLES)
    .action((shell: keyof typeof SCRIPTS, _options: unknown, command: Command) => {
      print(SCRIPTS[shell](completionTree(command.parent ?? command)).trimEnd());
    });
}

/** Nobody waits longer for a name. */
const PATIENCE_MS = 300;

const NAMES: Readonly<Record<RunningKind, (report: StatusReport) => readonly string[]>> = {
  tenants: ({ tenants }) => tenants.rows.map(({ name }) => name),
  models: ({ models = [] }) => models.flatMap(({ name, aliases }) => [name, ...aliases]),
  endpoints: ({ pools }) => pools.flatMap(({ endpoints }) => endpoints.map(({ name }) => name)),
};

/** For the scripts alone: names that the running service knows, one a line; nothing where it does not answer. */
export function completionValuesCommand(): Command {
  return new Command('completion-values')
    .addArgument(new Argument('<what>').choices(RUNNING_KINDS))
    .addOption(configOfRunning())
    .addOption(addressOption())
    .action(async (what: RunningKind, options: Where) => {
      const query = {
        ...DEFAULT_STATUS_QUERY,
        tenants: what === 'tenants' ? MOST_TENANT_ROWS : 0,
        sort: 'name',
        idle: true,
        models: what === 'models',
      } as const;
      try {
        const { report } = await askStatus(addressOf(options), query, PATIENCE_MS);
        const names = NAMES[what](report);
        if (names.length > 0) print([...new Set(names)].join('\n'));
      } catch {
        // Who completes a word is not to be told what is wrong with the service.
      }
    });
}
