/**
 * Runs an agent as its users do, with the settings of docs/clients.md: in folders of its own, with nothing of this machine's
 * environment or settings, and with no way out of the machine but one that tells who wanted to take it.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Agents, installAgents } from './install.ts';

export interface AgentRun {
  readonly code: number | null;
  readonly ms: number;
  /** One JSON value a line, as both write them. */
  // oxlint-disable-next-line no-explicit-any -- an agent's own words, as a test looks at them
  readonly lines: readonly any[];
  readonly stderr: string;
}

export interface AskedAgent {
  /** Base URL of the API, without /v1. */
  readonly url: string;
  readonly key: string;
  readonly prompt?: string;
  /** In place of the one of docs/clients.md. */
  readonly model?: string;
  /** Arguments beside those that every run has. */
  readonly more?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

const CLIENTS = fileURLToPath(new URL('../../../docs/clients.md', import.meta.url));
/** As docs/clients.md has them. */
const DOCUMENTED = { url: 'http://127.0.0.1:8080', key: 'demo-quiet-key' } as const;
/** No run takes so long; one that hangs is a failure that says so. */
const LONGEST_MS = 45_000;

/** The first block of that language below the heading. */
function snippet(heading: string, language: string): string {
  const [, section = ''] = readFileSync(CLIENTS, 'utf8').split(`\n## ${heading}\n`);
  const [, found] =
    new RegExp(`\`\`\`${language}\\n(.*?)\`\`\``, 's').exec(section.split('\n## ')[0] ?? '') ?? [];
  if (found === undefined) throw new Error(`docs/clients.md: ${heading} has no block of ${language}`);
  return found;
}

export class AgentWorld {
  /** Where agents work: it has `notes.txt`. */
  readonly work: string;
  /** Hosts that agents wanted beside the API. */
  readonly wanted: string[] = [];
  private readonly root = mkdtempSync(join(tmpdir(), 'fairlane-agents-'));
  private readonly home: string;
  private readonly exit = createServer((_, response) => response.writeHead(403).end());
  private readonly agents: Agents;

  private constructor(agents: Agents) {
    this.agents = agents;
    this.work = join(this.root, 'work');
    this.home = join(this.root, 'home');
    for (const folder of [this.work, this.home, join(this.root, 'tmp')]) mkdirSync(folder);
    writeFileSync(join(this.work, 'notes.txt'), 'The secret word is marmalade.\n');
    this.exit.on('request', ({ url = '' }) => this.wanted.push(url));
    this.exit.on('connect', ({ url = '' }, socket) => {
      this.wanted.push(url);
      socket.on('error', () => undefined);
      socket.end('HTTP/1.1 403 Forbidden\r\n\r\n');
    });
  }

  static async open(): Promise<AgentWorld> {
    const world = new AgentWorld(await installAgents());
    await new Promise<void>((resolve) => world.exit.listen(0, '127.0.0.1', resolve));
    return world;
  }

  /** `claude -p`. */
  claude(asked: AskedAgent): Promise<AgentRun> {
    const { url, key, prompt = 'What is in notes.txt?', model, more = [], env } = asked;
    const settings = [...snippet('Claude Code', 'sh').matchAll(/^export (\w+)=(.*)$/gm)].map(
      ([, name = '', value = '']) => [name, value.replace(DOCUMENTED.url, url).replace(DOCUMENTED.key, key)],
    );
    const format = more.includes('--output-format') ? [] : ['--output-format', 'stream-json', '--verbose'];
    return this.run(this.agents.claude, ['-p', prompt, ...format, '--allowedTools', 'Read,Bash', ...more], {
      ...(Object.fromEntries(settings) as Record<string, string>),
      CLAUDE_CONFIG_DIR: join(this.home, '.claude'),
      ...(model !== undefined && { ANTHROPIC_MODEL: model }),
      ...env,
    });
  }

  /** `codex exec`. Its commands run as they are: what it runs is what the test's engine says. */
  codex(asked: AskedAgent): Promise<AgentRun> {
    const { url, key, prompt = 'What is in notes.txt?', model, more = [], env } = asked;
    const folder = mkdtempSync(join(this.home, 'codex-'));
    writeFileSync(join(folder, 'config.toml'), snippet('Codex CLI', 'toml').replace(DOCUMENTED.url, url));
    const free = ['--skip-git-repo-check', '--dangerously-bypass-approvals-and-sandbox'];
    const chosen = model === undefined ? [] : ['--model', model];
    return this.run(this.agents.codex, ['exec', '--json', ...free, ...chosen, ...more, prompt], {
      CODEX_HOME: folder,
      FAIRLANE_KEY: key,
      ...env,
    });
  }

  async close(): Promise<void> {
    this.exit.closeAllConnections();
    await new Promise((resolve) => this.exit.close(resolve));
    rmSync(this.root, { recursive: true, force: true });
  }

  private async run(
    program: string,
    args: readonly string[],
    settings: Readonly<Record<string, string>>,
  ): Promise<AgentRun> {
    const exit = `http://127.0.0.1:${(this.exit.address() as AddressInfo).port}`;
    const began = Date.now();
    const child = spawn(program, args, {
      cwd: this.work,
      // A group of its own: what it has started ends with it.
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        PATH: process.env['PATH'] ?? '',
        HOME: this.home,
        TMPDIR: join(this.root, 'tmp'),
        TERM: 'dumb',
        HTTP_PROXY: exit,
        HTTPS_PROXY: exit,
        NO_PROXY: '127.0.0.1,localhost',
        ...settings,
      },
    });
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (part: Buffer) => {
      stdout += part.toString();
    });
    child.stderr.on('data', (part: Buffer) => {
      stderr += part.toString();
    });
    const timer = setTimeout(() => {
      stderr += `\nstill running after ${LONGEST_MS} ms`;
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    }, LONGEST_MS);
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', resolve);
    });
    clearTimeout(timer);
    const lines = stdout.split('\n').filter((line) => line.startsWith('{'));
    return { code, ms: Date.now() - began, lines: lines.map((line) => JSON.parse(line) as object), stderr };
  }
}
