/** nginx before a stack: found on PATH, or installed with apt-get where that is possible without asking anybody. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { accessSync, constants, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { eventually } from '../eventually.ts';

const INSTALLER = 'apt-get';

function onPath(name: string): string | undefined {
  // It serves, so it is where not everybody's PATH leads.
  for (const folder of [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin']) {
    try {
      accessSync(join(folder, name), constants.X_OK);
      return join(folder, name);
    } catch {
      // Not in that one.
    }
  }
  return undefined;
}

/** @throws when there is none and it cannot be installed. */
function findNginx(): string {
  const found = onPath('nginx');
  if (found !== undefined) return found;
  if (process.getuid?.() === 0 && onPath(INSTALLER) !== undefined) {
    const options = { stdio: 'ignore', env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } } as const;
    execFileSync(INSTALLER, ['update', '-qq'], options);
    execFileSync(INSTALLER, ['install', '-y', '-qq', '--no-install-recommends', 'nginx-light'], options);
  }
  const installed = onPath('nginx');
  if (installed === undefined) throw new Error('No nginx on PATH: install it (Debian: nginx-light).');
  return installed;
}

const isOpen = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });

export interface Nginx {
  close(): Promise<void>;
}

/** @param http what its `http` block includes. @param ports that it listens on. @throws what it says of a bad configuration. */
export async function startNginx(http: string, ports: readonly number[]): Promise<Nginx> {
  const nginx = findNginx();
  const folder = mkdtempSync(join(tmpdir(), 'fairlane-nginx-'));
  const path = join(folder, 'nginx.conf');
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  writeFileSync(
    path,
    [
      // Its workers would be somebody who may not look into this folder.
      ...(process.getuid?.() === 0 ? ['user root;'] : []),
      'worker_processes 1;',
      `pid ${folder}/nginx.pid;`,
      'events {}',
      'http {',
      'access_log off;',
      ...temporary.map((name) => `${name}_temp_path ${folder}/${name};`),
      http,
      '}',
    ].join('\n'),
  );
  const args = ['-p', folder, '-e', join(folder, 'error.log'), '-c', path];
  try {
    execFileSync(nginx, [...args, '-t'], { stdio: 'pipe' });
  } catch (error) {
    throw new Error(String((error as { stderr?: Buffer }).stderr), { cause: error });
  }
  const child: ChildProcess = spawn(nginx, [...args, '-g', 'daemon off;'], { stdio: 'ignore' });
  const exited = new Promise((resolve) => child.once('exit', resolve));
  for (const port of ports) {
    await eventually(
      () => isOpen(port),
      (open) => open,
      10_000,
    );
  }
  return {
    async close() {
      child.kill('SIGTERM');
      await exited;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
