/** A mistake of the user's: told without a stack. Exit code 1. */
export class UserError extends Error {}
