/** Waits for something, and for no longer than that. @throws as it does, in time. */
export async function atMost(ms: number, done: Promise<unknown> | undefined): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const enough = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  try {
    await Promise.race([done, enough]);
  } finally {
    clearTimeout(timer);
  }
}
