/** The simulator as a process of its own, as an engine is: its work never delays the service's. */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export interface RunningSimulator {
  readonly url: string;
  readonly pid: number;
  readonly exited: Promise<void>;
  /** Asks it to end, and ends it when it has not after a second. */
  stop(): Promise<void>;
  kill(): void;
}

const CLI = fileURLToPath(new URL('../cli/index', import.meta.url));
const READY_MS = 15_000;
const STOP_MS = 1_000;

/** Starts `fairlane simulate` on a free port of the loopback interface. It ends with this process. */
export async function startSimulatorProcess(options: {
  readonly profile: string;
  readonly model: string;
}): Promise<RunningSimulator> {
  // Sources run by tsx or the build: the child runs what this process runs.
  const file = CLI + (import.meta.url.endsWith('.ts') ? '.ts' : '.js');
  const args = ['simulate', '--port', '0', '--profile', options.profile, '--model', options.model];
  const child: ChildProcess = fork(file, [...args, '--exit-with-parent'], {
    // Its own group: the terminal's Ctrl-C is for the parent, which lets running requests finish first.
    detached: true,
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const url = await new Promise<string>((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new Error(`the simulator was not ready in ${READY_MS} ms`));
    }, READY_MS);
    child.once('message', (message: { readonly url?: string }) => {
      clearTimeout(timer);
      if (message.url === undefined) reject(new Error('the simulator did not say where it listens'));
      else resolve(message.url);
    });
    child.once('exit', (code) => {
      clearTimeout(timer);
      reject(new Error(`the simulator ended at once (exit code ${code})`));
    });
  });
  return {
    url,
    pid: child.pid ?? 0,
    exited,
    async stop() {
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
      await exited;
      clearTimeout(timer);
    },
    kill: () => void child.kill('SIGKILL'),
  };
}
