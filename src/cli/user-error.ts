/** A mistake of the user's: told without a stack. Exit code 1. */
export class UserError extends Error {}

/** @param what has them: "the configuration". */
export function problemsError(what: string, problems: readonly string[]): UserError {
  const { length } = problems;
  const lines = problems.map((problem) => `\n  ${problem}`).join('');
  return new UserError(`${what} has ${length} problem${length === 1 ? '' : 's'}:${lines}`);
}
