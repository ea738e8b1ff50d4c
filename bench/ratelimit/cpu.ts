/** Tells the parent this process's CPU time so far, in µs, and how many commands it sent to Redis, when it asks. */
export function cpuWhenAsked(commands: () => number = () => 0): void {
  process.on('message', (message) => {
    if (message !== 'cpu') return;
    const { user, system } = process.cpuUsage();
    process.send?.({ kind: 'cpu', us: user + system, commands: commands() });
  });
  process.on('disconnect', () => process.exit(0));
}
