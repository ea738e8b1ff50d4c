/** The console's page in a real Chromium, under the rules (CSP) that the service sends it with. */
import { mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { aConsoleStatus, aLine, aTenantRow, aUsage } from '../support/a-console.ts';
import { startChromium } from '../support/chromium.ts';
import { chatBody, send } from '../support/client.ts';
import { type ConsoleFeed, startConsoleFeed } from '../support/console-feed.ts';
import { buildConsole, CONTRASTS, type OpenedConsole, openConsole, textOf } from '../support/console-page.ts';
import { eventually } from '../support/eventually.ts';
import { freePorts } from '../support/ports.ts';
import { answerChat, type ReadyStack, startReadyStack } from '../support/ready-engine.ts';
import { KEYS } from '../support/stack.ts';

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
  buildConsole();
  browser = await startChromium();
});
afterAll(() => browser.close());
/** Starts what a page is told by a test. */
const startFeed = async (): Promise<() => Promise<void>> => {
  // It comes back on its port.
  const [port] = await freePorts(1);
  feed = await startConsoleFeed(port);
  feed.status(aConsoleStatus(TENANTS));
  feed.usage(aUsage(['quiet', 'noisy']));
  feed.requests([aLine('q1'), NOISY]);
  return () => feed.close();
};

const open = (options: Parameters<Browser['newPage']>[0] = {}): Promise<OpenedConsole> =>
  openConsole(browser, feed.url, options);

describe('the console', () => {
  beforeEach(startFeed);

  test('says in words who waits and why, draws it, and asks nobody else', async () => {
    const { page, wrong } = await open();
    const said = (await page.textContent('.headline'))?.replaceAll('\u202f', ' ');
    expect(said).toBe(
      'quiet waits 58 ms for its first token. noisy waits 4.1 s for its first token: it asks for 3.3 times its share. The engine is 100 % full.',
    );
    // It is drawn when the rows have been painted.
    await page.waitForSelector('.chart canvas');
    expect(await page.locator('.chart canvas').count()).toBe(1);
    expect(wrong).toEqual([]);
    expect(feed.bytes()).toBeLessThan(60_000);
    await page.close();
  });

  test('shows what has ended', async () => {
    const { page } = await open();
    feed.requests([aLine('fresh')]);
    await page.waitForSelector('[data-request=fresh]');
    expect(await page.locator('[data-request=fresh]').count()).toBe(1);
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

  test('does not say that nothing has ended where the filter leaves nothing', async () => {
    const { page } = await open();
    await page.fill('[aria-label="Tenants whose name has"]', 'nobody');
    await page.waitForSelector('[data-request]', { state: 'detached' });
    expect(await textOf(page, '[aria-label="Time to first token"]')).toContain(
      'None of the last requests is of such a tenant',
    );
    expect(await page.getByText('No request has ended yet').count()).toBe(0);
    await page.close();
  });

  test('says where a first request may be sent, as the service has it', async () => {
    feed.requests([]);
    feed.about({ actions: true, admin: false, api: 'https://127.0.0.1:8443' });
    const page = await browser.newPage();
    await page.goto(feed.url);
    await page.waitForSelector('.empty pre');
    expect(await textOf(page, '.empty pre')).toContain('curl https://127.0.0.1:8443/v1/chat/completions -H');
    await page.close();
  });

  test('says why it is refused: under a foreign name the service is not away', async () => {
    feed.refuse('it is answered under localhost');
    const page = await browser.newPage();
    await page.goto(feed.url);
    await page.waitForSelector('[data-link=refused]');
    expect(await textOf(page, 'main')).toContain('it is answered under localhost');
    await page.close();
  });

  test('says since which day usage is counted', async () => {
    feed.usage({ ...aUsage(['quiet']), since: '2026-03-04T14:05:06Z' });
    const { page } = await open({ locale: 'en-US', timezoneId: 'UTC' });
    expect(await textOf(page, '[aria-label=Usage] small')).toBe('since 2026-03-04 14:05:06');
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
    // It has asked for that one; its stream comes a moment later.
    await page.waitForSelector('[data-link=live]');
    expect(await page.locator('[data-request=after]').count()).toBe(1);
    await page.close();
  });

  test('says quiet against noisy in figures', async () => {
    const { page } = await open();
    expect(await textOf(page, '[data-card=quiet]')).toBe(
      'quiet within its fair share 58 ms to the first token 57 ms of it in the engine: about what it would wait alone 1 in flight 0 waiting 0 refused/s',
    );
    expect(await textOf(page, '[data-card=noisy]')).toContain('asks for 3.3 times its share 4.1 s');
    expect(await textOf(page, '[data-card=noisy]')).toContain(
      '4.0 s of it in the queue, 100 ms in the engine',
    );
    expect(await textOf(page, '[data-card-engine]')).toContain('8 of 8 slots taken');
    await page.close();
  });

  test.each(['light', 'dark'] as const)('its text stands out from its ground: %s', async (colorScheme) => {
    feed.about({ actions: true, admin: true });
    feed.requests([
      aLine('refused', { outcome: 'refused', reason: 'queue_full' }),
      aLine('f', { outcome: 'failed' }),
    ]);
    const { page } = await open({ colorScheme });
    await page.click('[data-request] [data-open]');
    const found = (await page.evaluate(CONTRASTS)) as readonly { text: string; contrast: number }[];
    expect(found.length).toBeGreaterThan(60);
    expect(found.filter(({ contrast }) => contrast < 4.5)).toEqual([]);
    await page.close();
  });

  test('what has the focus has an outline that stands out', async () => {
    const { page } = await open();
    await page.keyboard.press('Tab');
    const outline = 'getComputedStyle(document.activeElement).outline';
    expect(await page.evaluate(outline)).toMatch(/rgb\(10, 88, 202\) solid 2px/);
    await page.close();
  });

  test.each([
    [{ actions: false, admin: false }, 0, 0],
    [{ actions: true, admin: false }, 1, 0],
    [{ actions: true, admin: true }, 1, 3],
  ])('offers what the service offers, on a phone too: %j', async (about, drains, disables) => {
    feed.about(about);
    feed.status(aConsoleStatus([...TENANTS, aTenantRow('W'.repeat(100), { inFlight: 120, waiting: 1_000 })]));
    const { page } = await open({ viewport: { width: 360, height: 740 } });
    await page.waitForTimeout(about.actions ? 0 : 300);
    if (about.actions) await page.waitForSelector('[data-drain]');
    expect(await page.locator('[data-drain]:visible').count()).toBe(drains);
    expect(await page.locator('[data-disable]:visible').count()).toBe(disables);
    expect(await page.locator('[data-enable]:visible').count()).toBe(disables > 0 ? 1 : 0);
    const hidden = `[...document.querySelectorAll("[data-drain], [data-disable]")].filter((one) =>
      one.getBoundingClientRect().right > one.closest(".scroll").getBoundingClientRect().right + 1).length`;
    expect(await page.evaluate(hidden)).toBe(0);
    await page.close();
  });
});

describe('the console of a service', () => {
  const TOKEN = 'token-that-may-write-0123456789abcdef';
  const directory = mkdtempSync(join(tmpdir(), 'fairlane-console-'));
  let engine: ReadyStack;
  let url: string;
  beforeAll(async () => {
    process.env['CONSOLE_TOKEN'] = TOKEN;
    const [port] = await freePorts(1);
    engine = await startReadyStack(
      (incoming, response) => {
        incoming.resume();
        answerChat(response);
      },
      (config) => {
        config['admin'] = { address: `127.0.0.1:${port}`, token: 'env:CONSOLE_TOKEN', directory };
      },
    );
    url = `${engine.stack.metricsUrl}/`;
  });
  afterAll(async () => {
    await engine.close();
    rmSync(directory, { recursive: true, force: true });
  });

  /** @returns its id. */
  const ask = async (key: string): Promise<string> => {
    const { status, headers } = await send(engine.stack.url, { key, body: chatBody() });
    expect(status).toBe(200);
    return String(headers['x-request-id']);
  };

  test('shows a request, and goes on after a restart of the service', async () => {
    await ask(KEYS.quiet);
    const { page, wrong } = await openConsole(browser, url);
    const id = await ask(KEYS.quiet);
    await page.waitForSelector(`[data-request="${id}"]`);
    expect(wrong).toEqual([]);
    await engine.stack.restartService();
    await page.waitForSelector('[data-link=live]', { timeout: 20_000 });
    const after = await ask(KEYS.noisy);
    await page.waitForSelector(`[data-request="${after}"]`);
    // The browser itself tells of connections that fail while nothing listens.
    expect(wrong.filter((text) => !text.includes('net::ERR_'))).toEqual([]);
    await page.close();
  });

  test('disables and enables a made tenant from a phone', async () => {
    const admin = (method: string, path: string, body?: object) =>
      fetch(`${url}console/admin/v1/${path}`, {
        method,
        headers: { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      });
    expect((await admin('POST', 'tenants', { name: 'acme & co' })).status).toBe(400);
    expect((await admin('POST', 'tenants', { name: 'acme' })).status).toBe(201);
    const { key } = (await (await admin('POST', 'tenants/acme/keys', {})).json()) as { key: string };
    await eventually(
      () => send(engine.stack.url, { key, body: chatBody() }),
      ({ status }) => status === 200,
    );
    const { page, wrong } = await openConsole(browser, url, { viewport: { width: 360, height: 740 } });
    const isDisabled = async (): Promise<unknown> =>
      ((await (await admin('GET', 'tenants/acme')).json()) as { disabled: unknown }).disabled;

    await page.click('tr:has-text("acme") [data-disable]');
    await page.fill('dialog input', TOKEN);
    await page.click('dialog button:text-is("Disable")');
    await page.waitForSelector('dialog :text-is("Done.")');
    expect(await isDisabled()).toBe(true);
    await page.keyboard.press('Escape');
    await page.click('[data-enable]');
    await page.click('dialog button:text-is("List them")');
    await page.click('dialog li:has-text("acme") button');
    await page.waitForSelector('dialog :text-is("acme is enabled.")');
    expect(await isDisabled()).toBe(false);
    await page.keyboard.press('Escape');

    // One of the files: the admin API says what to do.
    await ask(KEYS.quiet);
    await page.click('tr:has-text("quiet") [data-disable]');
    await page.click('dialog button:text-is("Disable")');
    await page.waitForSelector('dialog :text("It was not done (4")');
    expect(wrong.filter((text) => !text.includes('status of 4'))).toEqual([]);
    await page.close();
  });

  test('drains an endpoint, and says what would become of a request', async () => {
    const id = await ask(KEYS.quiet);
    const { page, wrong } = await openConsole(browser, url);
    await page.click(`[data-request="${id}"] [data-open]`);
    await page.click('dialog button:has-text("such a request now")');
    await page.waitForSelector('dialog [role=status]:text("Endpoint: ")');
    await page.keyboard.press('Escape');
    for (const verb of ['Drain', 'Undrain']) {
      await page.click(`[data-drain]:text-is("${verb.toLowerCase()}")`);
      await page.click(`dialog button:text-is("${verb}")`);
      await page.waitForSelector('dialog :text-is("Done.")');
      await page.keyboard.press('Escape');
    }
    await page.waitForSelector('[data-drain]:text-is("drain")');
    expect(wrong).toEqual([]);
    await page.close();
  });

  /** Status, headers and length as they go. */
  const get = (path: string, headers: Readonly<Record<string, string>>) =>
    new Promise<readonly [number, Readonly<Record<string, unknown>>, number]>((resolve, reject) => {
      request(new URL(path, url), { headers }, (answer) => {
        let length = 0;
        answer.on('data', (part: Buffer) => {
          length += part.length;
        });
        answer.on('end', () => resolve([answer.statusCode ?? 0, answer.headers, length]));
      })
        .on('error', reject)
        .end();
    });

  test('its files go compressed, at most once, and are small', async () => {
    const [, , page] = await get('/', {});
    expect(page).toBeGreaterThan(300);
    const html = await (await fetch(url)).text();
    const assets = [...html.matchAll(/(?:src|href)="(\/console\/[^"]+)"/g)].map(([, path = '']) => path);
    expect(new Set(assets.map((path) => path.split('.').at(-1)))).toEqual(new Set(['css', 'js']));
    let all = 0;
    for (const path of ['/', ...assets]) {
      const lengths: number[] = [];
      for (const coding of ['br', 'gzip', undefined]) {
        const accept = { 'accept-encoding': coding === 'br' ? 'gzip, deflate, br' : (coding ?? 'br;q=0') };
        const [status, headers, length] = await get(path, accept);
        expect([path, status, headers['content-encoding'], headers['vary']]).toEqual([
          path,
          200,
          coding,
          'accept-encoding',
        ]);
        expect(headers['content-length']).toBe(String(length));
        expect(headers['cache-control']).toContain(path === '/' ? 'no-store' : 'immutable');
        lengths.push(length);
        const tag = String(headers['etag']);
        expect((await get(path, { ...accept, 'if-none-match': `"other", W/${tag}` })).slice(0, 1)).toEqual([
          304,
        ]);
        expect((await get(path, { ...accept, 'if-none-match': '"other"' }))[0]).toBe(200);
      }
      const [br = 0, gzip = 0, plain = 0] = lengths;
      expect(br).toBeLessThan(gzip);
      expect(gzip).toBeLessThan(plain);
      all += br;
    }
    expect(all).toBeLessThan(150_000);
  });
});
