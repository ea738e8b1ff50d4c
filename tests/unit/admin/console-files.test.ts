/** Which form of a file of the console a client gets, by what it accepts. */
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { answerFile, type ConsoleFiles, readConsoleFiles } from '../../../src/admin/http-console-files.ts';

const [bytes, br, gzip] = ['plain', 'br', 'gzip'].map((text) => Buffer.from(text));
const FILES: ConsoleFiles = new Map([
  ['/', { type: 'text/html', tag: 't', bytes: bytes ?? Buffer.alloc(0), br, gzip }],
]);

/** What came, as text. */
function got(accept: string | undefined): string {
  let text = '';
  const response = {
    writeHead: () => response,
    end: (body: Buffer) => {
      text = body.toString();
    },
  };
  const request = { headers: { ...(accept !== undefined && { 'accept-encoding': accept }) } };
  answerFile(FILES, '/', request as unknown as IncomingMessage, response as unknown as ServerResponse);
  return text;
}

it.each([
  [undefined, 'plain'],
  ['', 'plain'],
  ['*', 'plain'],
  ['identity', 'plain'],
  ['br', 'br'],
  ['gzip', 'gzip'],
  ['gzip, deflate, BR', 'br'],
  ['gzip;q=1.0, br;q=0.001', 'br'],
  ['gzip ; q=0.5 , br ; Q=0', 'gzip'],
  ['br;q=0.000, gzip;q=0.0', 'plain'],
  ['br;q=2, gzip;q=-1', 'plain'],
  ['br;q=, gzip;q', 'plain'],
  ['br;q=1;x=y', 'plain'],
  ['brotli, xgzip', 'plain'],
])('%j gets %s', (accept, form) => {
  expect(got(accept)).toBe(form);
});

it('a file that a build takes away while it is read keeps no service from its start', () => {
  const folder = mkdtempSync(join(tmpdir(), 'fairlane-console-files-'));
  try {
    writeFileSync(join(folder, 'index.html'), 'x');
    expect([...readConsoleFiles(folder).keys()]).toEqual(['/']);
    // Its name is there, and it is not.
    symlinkSync(join(folder, 'nothing'), join(folder, 'page.js'));
    expect(readConsoleFiles(folder).size).toBe(0);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

describe('a header as long as headers may be is read at once: the page shares a thread with all requests', () => {
  const LONG = 15_000;
  it.each([
    ['spaces', `br${' '.repeat(LONG)}x`],
    ['digits', `br;q=0.${'1'.repeat(LONG)}x`],
    ['spaces and commas', `x${' , '.repeat(LONG / 3)}`],
    ['codings', 'br;q=0,'.repeat(LONG / 7)],
  ])(
    'of %s',
    (_, accept) => {
      // A quarter of a second each, if the time went with the square of the length.
      for (let i = 0; i < 30; i += 1) expect(got(accept)).toBe('plain');
    },
    3_000,
  );
});
