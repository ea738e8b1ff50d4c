/**
 * A start that fails half-way leaves nothing behind: no timer, socket, watch or child, no file, no port. Each step of the start
 * is made to fail as it does in the field; steps that are told of and do not end a start are shown to go on.
 */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Config } from '../../src/config/config.ts';
import { parseConfig } from '../../src/config/load.ts';
import { type Service, startService } from '../../src/service/service.ts';
import { createLog } from '../../src/telemetry/pino-log.ts';
import { eventually } from '../support/eventually.ts';
import { type LeftOpen, watchOpen } from '../support/left-open.ts';
import { freePorts } from '../support/ports.ts';
import { runCli } from '../support/serve.ts';
import { configYaml, type Draft } from '../support/stack.ts';

const LIMITS = 'domain: shared\ndescriptors:\n  - key: k\n';
/** Of every other start: takes connections and never answers. */
let engine: Server;
let engineUrl = '';
let root = '';
let ports: { api: number; admin: number; metrics: number; grpc: number; none: number };
let leftOpen: LeftOpen;
let log = '';
const closing: (() => Promise<void> | void)[] = [];

const listen = (server: Server, at: { port: number; host: string } | { path: string }): Promise<void> =>
  new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(at, resolve);
  });
const close = (server: Server): Promise<void> => new Promise((resolve) => server.close(() => resolve()));

/** Something else that listens, until the end of the test. */
async function occupy(at: { port: number; host: string } | { path: string }): Promise<void> {
  const server = createServer((socket) => socket.destroy());
  await listen(server, at);
  closing.push(() => close(server));
}

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'fairlane-start-'));
  const [api = 0, admin = 0, metrics = 0, grpc = 0, none = 0, port = 0] = await freePorts(6);
  ports = { api, admin, metrics, grpc, none };
  engine = createServer((socket) => socket.on('error', () => undefined).resume());
  await listen(engine, { port, host: '127.0.0.1' });
  engineUrl = `http://localhost:${port}`;
  mkdirSync(join(root, 'limits'));
  writeFileSync(join(root, 'limits', 'a.yaml'), LIMITS);
  log = '';
});
afterEach(async () => {
  leftOpen.stop();
  for (const end of closing.splice(0).toReversed()) await end();
  await close(engine);
  rmSync(root, { recursive: true, force: true });
});

const runDirectory = (): string => join(root, 'state', 'run');

/** A configuration of which every part opens something: names to look up, probes, adapters, watched limits. */
function yamlOf(change: (config: Draft) => void): string {
  return configYaml([engineUrl, `http://127.0.0.1:${ports.none}`], ports, runDirectory(), (config) => {
    config['pools']['main'] = {
      ...config['pools']['main'],
      adaptersPerEndpoint: 2,
      health: { interval: '200ms', timeout: '30s' },
      gauges: { interval: '200ms' },
    };
    config['adapters'] = { polite: { base: 'demo', path: '/adapters/polite' } };
    config['rateLimit'] = { directory: join(root, 'limits'), snapshot: join(root, 'levels.json') };
    change(config);
  });
}

function configOf(change: (config: Draft) => void): Config {
  const parsed = parseConfig({
    text: yamlOf(change),
    file: join(root, 'fairlane.yaml'),
    defaults: { directory: runDirectory() },
    env: {},
    readFile: () => '',
  });
  if (parsed.kind === 'bad') throw new Error(parsed.problems.join('\n'));
  return parsed.config;
}

async function start(change: (config: Draft) => void = () => undefined): Promise<Service> {
  const service = await startService(
    configOf(change),
    createLog('debug', {
      write(line) {
        log += line;
      },
    }),
  );
  closing.push(() => service.drain());
  return service;
}

/** Every file below the folder, with what it says. */
function filesIn(folder: string): readonly string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .map((entry) => {
      const path = join(entry.parentPath, entry.name);
      return `${path}: ${entry.isFile() ? readFileSync(path, 'utf8') : 'no file'}`;
    })
    .toSorted();
}

async function expectPortsFree(but: readonly number[]): Promise<void> {
  for (const port of [ports.metrics, ports.grpc]) {
    if (but.includes(port)) continue;
    const server = createServer();
    await listen(server, { port, host: '127.0.0.1' });
    await close(server);
  }
}

interface Failure {
  readonly name: string;
  /** Makes the step fail. */
  readonly arrange?: () => Promise<void> | void;
  readonly change?: (config: Draft) => void;
  readonly message: RegExp;
  /** Ports that another has. */
  readonly taken?: () => readonly number[];
}

const socketPath = (): string => join(root, 'other', 'fairlane.sock');
const atSocket = (config: Draft): void => {
  config['service']['address'] = `unix:${socketPath()}`;
};
const atPort = (config: Draft): void => {
  config['service']['address'] = `127.0.0.1:${ports.grpc}`;
};
const otherFolder = (): void => mkdirSync(dirname(socketPath()));
const limits = (file: string, text: string): void => writeFileSync(join(root, 'limits', file), text);

const FAILURES: readonly Failure[] = [
  {
    name: 'the socket is served by another process',
    async arrange() {
      otherFolder();
      await occupy({ path: socketPath() });
    },
    change: atSocket,
    message: /^service\.address: another process serves .*fairlane\.sock; stop it or choose another/,
  },
  {
    name: 'a file is where the socket goes',
    arrange() {
      otherFolder();
      writeFileSync(socketPath(), 'mine');
    },
    change: atSocket,
    message: /^service\.address: .*fairlane\.sock exists and is no socket; remove it/,
  },
  {
    name: 'there is no folder for the socket',
    change: atSocket,
    message: /^service\.address: cannot use .*fairlane\.sock: .*choose a folder/,
  },
  {
    name: 'others may write to the folder of the socket',
    arrange() {
      otherFolder();
      chmodSync(dirname(socketPath()), 0o777);
    },
    change: atSocket,
    message: /^service\.address: cannot use .*fairlane\.sock: .*others may write to/,
  },
  {
    name: 'the gRPC port is taken',
    arrange: () => occupy({ port: ports.grpc, host: '127.0.0.1' }),
    change: atPort,
    message: /^service\.address: cannot listen on 127\.0\.0\.1:\d+: .*EADDRINUSE/,
    taken: () => [ports.grpc],
  },
  {
    name: 'the metrics port is taken',
    arrange: () => occupy({ port: ports.metrics, host: '127.0.0.1' }),
    message: /^service\.metrics: 127\.0\.0\.1:\d+ is in use; stop what listens there/,
    taken: () => [ports.metrics],
  },
  {
    name: 'the port of /json is taken',
    arrange: () => occupy({ port: ports.grpc, host: '127.0.0.1' }),
    change(config) {
      config['rateLimit']['http'] = `127.0.0.1:${ports.grpc}`;
    },
    message: /^rateLimit\.http: 127\.0\.0\.1:\d+ is in use; stop what listens there/,
    taken: () => [ports.grpc],
  },
  {
    name: 'the metrics address is none of this machine',
    change(config) {
      config['service']['metrics'] = '192.0.2.1:9999';
    },
    message: /^service\.metrics: cannot listen on 192\.0\.2\.1:9999: .*EADDRNOTAVAIL/,
  },
  {
    name: 'there is no folder of limits',
    arrange: () => rmSync(join(root, 'limits'), { recursive: true }),
    message: /^rateLimit\.directory: .*ENOENT/,
  },
  {
    name: 'a file of limits is bad',
    arrange: () => limits('b.yaml', 'domain: ""'),
    message: /^rateLimit\.directory: .*b\.yaml: config file cannot have empty domain/,
  },
  {
    name: 'no file of limits can be read',
    // Beside others it is passed over.
    arrange: () => {
      rmSync(join(root, 'limits', 'a.yaml'));
      mkdirSync(join(root, 'limits', 'b.yaml'));
    },
    message: /^rateLimit\.directory: .*no \.yaml file can be read \(.*b\.yaml: it is a folder\)/,
  },
  {
    name: "the folder of Envoy's files cannot be made",
    arrange: () => writeFileSync(join(root, 'state'), 'a file'),
    change: atPort,
    message: /^envoy\.directory: cannot use .*ENOTDIR.*choose a folder/,
  },
  {
    name: "others may write to the folder of Envoy's files",
    arrange() {
      mkdirSync(runDirectory(), { recursive: true });
      chmodSync(runDirectory(), 0o777);
    },
    change: atPort,
    message: /^envoy\.directory: cannot use .*everybody may write to it/,
  },
  {
    name: "one of Envoy's files cannot be written, after others have been",
    arrange: () => mkdirSync(join(runDirectory(), 'clusters.json.new'), { recursive: true, mode: 0o700 }),
    change: atPort,
    message: /^envoy\.directory: cannot use .*clusters\.json\.new/,
  },
];

/** Where levels are: what is opened before the step that fails. */
const STORES: readonly (readonly [string, (config: Draft) => void])[] = [
  ['with a snapshot', () => undefined],
  [
    'with a Redis that is away',
    (config) => {
      config['redis'] = { url: `redis://127.0.0.1:${ports.none}` };
    },
  ],
];

describe.each(STORES)('a start, %s, that fails because', (_, withStore) => {
  it.each(FAILURES.map((failure) => [failure.name, failure] as const))(
    '%s leaves nothing behind',
    async (_name, { arrange, change, message, taken }) => {
      await arrange?.();
      const files = filesIn(root);
      leftOpen = watchOpen();
      await expect(
        start((config) => {
          withStore(config);
          change?.(config);
        }),
      ).rejects.toThrow(message);
      expect(filesIn(root)).toEqual(files);
      await leftOpen.nothing();
      await expectPortsFree(taken?.() ?? []);
    },
  );
});

it('a second service in the folder of one that runs is refused, and changes nothing there', async () => {
  leftOpen = watchOpen();
  await start();
  const files = filesIn(runDirectory());
  const [metrics = 0] = await freePorts(1);
  await expect(
    start((config) => {
      config['service']['metrics'] = `127.0.0.1:${metrics}`;
      config['tenants'] = { other: { keys: ['another-key'] } };
    }),
  ).rejects.toThrow(/another process serves/);
  expect(filesIn(runDirectory())).toEqual(files);
});

describe('a start goes on', () => {
  it('where Redis does not answer; the end leaves nothing open', async () => {
    leftOpen = watchOpen();
    const service = await start((config) => {
      config['redis'] = { url: `redis://127.0.0.1:${ports.none}` };
    });
    await eventually(
      () => log,
      (text) => text.includes('"message":"redis"'),
    );
    await service.drain();
    await leftOpen.nothing();
    await expectPortsFree([]);
    expect(existsSync(join(runDirectory(), 'fairlane.sock'))).toBe(false);
  });

  it('where the snapshot is bad and cannot be written; the end leaves nothing open', async () => {
    mkdirSync(join(root, 'levels.json'));
    leftOpen = watchOpen();
    const service = await start();
    await service.drain();
    expect(log.match(/"message":"snapshot-failed"/g)).toHaveLength(2);
    await leftOpen.nothing();
    expect(readdirSync(root)).not.toContain('levels.json.new');
  });
});

describe('an end', () => {
  it('asked for again waits for the first, and is one', async () => {
    leftOpen = watchOpen();
    const service = await start();
    const first = service.drain();
    await Promise.all([first, service.drain()]);
    await service.drain();
    expect(log.match(/"message":"drained"/g)).toHaveLength(1);
    await leftOpen.nothing();
  });

  it('while a configuration is being taken over leaves nothing open', async () => {
    leftOpen = watchOpen();
    const service = await start();
    const reload = service.reload(
      configOf((config) => {
        config['pools']['second'] = { endpoints: ['http://a-name-that-is-none.invalid:1'] };
      }),
      [],
    );
    await Promise.all([reload, service.drain()]);
    await leftOpen.nothing();
    expect(readdirSync(runDirectory())).not.toContain('endpoints-second.json');
  });

  it('comes with the whole process, and takes its socket along, where a start fails', async () => {
    leftOpen = watchOpen();
    await occupy({ port: ports.metrics, host: '127.0.0.1' });
    const path = join(root, 'fairlane.yaml');
    writeFileSync(
      path,
      yamlOf(() => undefined),
    );
    const serve = runCli(['serve', '--config', path]);
    expect(await serve.exited).toBe(1);
    expect(serve.stderr()).toMatch(/fairlane: service\.metrics: .* is in use/);
    expect(existsSync(join(root, 'state'))).toBe(false);
  });

  it('comes before anything is opened where a key file is missing', async () => {
    leftOpen = watchOpen();
    const path = join(root, 'fairlane.yaml');
    writeFileSync(
      path,
      yamlOf((config) => {
        config['tenants']['quiet'] = { keys: ['file:absent.key'] };
      }),
    );
    const serve = runCli(['serve', '--config', path]);
    expect(await serve.exited).toBe(1);
    expect(serve.stderr()).toMatch(/absent\.key/);
    expect(existsSync(join(root, 'state'))).toBe(false);
  });
});
