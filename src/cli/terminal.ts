/** What the commands say. Names in it are from files, clients and engines: a terminal is not to obey them. */
import { harmless, harmlessLines } from '../domain/harmless.ts';
import { widthFor, wrapped } from '../domain/text-table.ts';

/** Whether to write in colours: on a terminal that knows them, unless its user wants none (no-color.org). */
export const hasColour = ({ isTTY }: { readonly isTTY?: boolean }): boolean =>
  isTTY === true && (process.env['NO_COLOR'] ?? '') === '' && process.env['TERM'] !== 'dumb';

/** To stdout. */
export const print = (text: string): void => console.log(harmlessLines(text));

/** To stderr. */
export const printError = (text: string): void => console.error(harmlessLines(text));

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
