/**
 * Claude Code and Codex CLI from npm. package.json and package-lock.json beside this pin them; they have 800 MB, so they are no
 * dependencies of the project: they are installed once for each lock file, into the user's cache, when a test asks for them.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { cacheFolder } from '../cache.ts';

export interface Agents {
  /** Programs. Their packages have one for each platform, of which npm installs this one's. */
  readonly claude: string;
  readonly codex: string;
}

const HERE = fileURLToPath(new URL('.', import.meta.url));
const LOCK = 'package-lock.json';
const INSTALL_MS = 170_000;

/** Throws what npm says where they cannot be had. */
export async function installAgents(): Promise<Agents> {
  const cache = cacheFolder();
  const lock = createHash('sha256')
    .update(readFileSync(join(HERE, LOCK)))
    .digest('hex');
  const folder = join(cache, `agents-${lock.slice(0, 16)}`);
  if (!existsSync(folder)) await install(cache, folder);
  const modules = join(folder, 'node_modules');
  return {
    claude: programIn(join(modules, '@anthropic-ai'), 'claude'),
    codex: programIn(join(modules, '@openai'), 'codex'),
  };
}

async function install(cache: string, folder: string): Promise<void> {
  mkdirSync(cache, { recursive: true });
  const work = mkdtempSync(join(cache, '.agents-'));
  try {
    for (const name of ['package.json', LOCK]) copyFileSync(join(HERE, name), join(work, name));
    // Their scripts only copy a program to where a shell finds it.
    const quiet = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
    await promisify(execFile)('npm', ['ci', ...quiet], { cwd: work, timeout: INSTALL_MS });
    // In one move, so that no half of it is found. Another run may have been first.
    if (!existsSync(folder)) renameSync(work, folder);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** `SCOPE/NAME-PLATFORM/…/PROGRAM`. */
function programIn(scope: string, program: string): string {
  for (const name of readdirSync(scope)) {
    const vendor = join(scope, name, 'vendor');
    const triples = existsSync(vendor) ? readdirSync(vendor) : [];
    const places = [join(scope, name, program), ...triples.map((one) => join(vendor, one, 'bin', program))];
    const found = places.find((place) => existsSync(place));
    if (found !== undefined) return found;
  }
  throw new Error(`${scope} has no ${program} for this platform`);
}
