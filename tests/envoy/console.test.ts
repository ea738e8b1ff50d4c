/** The console's page in a real Chromium, under the rules (CSP) that the service sends it with. */
import { execFileSync } from 'node:child_process';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { aConsoleStatus, aLine, aTenantRow, aUsage } from '../support/a-console.ts';
import { startChromium } from '../support/chromium.ts';
import { type ConsoleFeed, startConsoleFeed } from '../support/console-feed.ts';

const TENANTS = [aTenantRow('quiet'), aTenantRow('noisy', { inFlight: 7, waiting: 6, ttftP50Ms: 4_100 })];
const NOISY = aLine('n1', {
  tenant: 'noisy',
  quiet: false,
  queueMs: 4_000,
  ttftMs: 4_100,
  durationMs: 5_000,
});

let browser: Browser;
let feed: ConsoleFeed;
beforeAll(async () => {
  execFileSync('npm', ['run', '--silent', 'build:console']);
  browser = await startChromium();
});
afterAll(() => browser.close());
beforeEach(async () => {
  feed = await startConsoleFeed();
  feed.status(aConsoleStatus(TENANTS));
  feed.usage(aUsage(['quiet', 'noisy']));
  feed.requests([aLine('q1'), NOISY]);
  return () => feed.close();
});

interface Opened {
  readonly page: Page;
  /** Errors of the page's own, and requests to elsewhere. */
  readonly wrong: readonly string[];
}

async function open(options: Parameters<Browser['newPage']>[0] = {}): Promise<Opened> {
  const page = await browser.newPage(options);
  const wrong: string[] = [];
  const own = feed.url;
  await page.route(
    (url) => !url.href.startsWith(own) && url.protocol !== 'data:',
    async (route) => {
      wrong.push(`elsewhere: ${route.request().url()}`);
      await route.abort();
    },
  );
  page.on('pageerror', (error) => wrong.push(String(error)));
  page.on('console', (message) => {
    if (message.type() === 'error') wrong.push(message.text());
  });
  await page.goto(own);
  await page.waitForSelector('[data-request]');
  return { page, wrong };
}

describe('the console', () => {
  test('says in words who waits and why, draws it, and asks nobody else', async () => {
    const { page, wrong } = await open();
    const said = (await page.textContent('.headline'))?.replaceAll('\u202f', ' ');
    expect(said).toBe(
      'quiet waits 58 ms for its first token. noisy waits 4.1 s for its first token: it asks for 3.3 times its share. The engine is 100 % full.',
    );
    expect(await page.locator('.chart canvas').count()).toBe(1);
    expect(wrong).toEqual([]);
    expect(feed.bytes()).toBeLessThan(60_000);
    await page.close();
  });

  test('is there within three seconds, and shows what has ended within one', async () => {
    const { page } = await open();
    const readyMs = await page.evaluate('performance.now()');
    expect(readyMs).toBeLessThan(3_000);
    const startMs = performance.now();
    feed.requests([aLine('fresh')]);
    await page.waitForSelector('[data-request=fresh]');
    expect(performance.now() - startMs).toBeLessThan(1_000);
    await page.close();
  });

  test('opens a request by the keyboard alone, and Esc closes it', async () => {
    const { page } = await open();
    const focused = () => page.evaluate('document.activeElement.matches("[data-open]")');
    for (let i = 0; i < 60 && !(await focused()); i += 1) await page.keyboard.press('Tab');
    expect(await focused()).toBe(true);
    await page.keyboard.press('Enter');
    await page.waitForSelector('dialog[open] .phases');
    await page.keyboard.press('Escape');
    await page.waitForSelector('dialog', { state: 'detached' });
    expect(await focused()).toBe(true);
    await page.close();
  });

  test('shows hostile names as text, on a phone too, without a horizontal scroll', async () => {
    const names = ['<img src=x onerror=alert(1)>', 'x'.repeat(10_000), '\u202Eevil', '👩‍👩‍👧'.repeat(500)];
    const many = Array.from({ length: 1_000 }, (_, i) => aTenantRow(`tenant-${i}`));
    feed.status(aConsoleStatus([...names.map((name) => aTenantRow(name, { waiting: 3 })), ...many]));
    feed.requests(names.map((tenant, i) => aLine(`h${i}`, { tenant, model: tenant, lane: tenant })));
    const { page, wrong } = await open({ viewport: { width: 360, height: 740 } });
    expect(await page.locator('img').count()).toBe(0);
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(360);
    expect(await page.locator('tr').count()).toBeLessThan(200);
    expect(wrong).toEqual([]);
    await page.close();
  });

  test('says that the service is away, and comes back by itself', async () => {
    const { page } = await open();
    const port = Number(new URL(feed.url).port);
    await feed.close();
    await page.waitForSelector('[data-link=away]');
    feed = await startConsoleFeed(port);
    feed.status(aConsoleStatus(TENANTS));
    feed.requests([aLine('after')]);
    await page.waitForSelector('[data-request=after]', { timeout: 20_000 });
    expect(await page.getAttribute('.link', 'data-link')).toBe('live');
    await page.close();
  });
});
