/** `fairlane serve` with an admin API, as a process of its own, and the commands that talk to it. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { READ_TOKEN, TOKEN } from './made-tenants.ts';
import { freePorts } from './ports.ts';
import { type CliProcess, runCli } from './serve.ts';
import { configYaml, type Draft } from './stack.ts';

export interface CommandResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface AdminService {
  readonly port: number;
  readonly metricsPort: number;
  /** Where the configuration is, and what else the process writes. */
  readonly directory: string;
  readonly configPath: string;
  readonly process: CliProcess;
  /** All that it has said. */
  readonly said: () => string;
  /** Runs a command with the service's configuration. */
  command(args: readonly string[], env?: NodeJS.ProcessEnv): Promise<CommandResult>;
  ask(method: string, path: string, body?: unknown, token?: string): Promise<Response>;
  close(): Promise<void>;
}

const ENV = { FAIRLANE_TEST_ADMIN: TOKEN, FAIRLANE_TEST_READER: READ_TOKEN };

export async function runCommand(
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<CommandResult> {
  const command = runCli(args, { ...process.env, ...ENV, ...env });
  const code = await command.exited;
  return { code, stdout: command.stdout(), stderr: command.stderr() };
}

/** @param change the configuration, which has `admin`, before it is written. @param files besides it, by their names. */
export async function startAdminService(
  change: (config: Draft) => void = () => undefined,
  files: Readonly<Record<string, string>> = {},
): Promise<AdminService> {
  const directory = mkdtempSync(join(tmpdir(), 'fairlane-admin-'));
  const [api = 0, envoy = 0, metrics = 0, port = 0] = await freePorts(4);
  const configPath = join(directory, 'fairlane.yaml');
  for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text);
  const ports = { api, admin: envoy, metrics };
  const yaml = configYaml(['http://127.0.0.1:9'], ports, join(directory, 'envoy'), (config) => {
    config['admin'] = {
      address: `127.0.0.1:${port}`,
      token: 'env:FAIRLANE_TEST_ADMIN',
      readToken: 'env:FAIRLANE_TEST_READER',
      directory: join(directory, 'made'),
    };
    config['tiers'] = { gold: { requestsPerMinute: 600 } };
    change(config);
  });
  writeFileSync(configPath, yaml);
  const child = runCli(['serve', '--config', configPath], { ...process.env, ...ENV });
  await child.until('serving ext_proc');
  return {
    port,
    metricsPort: metrics,
    directory,
    configPath,
    process: child,
    said: () => child.stdout() + child.stderr(),
    command: ([group = '', name = '', ...rest], env) =>
      runCommand([group, name, '--config', configPath, ...rest], env),
    ask: (method, path, body, token = TOKEN) =>
      fetch(`http://127.0.0.1:${port}${path}`, {
        method,
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      }),
    async close() {
      child.child.kill('SIGKILL');
      await child.exited;
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
