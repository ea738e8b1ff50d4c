/** From the text that users write to the configuration that the program uses, or to everything that is wrong with it. */
import { dirname, isAbsolute, join } from 'node:path';
import { buildConfig } from './build.ts';
import {
  type Check,
  checkAddresses,
  checkBuilt,
  checkDrains,
  checkEndpoints,
  checkKeys,
  checkRedis,
  checkReferences,
  findKeys,
  findRedisSecrets,
  isMapping,
  redisSecretTexts,
  reportSchema,
} from './checks.ts';
import { checkChoice, checkChosenEndpoints } from './choice-checks.ts';
import type { Config } from './config.ts';
import { checkMemory } from './memory-checks.ts';
import { checkMirrors } from './mirror-checks.ts';
import { createReport, hiding } from './report.ts';
import { configSchema } from './schema.ts';
import { SHORT_KEY } from './secrets.ts';
import { readYaml } from './yaml-source.ts';

export interface ConfigInput {
  readonly text: string;
  /** As it is shown in problems; `file:` paths are relative to its folder. */
  readonly file: string;
  readonly defaults: { readonly directory: string };
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Reads a secret; throws what node:fs throws. */
  readonly readFile: (path: string) => string;
}

export type ParsedConfig =
  | { readonly kind: 'ok'; readonly config: Config; readonly warnings: readonly string[] }
  | { readonly kind: 'bad'; readonly problems: readonly string[] };

/** Ten thousand tenants take about one. */
export const MAX_CONFIG_BYTES = 4 * 1024 ** 2;

export function parseConfig(input: ConfigInput): ParsedConfig {
  const { text, file, env, readFile } = input;
  const refuse = (problem: string): ParsedConfig => ({ kind: 'bad', problems: [`${file}: ${problem}`] });
  if (text.length > MAX_CONFIG_BYTES) return refuse('is larger than 4 MiB; a configuration is not');

  const { source, faults } = readYaml(text);
  const locate = (path: string): string => (isAbsolute(path) ? path : join(dirname(file), path));
  const keys = source === undefined ? [] : findKeys(source.value, { env, readFile, locate });
  const redis = findRedisSecrets(source?.value, { env, readFile, locate });
  const secrets = [...keys, ...redisSecretTexts(source?.value, redis)].flatMap(
    ({ text: written, looked }) => [
      ...(/^(env|file):/.test(written) ? [] : [written]),
      ...(looked.kind === 'ok' ? [looked.value] : []),
    ],
  );
  const hide = hiding(secrets, SHORT_KEY);
  const report = createReport({ file, hide, position: source?.position ?? (() => ({ line: 1, column: 1 })) });
  for (const { position, path, message } of faults) report.problem(path, message, position);
  if (source === undefined) return { kind: 'bad', problems: report.problems() };
  if (source.value === null || source.value === undefined) {
    return refuse(`is empty; it needs at least pools and tenants, see examples/existing-vllm.yaml`);
  }
  if (!isMapping(source.value)) {
    return refuse('is not a mapping of settings; it begins with lines such as "pools:" and "tenants:"');
  }

  const check: Check = { root: source.value, report, hide, env };
  const checked = configSchema.safeParse(source.value);
  if (!checked.success) reportSchema(checked.error.issues, check);
  checkReferences(check);
  checkMirrors(check);
  checkKeys(keys, check);
  checkRedis(redis, check);
  const endpoints = checkEndpoints(check);
  const drains = checkDrains(endpoints, check);
  const chosen = checkChosenEndpoints(endpoints, check);
  checkAddresses(endpoints, check);
  if (checked.success) checkMemory(checked.data, check);
  if (!checked.success || report.problems().length > 0) return { kind: 'bad', problems: report.problems() };

  const config = buildConfig(checked.data, {
    directory: input.defaults.directory,
    locate,
    keys,
    redis,
    endpoints,
    drains,
    chosen,
    poolNames: source.keys(['pools']),
  });
  checkBuilt(config, checked.data, check);
  checkChoice(config, check);
  if (report.problems().length > 0) return { kind: 'bad', problems: report.problems() };
  return { kind: 'ok', config, warnings: report.warnings() };
}
