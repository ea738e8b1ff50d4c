/** A program on a terminal of its own: tests/support/terminal.py holds the terminal. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const SCRIPT = fileURLToPath(new URL('terminal.py', import.meta.url));

interface TerminalEnd {
  /** Negative: the signal that ended it; null: it did not end. */
  readonly code: number | null;
  /** What was written since the last `clear`. */
  readonly output: string;
  /** The terminal's settings are those of before; null: it was closed. */
  readonly same: boolean | null;
}

export interface Terminal {
  type(text: string): Promise<void>;
  resize(columns: number, rows: number): Promise<void>;
  signal(name: 'TERM' | 'INT' | 'HUP' | 'CONT'): Promise<void>;
  /** Resolves with what was written once the text is in it. @throws when it does not come. */
  until(text: string): Promise<string>;
  clear(): Promise<void>;
  hangUp(): Promise<void>;
  /** Waits for the end. */
  end(): Promise<TerminalEnd>;
}

export function onTerminal(
  columns: number,
  rows: number,
  program: readonly string[],
  env = process.env,
): Terminal {
  const python = spawn('python3', [SCRIPT, String(columns), String(rows), ...program], {
    env,
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const answers = createInterface({ input: python.stdout })[Symbol.asyncIterator]();
  const step = async (what: Readonly<Record<string, unknown>>): Promise<unknown> => {
    python.stdin.write(`${JSON.stringify(what)}\n`);
    const { value, done } = await answers.next();
    if (done === true) throw new Error('the terminal is gone');
    return JSON.parse(value) as unknown;
  };
  return {
    type: async (text) => void (await step({ type: text })),
    resize: async (width, height) => void (await step({ resize: [height, width] })),
    signal: async (name) => void (await step({ signal: name })),
    async until(text) {
      const answer = (await step({ until: text })) as { readonly found: boolean; readonly output: string };
      if (!answer.found) throw new Error(`never shown: ${text}\n${answer.output}`);
      return answer.output;
    },
    clear: async () => void (await step({ clear: true })),
    hangUp: async () => void (await step({ 'hang-up': true })),
    async end() {
      const end = (await step({ exit: true })) as TerminalEnd;
      python.stdin.end();
      return end;
    },
  };
}
