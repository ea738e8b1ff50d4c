/** This process, as the owner of its folder of the spool. */
import { readFileSync, readlinkSync } from 'node:fs';
import type { SpoolOwner } from './owner.ts';

const quietly = <T>(read: () => T): T | undefined => {
  try {
    return read();
  } catch {
    return undefined;
  }
};

/** In clock ticks since the kernel began: field 22 of /proc/PID/stat, counted behind the name, which may have anything in it. */
export const startOf = (pid: number): string | undefined =>
  quietly(() => {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  });

export function thisOwner(): SpoolOwner {
  const boot = quietly(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()) ?? '';
  const namespace = quietly(() => readlinkSync('/proc/self/ns/pid')) ?? '';
  return { pid: process.pid, started: startOf(process.pid), namespace: `${boot} ${namespace}` };
}
