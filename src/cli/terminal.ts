/** What the commands say. Names in it are from files, clients and engines: a terminal is not to obey them. */
import { closeSync, constants, openSync } from 'node:fs';
import { isatty } from 'node:tty';
import { harmless, harmlessLines } from '../domain/harmless.ts';
import { widthFor, wrapped } from '../domain/text-table.ts';

/** Whether to write in colours: on a terminal that knows them, unless its user wants none (no-color.org). */
export const hasColour = ({ isTTY }: { readonly isTTY?: boolean }): boolean =>
  isTTY === true && (process.env['NO_COLOR'] ?? '') === '' && process.env['TERM'] !== 'dumb';

/** To stdout. */
export const print = (text: string): void => console.log(harmlessLines(text));

const COLOURS = {
  plain: '',
  heading: '\u001b[1m',
  good: '\u001b[32m',
  warning: '\u001b[33m',
  bad: '\u001b[31m',
};

interface StyledLine {
  readonly text: string;
  readonly style: keyof typeof COLOURS;
}

/** As it is written to a terminal. */
export function styled({ text, style }: StyledLine, inColour: boolean): string {
  const shown = harmlessLines(text);
  return inColour && style !== 'plain' ? `${COLOURS[style]}${shown}\u001b[0m` : shown;
}

/** To stdout, in colours where it is a terminal that knows them. */
export function printLines(lines: readonly StyledLine[]): void {
  const inColour = hasColour(process.stdout);
  console.log(lines.map((line) => styled(line, inColour)).join('\n'));
}

/** To stderr. */
export const printError = (text: string): void => console.error(harmlessLines(text));

/** Whether it was started on a terminal: a service of a system, and what nohup runs, is not. */
const onTerminal = [0, 1, 2].filter((fd) => isatty(fd));

/** The terminal that this process was started on is closed: its window, or the connection to it. */
export function isTerminalGone(): boolean {
  if (onTerminal.length === 0) return false;
  try {
    closeSync(openSync('/dev/tty', constants.O_RDONLY | constants.O_NOCTTY | constants.O_NONBLOCK));
    return false;
  } catch {
    return true;
  }
}

/** What is still said goes nowhere: a write to a terminal that is gone fails, and the log tries it again for ever. */
export function leaveTerminal(): void {
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
  // The standard input too: Node.js restores the settings of a terminal at its end, and dies where it cannot.
  for (const fd of onTerminal) {
    closeSync(fd);
    // Takes the lowest number that is free: the one that was closed.
    openSync('/dev/null', 'r+');
  }
}

const MARK_GAP = '  ';

/**
 * To stdout, on one line; on a terminal a longer text goes on below, beside the mark.
 *
 * @param mark in colour, so it is written as it is; `width`: as it is seen.
 */
export function printMarked(mark: string, text: string, width = mark.length): void {
  const shown = harmless(text);
  if (!process.stdout.isTTY) {
    console.log(`${mark}${MARK_GAP}${shown}`);
    return;
  }
  const indent = ' '.repeat(width + MARK_GAP.length);
  const lines = wrapped(shown, widthFor(process.stdout.columns) - indent.length);
  console.log(`${mark}${MARK_GAP}${lines.join(`\n${indent}`)}`);
}
