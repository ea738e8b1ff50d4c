/** How soon the console of a service can be used, from the start of the navigation until its button works; and shows the next request. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startChromium } from '../support/chromium.ts';
import { chatBody, send } from '../support/client.ts';
import { buildConsole, openConsole } from '../support/console-page.ts';
import { answerChat, type ReadyStack, startReadyStack } from '../support/ready-engine.ts';
import { KEYS } from '../support/stack.ts';

const TRIES = 3;
const MOST_MS = 1_000;

let engine: ReadyStack;
beforeAll(async () => {
  buildConsole();
  engine = await startReadyStack((incoming, response) => {
    incoming.resume();
    answerChat(response);
  });
});
afterAll(() => engine.close());

/** Presses the first request's button as soon as there is one, and notes when the dialog is open: milliseconds since the start. */
const WATCH = `
  const look = () => {
    if (document.querySelector('dialog[open] .phases') !== null) document.documentElement.dataset.usableMs = performance.now();
    else {
      document.querySelector('[data-request] [data-open]')?.click();
      requestAnimationFrame(look);
    }
  };
  requestAnimationFrame(look);
`;

test('the console is usable within a second, in the middle of three tries', async () => {
  for (let at = 0; at < 30; at += 1) await send(engine.stack.url, { key: KEYS.quiet, body: chatBody() });
  const browser = await startChromium();
  try {
    const usableMs: number[] = [];
    for (let at = 0; at < TRIES; at += 1) {
      // A page of its own has nothing cached.
      const page = await browser.newPage();
      await page.addInitScript(WATCH);
      await page.goto(`${engine.stack.metricsUrl}/`);
      await page.waitForSelector('[data-usable-ms]');
      usableMs.push(Number(await page.getAttribute('html', 'data-usable-ms')));
      await page.close();
    }
    usableMs.sort((a, b) => a - b);
    process.stdout.write(`console: usable after ${usableMs.map((ms) => Math.round(ms)).join(', ')} ms\n`);
    expect(usableMs[TRIES >> 1]).toBeLessThan(MOST_MS);
  } finally {
    await browser.close();
  }
});

test('a request is shown within a second of its end', async () => {
  const ask = () => send(engine.stack.url, { key: KEYS.quiet, body: chatBody() });
  await ask();
  const browser = await startChromium();
  try {
    const { page } = await openConsole(browser, `${engine.stack.metricsUrl}/`);
    const { headers } = await ask();
    const endedMs = performance.now();
    await page.waitForSelector(`[data-request="${String(headers['x-request-id'])}"]`);
    expect(performance.now() - endedMs).toBeLessThan(MOST_MS);
  } finally {
    await browser.close();
  }
});
