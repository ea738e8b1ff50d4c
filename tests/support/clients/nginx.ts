/** nginx before a stack: found on PATH, or installed with apt-get where that is possible without asking anybody. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { debianProgram } from '../debian.ts';
import { eventually } from '../eventually.ts';

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
  const nginx = debianProgram('nginx', 'nginx-light');
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
