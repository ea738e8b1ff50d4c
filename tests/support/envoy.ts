import { type EnvoyBinary, findEnvoy } from '../../src/envoy/process-find-envoy.ts';

let found: Promise<EnvoyBinary> | undefined;

/** The Envoy of the tests. There is no test without one: not finding it is a failure that says why. */
export function envoyForTests(): Promise<EnvoyBinary> {
  found ??= findEnvoy({ env: process.env, onProgress: (line) => console.error(line) });
  return found;
}
