/** The console's page, built and opened in a browser that notes what is wrong with it. */
import { execFileSync } from 'node:child_process';
import type { Browser, Page } from 'playwright-core';

/** Builds the page into dist/console, where the service finds it, as it is shipped: a test's NODE_ENV would make another one. */
export const buildConsole = (): void => {
  execFileSync('npm', ['run', '--silent', 'build:console'], {
    env: { ...process.env, NODE_ENV: 'production' },
  });
};

export interface OpenedConsole {
  readonly page: Page;
  /** Errors of the page's own, what its rules refused, and requests to elsewhere. */
  readonly wrong: string[];
}

/** Opens the console at its URL, with a `/` at the end, and waits for a request's line. */
export async function openConsole(
  browser: Browser,
  url: string,
  options: Parameters<Browser['newPage']>[0] = {},
): Promise<OpenedConsole> {
  const page = await browser.newPage(options);
  const wrong: string[] = [];
  await page.route(
    (to) => !to.href.startsWith(url) && to.protocol !== 'data:',
    async (route) => {
      wrong.push(`elsewhere: ${route.request().url()}`);
      await route.abort();
    },
  );
  page.on('pageerror', (error) => wrong.push(String(error)));
  page.on('console', (message) => {
    if (message.type() === 'error') wrong.push(message.text());
  });
  await page.goto(url);
  await page.waitForSelector('[data-request]');
  return { page, wrong };
}

/** Text of the page with plain spaces for its thin ones. */
export const textOf = async (page: Page, selector: string): Promise<string> =>
  (await page.locator(selector).innerText()).replaceAll('\u202f', ' ').replaceAll(/\s+/g, ' ').trim();

/** Runs in the page: each element that has text of its own, with its contrast against what is behind it (WCAG 2). */
export const CONTRASTS = `(() => {
  const parts = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([red, green, blue]) => 0.2126 * light(red) + 0.7152 * light(green) + 0.0722 * light(blue);
  const groundOf = (element) => {
    for (let at = element; at !== null; at = at.parentElement) {
      const colour = parts(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.body.querySelectorAll('*')) {
    const own = [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.textContent.trim());
    if (own.join('') === '' || element.getClientRects().length === 0 || element.closest('option') !== null) continue;
    const [ink, ground] = [luminance(parts(getComputedStyle(element).color)), luminance(groundOf(element))];
    found.push({
      text: own.join(' ').slice(0, 40),
      contrast: (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05),
    });
  }
  return found;
})()`;
