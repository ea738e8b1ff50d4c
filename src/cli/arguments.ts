/** Options that commands share, and how what is written after an option is read. */
import { existsSync } from 'node:fs';
import { InvalidArgumentError, Option } from 'commander';
import { LOG_FORMATS } from '../config/config.ts';

/** Where the configuration is unless a command is told. */
export const DEFAULT_CONFIG = 'fairlane.yaml';

/** @param what whose configuration it is. */
export const configOption = (what = 'configuration (YAML)'): Option =>
  new Option('-c, --config <file>', what).default(DEFAULT_CONFIG);

/** Whether there is a configuration where one is looked for. */
export const hasDefaultConfig = (): boolean => existsSync(DEFAULT_CONFIG);

export const logFormatOption = (): Option =>
  new Option(
    '--log-format <format>',
    'how log lines look: pretty, json, or auto (pretty on a terminal, else json); default: log.format of the configuration',
  ).choices(LOG_FORMATS);

/**
 * Reads a whole number written in digits.
 *
 * @param what it is, for the message: "a port".
 * @param hint said after the message.
 */
export const wholeNumber =
  (what: string, min: number, max: number, hint = '') =>
  (text: string): number => {
    const number = Number(text);
    if (/^\d{1,15}$/.test(text) && number >= min && number <= max) return number;
    throw new InvalidArgumentError(`${what} is a whole number from ${min} to ${max}${hint}`);
  };

/** Threads of Envoy; far above any machine's cores, far below what ends one. */
export const MOST_THREADS = 1_024;

export const threadsArgument = wholeNumber(
  'a number of threads',
  1,
  MOST_THREADS,
  '; without the option Envoy takes one per core, and it would take 0 for 1',
);

export const portArgument = wholeNumber('a port', 0, 65_535);

export function textArgument(text: string): string {
  if (text.trim() !== '') return text;
  throw new InvalidArgumentError('it is empty');
}
