/** What the commands say. Names in it are from files, clients and engines: a terminal is not to obey them. */
import { harmless, harmlessLines } from '../domain/harmless.ts';

/** Whether to write in colours: on a terminal that knows them, unless its user wants none (no-color.org). */
export const hasColour = ({ isTTY }: { readonly isTTY?: boolean }): boolean =>
  isTTY === true && (process.env['NO_COLOR'] ?? '') === '' && process.env['TERM'] !== 'dumb';

/** To stdout. */
export const print = (text: string): void => console.log(harmlessLines(text));

/** To stderr. */
export const printError = (text: string): void => console.error(harmlessLines(text));

/** To stdout, on one line. @param mark in colour, so it is written as it is. */
export const printMarked = (mark: string, text: string): void => console.log(`${mark}  ${harmless(text)}`);
