/** The exit codes of each command, for its help. */

const OK = '0 if all is well';
const FAILED = '1 if it failed or was called wrongly (standard error says why)';
const STOPPED = '130 if a second Ctrl-C stopped it at once';

/** Besides 0 and 1 as every command has them, or instead of them. */
const BY_COMMAND: ReadonlyMap<string, readonly string[]> = new Map([
  ['start', ['0 after it has drained', FAILED, STOPPED]],
  ['serve', ['0 after it has drained', FAILED, STOPPED]],
  ['check-config', ['0 if the configuration is good', '1 if it is not, or the command was called wrongly']],
  ['bench', [OK, FAILED, STOPPED]],
  ['load', ['0 at its end, or the first Ctrl-C’s', FAILED, STOPPED]],
  ['doctor', ['0 if there is no problem (warnings are none)', '1 if there is one']],
  ['explain', ['0 if the service would take the request', FAILED, '2 if the service would refuse it']],
  ['check', ['0 if all is good', '1 if something is not, or the command was called wrongly']],
  ['docs', ['0 if the files are up to date', '1 if one is not, or the command failed']],
]);

/** One line for the end of a command's help. */
export function exitCodesText(command: string): string {
  return `\nExit codes: ${(BY_COMMAND.get(command) ?? [OK, FAILED]).join('; ')}.`;
}
