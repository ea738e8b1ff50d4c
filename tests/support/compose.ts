/** What docker-compose.yml says of its services. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { expect } from 'vitest';
import { parse } from 'yaml';

const run = promisify(execFile);

export const { services } = parse(readFileSync('docker-compose.yml', 'utf8'), { merge: true }) as {
  readonly services: Readonly<
    Record<
      string,
      { readonly command: readonly string[]; readonly healthcheck: { readonly test: readonly string[] } }
    >
  >;
};

/** Exit code of a service's own health check, with the port that it has here. */
export async function healthCheck(service: string, port: number, usually: number): Promise<number> {
  const [kind, program = '', ...args] = services[service]?.healthcheck.test ?? [];
  expect(kind).toBe('CMD');
  const here = args.map((arg) => arg.replaceAll(String(usually), String(port)));
  expect(here).not.toEqual(args);
  return run(program, here, { timeout: 5_000 }).then(
    () => 0,
    (error: { readonly code: number }) => error.code,
  );
}
