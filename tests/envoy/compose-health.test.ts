/** The health checks of docker-compose.yml, run as they stand, against what they check. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { parse } from 'yaml';
import { startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { startStack } from '../support/stack.ts';

const run = promisify(execFile);
const { services } = parse(readFileSync('docker-compose.yml', 'utf8')) as {
  readonly services: Readonly<Record<string, { readonly healthcheck: { readonly test: readonly string[] } }>>;
};

/** Exit code of a service's check, with the port that it has here. */
async function check(service: string, port: number, usually: number): Promise<number> {
  const [kind, program = '', ...args] = services[service]?.healthcheck.test ?? [];
  expect(kind).toBe('CMD');
  const here = args.map((arg) => arg.replaceAll(String(usually), String(port)));
  expect(here).not.toEqual(args);
  return run(program, here, { timeout: 5_000 }).then(
    () => 0,
    (error: { readonly code: number }) => error.code,
  );
}

it('the health checks pass while all is well, and fail when nobody answers', async () => {
  const engine = await startSimulator({ profile: parseProfile('test', {}), models: ['demo'] });
  const stack = await startStack({ engines: [engine.url] });
  const { envoy, service } = stack.config;
  const adminPort = 'port' in envoy.admin ? envoy.admin.port : 0;
  expect(await check('envoy', adminPort, 9901)).toBe(0);
  expect(await check('fairlane', service.metrics.port, 9464)).toBe(0);
  expect(await check('simulator', engine.port, 8000)).toBe(0);
  await stack.close();
  await engine.close();
  expect(await check('envoy', adminPort, 9901)).not.toBe(0);
  expect(await check('fairlane', service.metrics.port, 9464)).not.toBe(0);
  expect(await check('simulator', engine.port, 8000)).not.toBe(0);
});
