/** What a log says of something that was thrown: its stack, where it has one. */
export const textOf = (error: unknown): string =>
  error instanceof Error ? (error.stack ?? error.message) : String(error);

/** What somebody is told of it: its message alone. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
