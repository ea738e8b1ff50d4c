/** CPU time that this process has taken so far, in milliseconds: what else runs on the machine does not add to it. */
export function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
}
