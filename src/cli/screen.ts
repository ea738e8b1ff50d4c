/**
 * A terminal that is drawn over and over, and given back as it was: at the end, on signals, and after a crash. What is drawn goes to
 * the alternate screen, with the cursor hidden and without wrapping.
 */
import { writeSync } from 'node:fs';
import { textWidth } from '../domain/text-width.ts';
import type { Line } from './status-view.ts';
import { isTerminalGone, leaveTerminal, styled } from './terminal.ts';

const ENTER = '\u001b[?1049h\u001b[?25l\u001b[?7l\u001b[H\u001b[2J';
const LEAVE = '\u001b[?7h\u001b[?25h\u001b[?1049l';
const HOME = '\u001b[H';
/** To the end of a line, and of the screen. */
const REST_OF_LINE = '\u001b[K';
const REST_OF_SCREEN = '\u001b[J';

export interface ScreenEvents {
  readonly onTyped: (typed: string) => void;
  /** It has another size now, or shows something of another program's. */
  readonly onChanged: () => void;
  readonly onEnd: () => void;
}

const { stdin, stdout } = process;

export class Screen {
  readonly #events: ScreenEvents;
  readonly #hasColour: boolean;
  #isEntered = false;
  /** A signal: an end that was asked for. */
  readonly #end = (): void => {
    if (isTerminalGone()) {
      // Nothing is left to give back, and writes to it fail.
      this.#isEntered = false;
      leaveTerminal();
    }
    this.#events.onEnd();
  };
  readonly #typed = (data: Buffer): void => this.#events.onTyped(data.toString('utf8'));
  readonly #changed = (): void => this.#events.onChanged();
  readonly #resumed = (): void => {
    this.#enter();
    this.#events.onChanged();
  };
  readonly #leave = (): void => this.leave();

  constructor(events: ScreenEvents, hasColour: boolean) {
    this.#events = events;
    this.#hasColour = hasColour;
  }

  get hasKeys(): boolean {
    return stdin.isTTY;
  }

  get size(): { readonly columns: number; readonly rows: number } {
    // A terminal that does not know its size says 0.
    return { columns: stdout.columns || 80, rows: stdout.rows || 24 };
  }

  open(): void {
    process.on('exit', this.#leave);
    // Before Node.js prints what is wrong: it would be lost with the screen.
    process.on('uncaughtExceptionMonitor', this.#leave);
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const) process.on(signal, this.#end);
    process.on('SIGCONT', this.#resumed);
    stdout.on('resize', this.#changed);
    // A terminal that is gone: its signal may come later.
    for (const stream of [stdin, stdout]) stream.on('error', this.#end);
    if (stdin.isTTY) stdin.on('data', this.#typed).on('end', this.#end);
    this.#enter();
  }

  /** Gives the terminal back, and hears nothing any more. */
  close(): void {
    this.leave();
    stdin.off('data', this.#typed).pause();
    stdout.off('resize', this.#changed);
    process.off('SIGCONT', this.#resumed);
  }

  /** Gives the terminal back. It may be entered again. */
  leave(): void {
    if (!this.#isEntered) return;
    this.#isEntered = false;
    try {
      if (stdin.isTTY) stdin.setRawMode(false);
      writeSync(stdout.fd, LEAVE);
    } catch {
      // It is gone.
    }
  }

  /** Stops this process, and those that it was started with, as Ctrl-Z does; it is drawn again when it goes on. */
  suspend(): void {
    this.leave();
    process.kill(0, 'SIGTSTP');
  }

  /** @param lines as many as there are rows at most, none wider than the columns. */
  draw(lines: readonly Line[]): void {
    if (!this.#isEntered) return;
    const { columns } = this.size;
    // At its end a line that is full would lose its last character.
    const endOf = ({ text }: Line): string => (textWidth(text) < columns ? REST_OF_LINE : '');
    const text = lines.map((line) => `${styled(line, this.#hasColour)}${endOf(line)}`).join('\r\n');
    stdout.write(`${HOME}${text}${REST_OF_SCREEN}`);
  }

  #enter(): void {
    if (this.#isEntered) return;
    this.#isEntered = true;
    if (stdin.isTTY) stdin.setRawMode(true);
    stdout.write(ENTER);
  }
}
