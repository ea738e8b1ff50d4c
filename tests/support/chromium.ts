/** A real Chromium, without a window, that asks nobody but the page's own origin. */
import { type Browser, chromium } from 'playwright-core';
import { debianProgram } from './debian.ts';

const QUIET = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** Starts Debian's Chromium; who starts it closes it. @throws when there is none and it cannot be installed. */
export const startChromium = (): Promise<Browser> =>
  chromium.launch({ executablePath: debianProgram('chromium', 'chromium'), args: QUIET });
