/** `fairlane serve` as a process of its own, as it runs beside an Envoy that somebody else started. */
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const CLI = fileURLToPath(new URL('../../src/cli/index.ts', import.meta.url));

/** Arguments of Node.js: the build, where Vitest made one (tests/support/program.ts), or else the sources. */
export function fairlaneProgram(): readonly string[] {
  const built = process.env['FAIRLANE_TEST_PROGRAM'];
  return built === undefined ? ['--import', 'tsx', CLI] : [built];
}

export interface CliProcess {
  readonly child: ChildProcess;
  readonly stdout: () => string;
  readonly stderr: () => string;
  readonly exited: Promise<number | null>;
  /** Resolves once the text has been said, rejects when the process ends before. */
  until(text: string, withinMs?: number): Promise<void>;
}

/** @param program arguments of Node.js that run the program. @param cwd the folder that it runs in; another one needs a build. */
export function runCli(
  args: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
  program: readonly string[] = fairlaneProgram(),
  cwd: string = process.cwd(),
): CliProcess {
  const child = spawn(process.execPath, [...program, ...args], {
    env,
    cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  let ended = false;
  const exited = new Promise<number | null>((resolve) => {
    child.once('close', (code) => {
      ended = true;
      resolve(code);
    });
  });
  return {
    child,
    stdout: () => stdout,
    stderr: () => stderr,
    exited,
    async until(text, withinMs = 60_000) {
      const deadline = Date.now() + withinMs;
      while (!stdout.includes(text) && !stderr.includes(text)) {
        if (ended || Date.now() > deadline) throw new Error(`never said "${text}":\n${stdout}\n${stderr}`);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    },
  };
}
