/** CycloneDX's own schemas, from a package of PyPI that has them. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Ajv } from 'ajv';
import { wheelFolder } from './wheel.ts';

const REQUIREMENTS = fileURLToPath(new URL('cyclonedx-requirements.txt', import.meta.url));
const SCHEMAS = join('cyclonedx', 'schema', '_res');

/** What is wrong with a document by the schema of its own version; nothing: it is valid. */
export function cyclonedxProblems(document: { readonly specVersion: string }): readonly unknown[] {
  const folder = join(wheelFolder('cyclonedx', REQUIREMENTS), SCHEMAS);
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
