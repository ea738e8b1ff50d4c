import { Command } from 'commander';
import { passedText, readLimits } from '../rate-limit-service/fs-limits.ts';
import { print, printError } from './terminal.ts';

/** `fairlane ratelimit check`: rate limit files, for CI. */
export function ratelimitCommand(): Command {
  return new Command('ratelimit')
    .description('The rate limit service (envoy.service.ratelimit.v3).')
    .addCommand(
      new Command('check')
        .description('Check rate limit files, or a folder of them, in the language of envoyproxy/ratelimit.')
        .argument('<paths...>', 'files or folders')
        .option('--merge-domains', 'a domain may be spread over files', false)
        .action((paths: readonly string[], { mergeDomains }: { mergeDomains: boolean }) => {
          let bad = 0;
          for (const directory of paths) {
            const loaded = readLimits({ directory, mergeDomains });
            if (loaded.kind === 'ok') {
              for (const one of loaded.passed) printError(`warning: ${passedText(one)}`);
              print(`${directory}: ok, domains ${[...loaded.domains.keys()].join(', ')}`);
            } else {
              bad += 1;
              printError(loaded.problem);
            }
          }
          process.exit(bad === 0 ? 0 : 1);
        }),
    );
}
