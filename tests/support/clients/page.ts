/** docs/clients.md: its snippets, run as they stand there. */
import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const PAGE = fileURLToPath(new URL('../../../docs/clients.md', import.meta.url));

/** The page says where the demo serves, and with which key. */
const DEMO_ADDRESS = '127.0.0.1:8080';
export const DEMO_KEY = 'demo-quiet-key';
export const OTHER_DEMO_KEY = 'demo-noisy-key';

/** Which test runs what is marked `<!-- run: NAME -->`. */
export const RUN_BY: Readonly<Record<string, string>> = {
  curl: 'tests/envoy/clients-node.test.ts',
  'openai-node': 'tests/envoy/clients-node.test.ts',
  'azure-node': 'tests/envoy/clients-node.test.ts',
  'anthropic-node': 'tests/envoy/clients-node.test.ts',
  'openai-python': 'tests/envoy/clients-python.test.ts',
  'azure-python': 'tests/envoy/clients-python.test.ts',
  'anthropic-python': 'tests/envoy/clients-python.test.ts',
  langchain: 'tests/envoy/clients-python.test.ts',
  litellm: 'tests/envoy/clients-litellm.test.ts',
  'litellm-proxy': 'tests/envoy/clients-litellm.test.ts',
  'litellm-keys': 'tests/envoy/clients-litellm.test.ts',
  nginx: 'tests/envoy/clients-nginx.test.ts',
};

export interface Fence {
  readonly line: number;
  /** The comment right before it, without its brackets; else the one that says of its whole section which test runs it. */
  readonly mark: string;
  readonly text: string;
}

/** All blocks of code of a page. */
export function fencesOf(markdown: string): readonly Fence[] {
  const lines = markdown.split('\n');
  const fences: Fence[] = [];
  let section = '';
  for (let at = 0; at < lines.length; at += 1) {
    if (lines[at]?.startsWith('#') === true) section = '';
    section = /^<!-- (run by: .*) -->$/.exec(lines[at] ?? '')?.[1] ?? section;
    if (lines[at]?.startsWith('```') !== true) continue;
    const end = lines.findIndex((line, i) => i > at && line === '```');
    const before = lines[at - 1] === '' ? lines[at - 2] : lines[at - 1];
    fences.push({
      line: at + 1,
      mark: /^<!-- (.*) -->$/.exec(before ?? '')?.[1] ?? section,
      text: `${lines.slice(at + 1, end).join('\n')}\n`,
    });
    at = end;
  }
  return fences;
}

export const pageFences = (): readonly Fence[] => fencesOf(readFileSync(PAGE, 'utf8'));

/** @throws when the page has none of that name. @param url of the stack, in place of the demo's. */
export function snippet(name: string, url: string): string {
  const found = pageFences().find(({ mark }) => mark === `run: ${name}`);
  if (found === undefined) throw new Error(`docs/clients.md has no snippet marked "run: ${name}"`);
  return found.text.replaceAll(DEMO_ADDRESS, new URL(url).host);
}

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** LiteLLM alone takes ten seconds to be read, on a machine with nothing else to do. */
const LONGEST_MS = 240_000;

/** Runs a program that speaks to this machine alone. */
export function run(
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Ran> {
  return new Promise((resolve) => {
    const child = execFile(
      program,
      args,
      {
        // Nothing of the user's: neither keys nor proxies.
        env: { PATH: process.env['PATH'], PYTHONDONTWRITEBYTECODE: '1', ...env },
        timeout: LONGEST_MS,
        maxBuffer: 16 * 1024 * 1024,
      },
      (_, stdout, stderr) => resolve({ code: child.exitCode ?? -1, stdout, stderr }),
    );
    child.stdin?.end();
  });
}

/** Where modules find what the repository has installed. */
const FOLDER = fileURLToPath(new URL('../../../.cache/clients', import.meta.url));

/** Runs a snippet of the page with Node.js. */
export function runNode(name: string, url: string): Promise<Ran> {
  mkdirSync(FOLDER, { recursive: true });
  const path = join(FOLDER, `${name}.mjs`);
  writeFileSync(path, snippet(name, url));
  return run(process.execPath, [path]);
}
