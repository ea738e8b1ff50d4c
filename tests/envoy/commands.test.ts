/** The commands as a user types them. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config/fs-config.ts';
import { dynamicFilesOf } from '../../src/envoy/dynamic-files.ts';
import { writeDynamicFiles } from '../../src/envoy/fs-dynamic-files.ts';
import { startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { chatBody, eventsOf, openStream, send } from '../support/client.ts';
import { envoyForTests } from '../support/envoy.ts';
import { eventually } from '../support/eventually.ts';
import { freePorts, withDemoPorts } from '../support/ports.ts';
import { runCli } from '../support/serve.ts';
import { configYaml, type Draft, KEYS, startStack } from '../support/stack.ts';

const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};
/** Every process below this one, as /proc has it. */
const descendants = (pid: number): readonly number[] => {
  const table = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        // pid (name) state ppid …: the name may hold anything, so the fields are counted from its end.
        const stat = readFileSync(`/proc/${name}/stat`, 'latin1');
        return [[Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])] as const];
      } catch {
        return [];
      }
    });
  const below = (parent: number): number[] =>
    table.filter(([, ppid]) => ppid === parent).flatMap(([child]) => [child, ...below(child)]);
  return below(pid);
};
/** Runs a curl line as a shell does; where there is no curl, sends what the line says. */
async function curl(line: string): Promise<string> {
  try {
    execFileSync('curl', ['--version'], { stdio: 'ignore' });
  } catch {
    const [, url = ''] = /^curl (\S+)/.exec(line) ?? [];
    const headers = [...line.matchAll(/-H '([^:]+): ([^']+)'/g)].map(
      ([, name = '', value = '']) => [name, value] as const,
    );
    const [, body = ''] = /-d '([^']+)'/.exec(line) ?? [];
    return (await fetch(url, { method: 'POST', headers: headers.map((pair) => [...pair]), body })).text();
  }
  return execFileSync('sh', ['-c', `${line} --silent`], { encoding: 'utf8' });
}

/** They may have to wait for other tests to leave these ports. */
const DEMO_MS = 180_000;
const onDemoPorts = (run: () => Promise<void>) => () => withDemoPorts(run);

let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'fairlane-cli-'));
  await envoyForTests();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('fairlane start', () => {
  it(
    'without a configuration serves the demo: the banner’s curl lines work as they are, and Ctrl-C ends all three',
    onDemoPorts(async () => {
      const start = runCli(['start']);
      await start.until('Ctrl-C drains and stops.');
      const curls = start
        .stdout()
        .split('\n')
        .filter((line) => line.startsWith('curl '));
      expect(curls).toHaveLength(2);
      for (const line of curls) {
        const answer = JSON.parse(await curl(line)) as {
          choices: { message: { content: string } }[];
        };
        expect(answer.choices[0]?.message.content).not.toBe('');
      }
      const metrics = /metrics +(\S+)/.exec(start.stdout())?.[1] ?? '';
      expect(await (await fetch(metrics)).text()).toContain('fairlane_requests_total{tenant="quiet"');
      const admin = /admin +(\S+)/.exec(start.stdout())?.[1] ?? '';
      expect((await fetch(`${admin}/ready`)).status).toBe(200);

      const processes = descendants(start.child.pid ?? 0);
      expect(processes.length).toBeGreaterThanOrEqual(3);
      const url = /API +(\S+)\/v1/.exec(start.stdout())?.[1] ?? '';
      const stream = await openStream(url, {
        key: 'demo-quiet-key',
        body: chatBody({ stream: true, max_tokens: 100, ignore_eos: true }),
      });
      start.child.kill('SIGINT');
      expect(await start.exited).toBe(0);
      expect(eventsOf(await stream.done).at(-1)).toBe('[DONE]');
      await eventually(
        () => processes.filter(alive),
        (left) => left.length === 0,
        2_000,
      );
      expect(start.stdout() + start.stderr()).not.toMatch(
        /Segmentation|Backtrace|Unhandled|at .*\.[jt]s:\d+/,
      );
    }),
    DEMO_MS,
  );

  it(
    'stops at once on a second Ctrl-C',
    onDemoPorts(async () => {
      const start = runCli(['start']);
      await start.until('Ctrl-C drains and stops.');
      const url = /API +(\S+)\/v1/.exec(start.stdout())?.[1] ?? '';
      const stream = await openStream(url, {
        key: 'demo-quiet-key',
        body: chatBody({ stream: true, max_tokens: 2_000, ignore_eos: true }),
      });
      start.child.kill('SIGINT');
      await start.until('draining');
      start.child.kill('SIGINT');
      expect(await start.exited).toBe(130);
      await expect(stream.done).rejects.toThrow();
    }),
    DEMO_MS,
  );

  it(
    'killed outright takes Envoy and the simulator with it',
    onDemoPorts(async () => {
      const start = runCli(['start']);
      await start.until('Ctrl-C drains and stops.');
      const processes = descendants(start.child.pid ?? 0);
      start.child.kill('SIGKILL');
      const gone = (left: readonly number[]) => left.length === 0;
      expect(await eventually(() => processes.filter(alive), gone, 5_000)).toEqual([]);
    }),
    DEMO_MS,
  );

  it('serves a user’s own engine, and takes over a changed file', async () => {
    const engine = await startSimulator({ profile: parseProfile('test', {}), models: ['demo'] });
    const [api = 0, admin = 0, metrics = 0] = await freePorts(3);
    const path = join(folder, 'own.yaml');
    const text = configYaml([engine.url], { api, admin, metrics }, join(folder, 'own'));
    writeFileSync(path, text);
    const start = runCli(['start', '--config', path]);
    await start.until('Ctrl-C drains and stops.');
    const ask = (key: string) => send(`http://127.0.0.1:${api}`, { key, body: chatBody() });
    expect((await ask(KEYS.quiet)).status).toBe(200);
    writeFileSync(path, text.replace(KEYS.quiet, 'another-key-for-quiet'));
    await eventually(
      () => ask('another-key-for-quiet'),
      ({ status }) => status === 200,
    );
    writeFileSync(path, text.replace('pools:', 'poools:'));
    await start.until('config-refused');
    expect(start.stdout()).toMatch(/own\.yaml:\d+:\d+: poools: .*pools/);
    expect((await ask('another-key-for-quiet')).status).toBe(200);
    start.child.kill('SIGTERM');
    expect(await start.exited).toBe(0);
    await engine.close();
  });

  it('says that no engine is there, and Ctrl-C cuts a stream that goes on after drainTimeout, not after twice that', async () => {
    const [api = 0, admin = 0, metrics = 0, port = 0] = await freePorts(4);
    const path = join(folder, 'budget.yaml');
    const text = configYaml(
      [`http://127.0.0.1:${port}`],
      { api, admin, metrics },
      join(folder, 'budget'),
      (config) => {
        config['service']['drainTimeout'] = '4s';
      },
    );
    writeFileSync(path, text);
    const start = runCli(['start', '--config', path]);
    await start.until('Ctrl-C drains and stops.');
    expect(start.stdout()).toMatch(
      /WARNING: no engine is healthy yet.*\n {2}pool main, http:\/\/127\.0\.0\.1:\d+: \w+ for/,
    );
    // Once; the log names it too.
    const banner = start
      .stdout()
      .split('\n')
      .filter((line) => !line.startsWith('{'));
    expect(banner.join('\n').split(`http://127.0.0.1:${port}`)).toHaveLength(2);
    const slow = parseProfile('test', { stepBaseMs: 50 });
    const engine = await startSimulator({ profile: slow, models: ['demo', 'embedder'], port });
    await eventually(
      async () => (await fetch(`http://127.0.0.1:${metrics}/ready`)).status,
      (status) => status === 200,
    );
    const stream = await openStream(`http://127.0.0.1:${api}`, {
      key: KEYS.quiet,
      body: chatBody({ stream: true, max_tokens: 1_000, ignore_eos: true }),
    });
    const cut = stream.done.then(
      () => false,
      () => true,
    );
    const began = performance.now();
    start.child.kill('SIGINT');
    expect(await start.exited).toBe(0);
    const tookMs = performance.now() - began;
    expect(await cut).toBe(true);
    expect(tookMs).toBeGreaterThan(3_900);
    // Envoy and the last answers have a second and a half after it.
    expect(tookMs).toBeLessThan(7_500);
    expect(start.stdout()).toContain('"unfinished":1');
    await engine.close();
  });

  it('with a port in use says which, and leaves nothing behind', async () => {
    const taken = createServer();
    const port = await new Promise<number>((resolve) => {
      taken.listen(0, '127.0.0.1', () => resolve((taken.address() as { port: number }).port));
    });
    const [admin = 0, metrics = 0] = await freePorts(2);
    const path = join(folder, 'taken.yaml');
    writeFileSync(
      path,
      configYaml(['http://127.0.0.1:9'], { api: port, admin, metrics }, join(folder, 'taken')),
    );
    const start = runCli(['start', '--config', path]);
    expect(await start.exited).toBe(1);
    // At once, by the setting's name, and last.
    expect(start.stderr()).toBe(
      `fairlane: listen: 127.0.0.1:${port} is in use; stop what listens there or choose another address in the configuration\n`,
    );
    expect(start.stderr()).not.toMatch(/at .*\.[jt]s:\d+/);
    taken.close();
  });

  it('with a wrong configuration names file, line and the nearest key, and exits with 1', async () => {
    const path = join(folder, 'wrong.yaml');
    writeFileSync(
      path,
      'pools:\n  main:\n    endpoint: [http://127.0.0.1:8000]\ntenants: { a: { keys: [long-enough-key] } }\n',
    );
    const start = runCli(['start', '--config', path]);
    expect(await start.exited).toBe(1);
    expect(start.stderr()).toMatch(/wrong\.yaml:3:5: pools\.main\.endpoint: .*endpoints/);
  });

  it.each([
    [['--help'], 0],
    [['start', '--help'], 0],
    [['stat'], 1],
    [['start', '--concurrency'], 1],
  ])('%j is understood or refused with help', async (args, code) => {
    const command = runCli(args);
    expect(await command.exited).toBe(code);
    expect(command.stdout() + command.stderr()).toMatch(/Usage:|--help/);
  });
});

describe('fairlane envoy-config', () => {
  const examples = ['quickstart', 'existing-vllm', 'docker', 'full'];
  const env = {
    ...process.env,
    ALICE_KEY: 'key-of-alice',
    FAIRLANE_ADMIN_TOKEN: 'key-of-the-admin'.padEnd(32, '-'),
    FAIRLANE_READ_TOKEN: 'key-of-who-reads'.padEnd(32, '-'),
    BOB_KEY: 'key-of-bob-too',
    QUIET_KEY: 'key-of-quiet',
    BOB_NEXT_KEY: 'key-of-bob-next',
    NIGHTLY_KEY: 'key-of-nightly',
    NOISY_KEY: 'key-of-noisy',
    ENGINE_URL: 'http://127.0.0.1:8001',
    REDIS_URL: 'redis://127.0.0.1:6379',
    FAIRLANE_SIMULATOR_URL: 'http://127.0.0.1:8000',
  };

  it.each(examples)(
    'prints a bootstrap for examples/%s.yaml that Envoy accepts, without a key in it',
    async (name) => {
      const directory = join(folder, name);
      const text = readFileSync(`examples/${name}.yaml`, 'utf8');
      const path = join(folder, `${name}.yaml`);
      writeFileSync(path, text);
      const full = { ...env, XDG_RUNTIME_DIR: directory };
      const printed = runCli(['envoy-config', '--config', path], full);
      expect(await printed.exited).toBe(0);
      expect(printed.stdout()).not.toContain('key-of');
      expect(printed.stdout()).not.toContain('demo-quiet-key');
      const loaded = loadConfig(path, full);
      if (loaded.kind === 'bad') throw new Error(loaded.problems.join('\n'));
      const { config } = loaded;
      const there = { ...config, envoy: { ...config.envoy, directory } };
      writeDynamicFiles(
        directory,
        dynamicFilesOf(
          there,
          new Map(
            [...config.pools.values()].flatMap((pool) =>
              pool.endpoints.map(({ url }) => [url, '127.0.0.1'] as const),
            ),
          ),
        ),
      );
      const bootstrap = join(directory, 'bootstrap.yaml');
      writeFileSync(bootstrap, printed.stdout().replaceAll(config.envoy.directory, directory));
      const [program, ...args] = (await envoyForTests()).command;
      const output = execFileSync(
        program,
        [...args, '--mode', 'validate', '--config-path', bootstrap, '--log-level', 'error'],
        { encoding: 'utf8' },
      );
      expect(output).toContain('OK');
    },
  );

  it('prints the parts for an Envoy that runs already', async () => {
    for (const part of ['http-filters', 'routes', 'clusters']) {
      const printed = runCli(
        ['envoy-config', '--config', 'examples/existing-vllm.yaml', '--part', part],
        env,
      );
      expect(await printed.exited).toBe(0);
      expect(printed.stdout()).toMatch(/^# Generated/);
    }
  });
});

describe('fairlane doctor', () => {
  const doctor = async (change: (config: Draft) => void, engines: readonly string[]) => {
    const directory = mkdtempSync(join(tmpdir(), 'fairlane-doctor-'));
    const [api = 0, admin = 0, metrics = 0] = await freePorts(3);
    const path = join(directory, 'fairlane.yaml');
    writeFileSync(path, configYaml(engines, { api, admin, metrics }, directory, change));
    const command = runCli(['doctor', '--config', path]);
    const code = await command.exited;
    rmSync(directory, { recursive: true, force: true });
    return { code, text: command.stdout() };
  };

  it('says that all is well, and what the engine says of itself', async () => {
    const engine = await startSimulator({
      profile: parseProfile('test', { scheduling: 'priority' }),
      models: ['demo', 'embedder'],
    });
    const { code, text } = await doctor(
      (config) => {
        config['pools']['main']['engineCapabilities'] = { priority: 'auto', cacheSalt: 'auto' };
      },
      [engine.url],
    );
    await engine.close();
    expect(text).toMatch(/^ok +.*serves demo, embedder$/m);
    expect(text).toMatch(/^ok +.*vllm, 0 running, 0 waiting, KV cache of 65536 tokens$/m);
    expect(text).toMatch(/^ok +.*takes priorities$/m);
    expect(text).toMatch(/^ok +.*takes a cache salt$/m);
    expect(text).not.toMatch(/^(warning|problem)/m);
    expect(code).toBe(0);
  });

  it('names what is wrong with an engine, and what to do', async () => {
    const engine = await startSimulator({ profile: parseProfile('test', {}), models: ['other'] });
    const { code, text } = await doctor(
      (config) => {
        Object.assign(config['pools']['main'], {
          concurrencyLimit: 'auto',
          gauges: { path: '/nowhere' },
        });
      },
      [engine.url, 'http://127.0.0.1:9'],
    );
    await engine.close();
    expect(text).toMatch(
      /^problem .*does not serve demo, embedder, which the configuration names; it serves other$/m,
    );
    expect(text).toMatch(/^warning .*\/nowhere: 404; the concurrency limit goes by times to first token/m);
    expect(text).toMatch(/^problem .*127\.0\.0\.1:9: GET \/health: .*is the engine running/m);
    expect(code).toBe(1);
  });

  it('looks whether a mirror’s engine can have the copies', async () => {
    const engine = await startSimulator({
      profile: parseProfile('test', {}),
      models: ['demo', 'embedder'],
    });
    const next = await startSimulator({ profile: parseProfile('test', {}), models: ['demo-next'] });
    const { code, text } = await doctor(
      (config) => {
        config['pools'].next = { endpoints: [next.url], gauges: { path: '/nowhere' } };
        config['models'].demo.mirror = { pool: 'next', percent: 1 };
      },
      [engine.url],
    );
    await Promise.all([engine.close(), next.close()]);
    expect(text).toMatch(
      /^problem .*does not serve demo, which the configuration names; it serves demo-next$/m,
    );
    expect(text).toMatch(/^problem .*nothing is copied to this pool without gauges/m);
    expect(code).toBe(1);
  });

  it('asks a running service over gRPC, as Envoy does', async () => {
    const engine = await startSimulator({
      profile: parseProfile('test', {}),
      models: ['demo', 'embedder'],
    });
    const stack = await startStack({ engines: [engine.url] });
    const ask = async (): Promise<string> => {
      const command = runCli(['doctor', '--config', stack.configPath]);
      await command.exited;
      return command.stdout();
    };
    expect(await ask()).toMatch(/^ok +gRPC on unix:.*: SERVING$/m);
    const text = readFileSync(stack.configPath, 'utf8');
    writeFileSync(stack.configPath, text.replace('service:', 'service:\n  address: 127.0.0.1:9'));
    expect(await ask()).toMatch(/^problem +gRPC on 127\.0\.0\.1:9: .*another service\.address/m);
    await stack.close();
    await engine.close();
  });

  it('says everything that is wrong with a configuration', async () => {
    const { code, text } = await doctor(
      (config) => {
        config['queue'] = { maxWiat: '3s' };
      },
      ['http://127.0.0.1:9'],
    );
    expect(text).toMatch(/^problem .*maxWiat.*maxWait/m);
    expect(code).toBe(1);
  });
});
