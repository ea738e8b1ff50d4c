/** Reads until the value is good; a value that never is fails the test and is shown. */
export const eventually = async <T>(
  read: () => T | Promise<T>,
  good: (value: T) => boolean,
  withinMs = 5_000,
): Promise<T> => {
  const until = Date.now() + withinMs;
  for (;;) {
    const value = await read();
    if (good(value)) return value;
    if (Date.now() > until) throw new Error(`not within ${withinMs} ms; last: ${JSON.stringify(value)}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
};
