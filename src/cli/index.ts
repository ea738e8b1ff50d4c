#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { messageOf } from '../domain/text-of.ts';
import { readCommit, versionText } from './build-info.ts';
import { exitCodesText } from './exit-codes.ts';
import { hashesArePredictable, nodeProblem } from './node-version.ts';
import { printError } from './terminal.ts';
import { UserError } from './user-error.ts';

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

const MORE_HELP = `
Exit codes: 0 if all is well; 1 if a command failed, found a problem or was called wrongly. Each command's help has its own.
In a clone: npm run --silent fairlane -- COMMAND.`;

/** In the order of the help. Each is loaded when it is asked for: most of a short command's time would be the others' code. */
const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  start: async () => (await import('./start.ts')).startCommand(),
  serve: async () => (await import('./serve.ts')).serveCommand(),
  simulate: async () => (await import('./simulate.ts')).simulateCommand(),
  'check-config': async () => (await import('./check-config.ts')).checkConfigCommand(),
  bench: async () => (await import('./bench.ts')).benchCommand(),
  doctor: async () => (await import('./doctor.ts')).doctorCommand(),
  drain: async () => (await import('./drain.ts')).drainCommand(),
  explain: async () => (await import('./explain.ts')).explainCommand(),
  status: async () => (await import('./status.ts')).statusCommand(),
  top: async () => (await import('./top.ts')).topCommand(),
  models: async () => (await import('./models.ts')).modelsCommand(),
  tenants: async () => (await import('./tenants.ts')).tenantsCommand(),
  ratelimit: async () => (await import('./ratelimit.ts')).ratelimitCommand(),
  ledger: async () => (await import('./ledger.ts')).ledgerCommand(),
  'envoy-config': async () => (await import('./envoy-config.ts')).envoyConfigCommand(),
  usage: async () => (await import('./usage.ts')).usageCommand(),
  invoice: async () => (await import('./invoice.ts')).invoiceCommand(),
  completion: async () => (await import('./completion.ts')).completionCommand(),
  'completion-values': async () => (await import('./completion.ts')).completionValuesCommand(),
  tenant: async () => (await import('./tenant.ts')).tenantCommand(),
  key: async () => (await import('./key.ts')).keyCommand(),
  docs: async () => (await import('./docs.ts')).docsCommand(),
};
const HIDDEN = new Set(['completion-values', 'docs']);
/** They tell of all others. */
const WHOLE = new Set(['completion', 'docs']);

/** The names of those that the arguments of a process ask for. */
function askedFor(args: readonly string[]): readonly string[] {
  const [first = ''] = args;
  if (Object.hasOwn(COMMANDS, first) && !WHOLE.has(first)) return [first];
  return first === '--version' || first === '-V' ? [] : Object.keys(COMMANDS);
}

const program = new Command('fairlane')
  .description('Shares LLM engines fairly between tenants: an Envoy sidecar for vLLM and its kind.')
  .version(versionText(version, readCommit(), process.versions.node))
  .showHelpAfterError('(see --help)')
  .addHelpText('after', MORE_HELP);
for (const name of askedFor(process.argv.slice(2))) {
  const command = await COMMANDS[name]?.();
  if (command !== undefined) program.addCommand(command, { hidden: HIDDEN.has(name) });
}

for (const command of program.commands) {
  command.copyInheritedSettings(program);
  for (const one of [command, ...command.commands]) one.addHelpText('after', exitCodesText(one.name()));
}

const SERVING = new Set(['start', 'serve', 'simulate']);
program.hook('preAction', (_, action) => {
  if (SERVING.has(action.name())) {
    const problem = nodeProblem(process.versions.node, () => hashesArePredictable(() => performance.now()));
    if (problem !== undefined) throw new UserError(problem);
    return;
  }
  // Whoever reads has enough, as `head` does: the end is that of a process that SIGPIPE ended.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit(141);
  });
});

program.parseAsync().catch((error: unknown) => {
  printError(`fairlane: ${messageOf(error)}`);
  process.exit(1);
});
