import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { Command } from 'commander';
import { statusReference } from '../admin/status-reference.ts';
import { openApiDocument } from '../admin/tenant-openapi.ts';
import { configJsonSchema, configReference } from '../config/reference.ts';
import { observabilityFiles } from '../dashboards/files.ts';
import { runbooksPage } from '../dashboards/runbooks.ts';
import { engineReference } from '../engine/reference.ts';
import { routesReference } from '../engine/routes-reference.ts';
import { createMetrics } from '../telemetry/prom-metrics.ts';
import { metricsReference } from '../telemetry/reference.ts';
import { envoyConfigText } from './envoy-config.ts';
import { loadOrThrow } from './loading.ts';
import { commandsReference } from './reference.ts';
import { print } from './terminal.ts';
import { UserError } from './user-error.ts';

/** Keys that the examples take from the environment. They reach no generated file. */
const EXAMPLE_ENV = {
  ALICE_KEY: 'example-key-of-alice',
  BOB_KEY: 'example-key-of-bob',
  QUIET_KEY: 'example-key-of-quiet',
  NOISY_KEY: 'example-key-of-noisy',
  ENGINE_URL: 'http://simulator:8000',
  FAIRLANE_SIMULATOR_URL: 'http://127.0.0.1:8000',
  XDG_RUNTIME_DIR: '/run/user/1000',
};

/** A folder of Envoy's container alone; envoy/docker/run.sh writes the file in it. */
const COMPOSE_LISTENERS = '/tmp/envoy';
const REFERENCE = 'docs/reference';

/** Where each document is, by its name. */
function documents(): ReadonlyMap<string, string> {
  const paths = readdirSync('docs', { recursive: true, encoding: 'utf8' });
  return new Map(
    paths.filter((path) => path.endsWith('.md')).map((path) => [basename(path), join('docs', path)]),
  );
}

/**
 * Descriptions in the code name a document as `docs/NAME.md`, or link to `NAME.md`, wherever in docs/ it is.
 *
 * @returns the text with the document's path, and with links that work from docs/reference.
 * @throws when no document has the name.
 */
function located(text: string): string {
  const known = documents();
  const pathOf = (name: string): string => {
    const path = known.get(name);
    if (path === undefined) throw new UserError(`a description names ${name}, which is nowhere in docs/`);
    return path;
  };
  return text
    .replaceAll(/\bdocs\/([a-z-]+\.md)/g, (_, name: string) => pathOf(name))
    .replaceAll(/\]\(([a-z-]+\.md)/g, (_, name: string) => `](${relative(REFERENCE, pathOf(name))}`);
}

async function generated(program: Command): Promise<ReadonlyMap<string, string>> {
  const metrics = createMetrics({
    occupancy: () => [],
    pools: () => [],
    adapters: () => [],
    openStreams: () => 0,
    rollouts: () => [],
    activeTenants: () => [],
    reloads: () => ({ sinceMs: 0, refused: false }),
  });
  metrics.watchRedis(() => ({ connected: false, leased: 0, commands: 0 }));
  metrics.watchSharedCapacity(() => ({ capacity: 0, held: 0 }));
  metrics.watchLedger(() => ({ rows: 0, lost: {}, spooled: 0, lagMs: 0 }));
  const rows = metrics.registry.getMetricsAsArray().map((metric) => {
    const { labelNames } = metric as unknown as { readonly labelNames?: readonly string[] };
    return { name: metric.name, help: metric.help, type: String(metric.type), labels: labelNames ?? [] };
  });
  const files = new Map([
    [`${REFERENCE}/commands.md`, commandsReference(program)],
    [`${REFERENCE}/config.md`, located(configReference())],
    ['docs/config.schema.json', located(`${JSON.stringify(configJsonSchema(), null, 2)}\n`)],
    [`${REFERENCE}/engines.md`, located(engineReference())],
    [`${REFERENCE}/status.md`, statusReference()],
    [`${REFERENCE}/routes.md`, located(routesReference())],
    [`${REFERENCE}/admin-api.json`, `${JSON.stringify(openApiDocument(), undefined, 2)}\n`],
    [`${REFERENCE}/metrics.md`, located(metricsReference(rows))],
    ['docs/runbooks.md', runbooksPage()],
    ...observabilityFiles(),
  ]);
  for (const example of ['quickstart', 'existing-vllm', 'docker']) {
    const { config } = loadOrThrow(`examples/${example}.yaml`, EXAMPLE_ENV);
    files.set(`envoy/${example}.yaml`, envoyConfigText(config, 'bootstrap'));
    if (example === 'existing-vllm') {
      for (const part of ['http-filters', 'routes', 'clusters'] as const) {
        files.set(`envoy/${part}.yaml`, envoyConfigText(config, part));
      }
    }
  }
  const { config } = loadOrThrow('examples/docker/fairlane.yaml', EXAMPLE_ENV);
  files.set('envoy/docker/envoy.yaml', envoyConfigText(config, 'bootstrap', COMPOSE_LISTENERS));
  files.set('envoy/docker/listeners.json', envoyConfigText(config, 'listeners'));
  return files;
}

/** `fairlane docs`: writes what is generated from the code; with --check it only compares. For developers. */
export function docsCommand(): Command {
  return new Command('docs')
    .description('Write the generated files of docs/ and envoy/ (run it in the project folder).')
    .option('--check', 'write nothing; fail if a file is not up to date')
    .action(async ({ check }: { check?: boolean }, command: Command) => {
      const stale: string[] = [];
      for (const [path, text] of await generated(command.parent ?? command)) {
        let current = '';
        try {
          current = readFileSync(path, 'utf8');
        } catch {
          // Not there yet: as stale as any other.
        }
        if (current === text) continue;
        stale.push(path);
        if (check === true) continue;
        mkdirSync(dirname(path), { recursive: true });
        writeFileSync(path, text);
      }
      if (check === true && stale.length > 0) {
        throw new UserError(`not up to date: ${stale.join(', ')}; run: npm run docs`);
      }
      print(stale.length === 0 ? 'Generated files are up to date.' : `Written: ${stale.join(', ')}`);
    });
}
