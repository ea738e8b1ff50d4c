/** The console's page, in memory: only files that were there at the start are served, by their whole names. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { extname, join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

/** From the sources and from what is built it is the same folder. */
const FOLDER = fileURLToPath(new URL('../../dist/console/', import.meta.url));
const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.woff2': 'font/woff2',
};
const NOT_BUILT = 'The console is not built: run `npm run build`, and start Fairlane again.\n';

const PAGE_HEADERS = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
};

interface ConsoleFile {
  readonly type: string;
  readonly tag: string;
  readonly bytes: Buffer;
  readonly br: Buffer | undefined;
  readonly gzip: Buffer | undefined;
}

export type ConsoleFiles = ReadonlyMap<string, ConsoleFile>;

/** Reads what was built, by paths of URLs; nothing where it was not, or is being built. */
export function readConsoleFiles(folder = FOLDER): ConsoleFiles {
  let names: readonly string[];
  try {
    names = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  } catch {
    return new Map();
  }
  try {
    return filesOf(folder, names);
  } catch (error) {
    // A build removes what was there before.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return new Map();
    throw error;
  }
}

function filesOf(folder: string, names: readonly string[]): ConsoleFiles {
  const files = new Map<string, ConsoleFile>();
  const known = new Set(names);
  const packed = (name: string): Buffer | undefined =>
    known.has(name) ? readFileSync(join(folder, name)) : undefined;
  for (const name of names) {
    const type = TYPES[extname(name)];
    if (type === undefined) continue;
    const bytes = readFileSync(join(folder, name));
    const tag = createHash('sha256').update(bytes).digest('base64url').slice(0, 22);
    const path = name === 'index.html' ? '/' : `/console/${name.split(sep).join('/')}`;
    files.set(path, { type, tag, bytes, br: packed(`${name}.br`), gzip: packed(`${name}.gz`) });
  }
  return files;
}

/** Splits instead of one pattern: a header of 16 KB of spaces or digits would keep the event loop busy for a second. */
function accepts({ headers }: IncomingMessage, coding: string): boolean {
  for (const one of (headers['accept-encoding'] ?? '').split(',')) {
    const [name = '', quality, ...more] = one.split(';').map((part) => part.trim().toLowerCase());
    if (name === coding) return more.length === 0 && (quality === undefined || isWanted(quality));
  }
  return false;
}

/** @param quality as the header has it; what is no number from 0 to 1 is a no. */
function isWanted(quality: string): boolean {
  const [, value = '0'] = /^q=([01](?:\.\d{0,3})?)$/.exec(quality) ?? [];
  return Number(value) > 0;
}

/** Of a GET or a HEAD. @returns whether there is such a file. */
export function answerFile(
  files: ConsoleFiles,
  path: string,
  request: IncomingMessage,
  response: ServerResponse,
): boolean {
  const file = files.get(path);
  if (file === undefined) {
    if (path !== '/') return false;
    response.writeHead(200, { ...PAGE_HEADERS, 'content-type': 'text/plain', 'cache-control': 'no-store' });
    response.end(NOT_BUILT);
    return true;
  }
  const coding =
    file.br && accepts(request, 'br') ? 'br' : file.gzip && accepts(request, 'gzip') ? 'gzip' : '';
  const etag = `"${file.tag}${coding && `-${coding}`}"`;
  const headers = {
    ...PAGE_HEADERS,
    etag,
    vary: 'accept-encoding',
    'cache-control': path === '/' ? 'no-store' : 'public, max-age=31536000, immutable',
  };
  const asked = (request.headers['if-none-match'] ?? '').split(',');
  if (asked.some((one) => one.trim().replace(/^W\//, '') === etag)) {
    response.writeHead(304, headers).end();
    return true;
  }
  const bytes = (coding === 'br' ? file.br : coding === 'gzip' ? file.gzip : undefined) ?? file.bytes;
  response.writeHead(200, {
    ...headers,
    'content-type': file.type,
    'content-length': bytes.length,
    ...(coding !== '' && { 'content-encoding': coding }),
  });
  response.end(bytes);
  return true;
}
