#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { benchCommand } from './bench.ts';
import { checkConfigCommand } from './check-config.ts';
import { completionCommand, completionValuesCommand } from './completion.ts';
import { docsCommand } from './docs.ts';
import { doctorCommand } from './doctor.ts';
import { drainCommand } from './drain.ts';
import { envoyConfigCommand } from './envoy-config.ts';
import { exitCodesText } from './exit-codes.ts';
import { explainCommand } from './explain.ts';
import { invoiceCommand } from './invoice.ts';
import { keyCommand } from './key.ts';
import { ledgerCommand } from './ledger.ts';
import { modelsCommand } from './models.ts';
import { hashesArePredictable, nodeProblem } from './node-version.ts';
import { ratelimitCommand } from './ratelimit.ts';
import { UserError } from './running.ts';
import { serveCommand } from './serve.ts';
import { simulateCommand } from './simulate.ts';
import { startCommand } from './start.ts';
import { statusCommand } from './status.ts';
import { tenantCommand } from './tenant.ts';
import { tenantsCommand } from './tenants.ts';
import { printError } from './terminal.ts';
import { topCommand } from './top.ts';
import { usageCommand } from './usage.ts';

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

const MORE_HELP = `
Exit codes: 0 if all is well; 1 if a command failed, found a problem or was called wrongly. Each command's help has its own.
In a clone: npm run --silent fairlane -- COMMAND.`;

const program = new Command('fairlane')
  .description('Shares LLM engines fairly between tenants: an Envoy sidecar for vLLM and its kind.')
  .version(version)
  .showHelpAfterError('(see --help)')
  .addHelpText('after', MORE_HELP)
  .addCommand(startCommand())
  .addCommand(serveCommand())
  .addCommand(simulateCommand())
  .addCommand(checkConfigCommand())
  .addCommand(benchCommand())
  .addCommand(doctorCommand())
  .addCommand(drainCommand())
  .addCommand(explainCommand())
  .addCommand(statusCommand())
  .addCommand(topCommand())
  .addCommand(modelsCommand())
  .addCommand(tenantsCommand())
  .addCommand(ratelimitCommand())
  .addCommand(ledgerCommand())
  .addCommand(envoyConfigCommand())
  .addCommand(usageCommand())
  .addCommand(invoiceCommand())
  .addCommand(completionCommand())
  .addCommand(completionValuesCommand(), { hidden: true })
  .addCommand(tenantCommand())
  .addCommand(keyCommand())
  .addCommand(docsCommand(), { hidden: true });

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
  printError(`fairlane: ${error instanceof Error ? error.message : String(error)}`);
  process.exit(1);
});
