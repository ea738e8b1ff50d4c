/** Every command in the README is run, or checked elsewhere; tests/unit/documents.test.ts checks links and paths. */
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { envoyConfigText } from '../../src/cli/envoy-config.ts';
import { loadConfig } from '../../src/config/fs-config.ts';
import { bootstrapOf } from '../../src/envoy/bootstrap.ts';
import type { JsonMap } from '../../src/envoy/envoy-json.ts';
import { startEnvoy } from '../../src/envoy/process-envoy.ts';
import { startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { chatBody, send } from '../support/client.ts';
import { envoyForTests } from '../support/envoy.ts';
import { eventually } from '../support/eventually.ts';
import { freePorts, withDemoPorts } from '../support/ports.ts';
import { runCli } from '../support/serve.ts';
import { configYaml, KEYS } from '../support/stack.ts';

const readme = readFileSync('README.md', 'utf8');
const blocks = (language: string): readonly string[] =>
  [...readme.matchAll(new RegExp(`\`\`\`${language}\\n([^]*?)\`\`\``, 'g'))].map(([, text = '']) => text);
const commands = blocks('sh').flatMap((block) => block.trim().split('\n'));
const env = { ...process.env, ALICE_KEY: 'choose-a-long-one', BOB_KEY: 'and-another-one' };

/** Starts a command that serves, waits for its banner, and ends it as Ctrl-C in a terminal does. */
async function serves(command: string): Promise<string> {
  const shell = spawn('sh', ['-c', command], { env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [shell.stdout, shell.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  const exited = new Promise((resolve) => shell.once('close', resolve));
  try {
    await eventually(
      () => output,
      (text) => text.includes('Ctrl-C drains and stops.') || shell.exitCode !== null,
      60_000,
    );
  } finally {
    if (shell.exitCode === null) process.kill(-(shell.pid ?? 0), 'SIGINT');
  }
  await exited;
  return output;
}

/** The documents say `fairlane …` as an installed program; here it is what `npm start` has built before. */
const built = (command: string): string => command.replace(/^fairlane /, 'node dist/cli/index.js ');

describe('the README', () => {
  it('has no command that is not run here or by .ci/run', { timeout: 180_000 }, async () => {
    const left: string[] = [];
    for (const command of commands) {
      if (command === 'npm ci && npm start') {
        // npm ci has been run: this very test stands on it.
        expect(await withDemoPorts(() => serves('npm start'))).toContain('fairlane: stopped');
      } else if (command.startsWith('fairlane start --config ')) {
        expect(await withDemoPorts(() => serves(built(command)))).toContain('fairlane: stopped');
      } else if (command.startsWith('fairlane ')) {
        expect(execFileSync('sh', ['-c', built(command)], { env, encoding: 'utf8' })).not.toBe('');
      } else if (command.startsWith('export ')) {
        for (const pair of command.slice('export '.length).split(' ')) {
          const [name = '', value] = pair.split('=');
          expect((env as NodeJS.ProcessEnv)[name]).toBe(value);
        }
      } else if (command.startsWith('npm pack && npm install --global ')) {
        // The package itself is installed and run by its own test.
        const { name, version } = JSON.parse(readFileSync('package.json', 'utf8')) as Record<string, string>;
        expect(command).toBe(`npm pack && npm install --global ./${name}-${version}.tgz`);
      } else if (command === 'npm ci && npm test') {
        expect(readFileSync('.ci/run', 'utf8')).toMatch(/npm ci[^]*npm test/);
      } else left.push(command);
    }
    expect(commands.length).toBeGreaterThan(6);
    expect(left).toEqual([]);
    // The one line that says how to run it from a clone.
    expect(readme).toContain('`npm run --silent fairlane -- …` is `fairlane …`');
    const version = execFileSync('npm', ['run', '--silent', 'fairlane', '--', '--version'], {
      encoding: 'utf8',
    });
    expect(version).toMatch(/^\d+\.\d+\.\d+ \(unknown, Node\.js \S+\)\n$/);
  });

  it('shows configurations that are accepted', () => {
    const [own = '', tiers = ''] = blocks('yaml');
    const folder = mkdtempSync(join(tmpdir(), 'fairlane-readme-'));
    const path = join(folder, 'fairlane.yaml');
    const example = parse(readFileSync('examples/existing-vllm.yaml', 'utf8')) as object;
    expect(parse(own)).toEqual(example);
    writeFileSync(path, `${tiers}pools: { main: { endpoints: ["http://127.0.0.1:8000"] } }\n`);
    expect(loadConfig(path, env)).toMatchObject({ kind: 'ok' });
    rmSync(folder, { recursive: true });
  });
});

describe('the printed parts', () => {
  it('make somebody else’s Envoy serve tenants, as docs/how-to/existing-envoy.md says', async () => {
    const engine = await startSimulator({ profile: parseProfile('test', {}), models: ['demo'] });
    const directory = mkdtempSync(join(tmpdir(), 'fairlane-theirs-'));
    const [api = 0, admin = 0, metrics = 0] = await freePorts(3);
    const path = join(directory, 'fairlane.yaml');
    writeFileSync(path, configYaml([engine.url], { api, admin, metrics }, directory));
    const loaded = loadConfig(path, process.env);
    if (loaded.kind === 'bad') throw new Error(loaded.problems.join('\n'));
    const { config } = loaded;
    const service = runCli(['serve', '--config', path]);
    await service.until('serving ext_proc');
    const part = (name: 'http-filters' | 'routes' | 'clusters') =>
      parse(envoyConfigText(config, name)) as JsonMap[];
    const theirs: JsonMap = {
      node: { id: 'theirs', cluster: 'theirs' },
      admin: { address: { socket_address: { address: '127.0.0.1', port_value: admin } } },
      layered_runtime: bootstrapOf(config)['layered_runtime'] ?? {},
      static_resources: {
        clusters: part('clusters'),
        listeners: [
          {
            name: 'theirs',
            address: { socket_address: { address: '127.0.0.1', port_value: api } },
            filter_chains: [
              {
                filters: [
                  {
                    name: 'envoy.filters.network.http_connection_manager',
                    typed_config: {
                      '@type':
                        'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
                      stat_prefix: 'theirs',
                      normalize_path: true,
                      merge_slashes: true,
                      path_with_escaped_slashes_action: 'REJECT_REQUEST',
                      http_filters: part('http-filters'),
                      route_config: {
                        virtual_hosts: [{ name: 'all', domains: ['*'], routes: part('routes') }],
                      },
                    },
                  },
                ],
              },
            ],
          },
        ],
      },
    };
    const envoy = await startEnvoy({
      envoy: await envoyForTests(),
      bootstrap: theirs,
      directory,
      admin: config.envoy.admin,
      concurrency: 1,
      onLog: () => undefined,
    });
    const answer = await send(`http://127.0.0.1:${api}`, { key: KEYS.quiet, body: chatBody() });
    expect(answer.status).toBe(200);
    await eventually(
      () => service.stdout(),
      (text) => text.includes('"outcome":"completed"'),
    );
    expect((await send(`http://127.0.0.1:${api}`, { body: chatBody() })).status).toBe(401);
    service.child.kill('SIGTERM');
    await service.exited;
    await envoy.stop(500);
    await engine.close();
    rmSync(directory, { recursive: true, force: true });
  });
});
