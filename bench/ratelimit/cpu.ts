/** Tells the parent this process's CPU time so far, in µs, when it asks. */
export function cpuWhenAsked(): void {
  process.on('message', (message) => {
    if (message !== 'cpu') return;
    const { user, system } = process.cpuUsage();
    process.send?.({ kind: 'cpu', us: user + system });
  });
  process.on('disconnect', () => process.exit(0));
}
