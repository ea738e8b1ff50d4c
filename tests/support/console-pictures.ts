/**
 * `npm run pictures:console [-- SECONDS]`: pictures of the console for docs/pictures, of a live run: the demo as `npm start` runs it
 * (the service, a real Envoy, the simulator) under the load of `fairlane load`. It needs a build.
 */
import { mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { startChromium } from './chromium.ts';
import { runCli } from './serve.ts';

const FOLDER = join(import.meta.dirname, '../../docs/pictures');
const PROGRAM = [join(import.meta.dirname, '../../dist/cli/index.js')];
const MOST_BYTES = 150 * 1024;
const START_MS = 120_000;
const WIDE = { width: 1_240, height: 900 };
const PHONE = { width: 360, height: 740 };

/** What the demo's banner says. @throws where it does not. */
function saidBy(banner: string, pattern: RegExp): string {
  const [, found] = pattern.exec(banner) ?? [];
  if (found === undefined) throw new Error(`the banner has no ${pattern}:\n${banner}`);
  return found;
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Opens the console and waits for its chart. */
async function opened(
  browser: Browser,
  url: string,
  options: Parameters<Browser['newPage']>[0],
): Promise<Page> {
  const page = await browser.newPage({ reducedMotion: 'reduce', ...options });
  await page.goto(url);
  await page.waitForSelector('.chart canvas');
  await page.waitForSelector('[data-request]');
  await sleep(1_500);
  return page;
}

async function taken(page: Page, name: string, fullPage = false): Promise<void> {
  const path = join(FOLDER, `console-${name}.png`);
  await page.screenshot({ path, fullPage });
  const { size } = statSync(path);
  console.log(`${path}: ${Math.ceil(size / 1024)} KiB`);
  if (size > MOST_BYTES) throw new Error(`${path} has ${size} bytes, of ${MOST_BYTES}`);
}

async function takePictures(browser: Browser, url: string): Promise<void> {
  const light = await opened(browser, url, { viewport: WIDE, colorScheme: 'light' });
  const dark = await opened(browser, url, { viewport: WIDE, colorScheme: 'dark' });
  const phone = await opened(browser, url, {
    viewport: PHONE,
    colorScheme: 'light',
    deviceScaleFactor: 1.5,
    isMobile: true,
    hasTouch: true,
  });
  await taken(light, 'light');
  await taken(dark, 'dark');
  await taken(phone, 'phone');
  // The waits of a noisy one say more than a quiet one's.
  await light.fill('input[aria-label="Tenants whose name has"]', 'noisy');
  await light.click('tr[data-outcome=completed] button[data-open]');
  await light.waitForSelector('dialog[open] .phases');
  await light.click('dialog[open] p button');
  await light.waitForSelector('dialog[open] [role=status]:not(:empty)');
  await light.evaluate('scrollTo(0, 0)');
  await taken(light, 'request');
}

const seconds = Number(process.argv[2] ?? 45);
mkdirSync(FOLDER, { recursive: true });
const demo = runCli(['start', '--demo'], { ...process.env, NO_COLOR: '1' }, PROGRAM);
try {
  await demo.until('Ctrl-C drains and stops.', START_MS);
  const url = saidBy(demo.stdout(), /console +(http\S+)/);
  const api = saidBy(demo.stdout(), /API +(http\S+)/);
  const load = runCli(['load', '--url', api, '--seconds', String(seconds + 60)], process.env, PROGRAM);
  try {
    await sleep(1_000 * seconds);
    const browser = await startChromium();
    try {
      await takePictures(browser, url);
    } finally {
      await browser.close();
    }
  } finally {
    load.child.kill('SIGINT');
    await load.exited;
  }
} finally {
  demo.child.kill('SIGINT');
  await demo.exited;
}
