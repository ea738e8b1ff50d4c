/** Schemathesis, which knows the admin API by its document alone, against a service that runs: what one says is what the other does. */
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ADMIN_ROUTES } from '../../src/admin/tenant-routes.ts';
import { type AdminService, startAdminService } from '../support/admin-service.ts';
import { pythonWith } from '../support/clients/python.ts';
import { TOKEN } from '../support/made-tenants.ts';

const execute = promisify(execFile);
const DOCUMENT = 'docs/reference/admin-api.json';
/** It sends a thousand requests, one after another. */
const LIMIT_MS = 300_000;

let python: string;
let service: AdminService;

beforeAll(async () => {
  [python, service] = await Promise.all([pythonWith('schemathesis'), startAdminService()]);
}, 180_000);
afterAll(() => service.close());

/** All that it says. */
async function schemathesis(document: string, more: readonly string[]): Promise<string> {
  const args = ['run', document, '--url', `http://127.0.0.1:${service.port}`];
  // A document cannot say which tiers there are, nor which times are past: what fits it may be refused.
  // A tenant that was deleted is disabled, and stays to be seen.
  const excluded = ['--exclude-checks', 'positive_data_acceptance,use_after_free'];
  const checks = ['--checks', 'all', ...excluded];
  // Threads of it break on Python 3.11.
  const bounds = ['--seed', '1', '--no-shrink', '--continue-on-failure', '--workers', '1'];
  const looks = ['--no-color', '--warnings', 'off'];
  const token = ['--header', `Authorization: Bearer ${TOKEN}`];
  const { stdout } = await execute(
    python,
    ['-m', 'schemathesis.cli', ...args, ...checks, ...bounds, ...looks, ...token, ...more],
    { cwd: service.directory, maxBuffer: 64 * 1024 ** 2, timeout: LIMIT_MS },
  ).catch((error: { readonly stdout: string }) => error);
  return stdout;
}

it(
  'a client made of the document finds nothing that it does not say',
  async () => {
    const said = await schemathesis(join(process.cwd(), DOCUMENT), ['--max-examples', '12']);
    expect(said).toContain(`Tested: ${ADMIN_ROUTES.length}`);
    const cases = /(\d+) generated, (\d+) passed/.exec(said);
    // What it found, where it found something.
    expect(cases?.[1] === cases?.[2] ? '' : said.slice(-8_000)).toBe('');
    expect(Number(cases?.[1])).toBeGreaterThan(500);
    for (const problem of ['FAILURES', 'ERRORS']) expect(said).not.toContain(`= ${problem} =`);
    // Whatever it sent: the service goes on, and nothing of it failed.
    expect((await service.ask('GET', '/v1/tenants')).status).toBe(200);
    expect(service.said()).not.toContain(TOKEN);
    expect(service.process.child.exitCode).toBeNull();
  },
  LIMIT_MS,
);

it('and finds what a document says otherwise', async () => {
  const document = (await (await service.ask('GET', '/v1/openapi.json')).json()) as {
    readonly paths: Readonly<
      Record<string, { readonly get: { readonly responses: Record<string, unknown> } }>
    >;
  };
  const responses = document.paths['/v1/audit']?.get.responses ?? {};
  responses['200'] = { description: 'Done', content: { 'application/json': { schema: { type: 'array' } } } };
  const path = join(service.directory, 'lying.json');
  writeFileSync(path, JSON.stringify(document));
  const only = [
    '--include-path',
    '/v1/audit',
    '--phases',
    'fuzzing',
    '--mode',
    'positive',
    '--max-examples',
    '5',
  ];
  expect(await schemathesis(path, only)).toContain('is not of type "array"');
});
