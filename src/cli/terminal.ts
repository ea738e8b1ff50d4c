/** What the commands say. Names in it are from files, clients and engines: a terminal is not to obey them. */
import { harmless, harmlessLines } from '../domain/harmless.ts';

/** To stdout. */
export const print = (text: string): void => console.log(harmlessLines(text));

/** To stderr. */
export const printError = (text: string): void => console.error(harmlessLines(text));

/** To stdout, on one line. @param mark in colour, so it is written as it is. */
export const printMarked = (mark: string, text: string): void => console.log(`${mark}  ${harmless(text)}`);
