/** From the text that users write to the configuration that the program uses, or to everything that is wrong with it. */
import { dirname, isAbsolute, join } from 'node:path';
import { buildConfig } from './build.ts';
import type { Written } from './changes.ts';
import { checkAddresses, checkSockets } from './checks/addresses.ts';
import type { Check } from './checks/check.ts';
import { checkChoice, checkChosenEndpoints } from './checks/choice.ts';
import { checkEffects } from './checks/effects.ts';
import { checkDrains, checkEndpoints } from './checks/endpoints.ts';
import { checkEngineSecrets, engineKeyTexts, findEngineSecrets } from './checks/engine-secrets.ts';
import { checkFields } from './checks/fields.ts';
import { checkKeys, findKeys } from './checks/keys.ts';
import { checkMemory } from './checks/memory.ts';
import { checkMirrors } from './checks/mirrors.ts';
import { checkRedis, findRedisSecrets, redisSecretTexts } from './checks/redis.ts';
import { checkReferences } from './checks/references.ts';
import { checkRoutes } from './checks/routes.ts';
import { reportSchema } from './checks/schema-issues.ts';
import type { Config } from './config.ts';
import { withCurrentKeys } from './renamed-keys.ts';
import { createReport, hiding, type ReportContext } from './report.ts';
import { configSchema } from './schema/schema.ts';
import { SECRET_REFERENCE, SHORT_KEY, type Sources } from './secrets.ts';
import { isMapping, withoutExtensions } from './written-data.ts';
import { readYaml } from './yaml-source.ts';

export interface ConfigInput {
  readonly text: string;
  /** As it is shown in problems; `file:` paths are relative to its folder. */
  readonly file: string;
  readonly defaults: { readonly directory: string };
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Reads a secret; throws what node:fs throws. */
  readonly readFile: (path: string) => string;
  /** Whether secrets stay the references that they are: for what needs none of them. */
  readonly isUnresolved?: boolean;
  /** Wall clock: certificates end. Absent: whether they have is not looked at. */
  readonly nowMs?: number;
}

export type ParsedConfig =
  | {
      readonly kind: 'ok';
      readonly config: Config;
      readonly warnings: readonly string[];
      readonly written: Written;
    }
  | { readonly kind: 'bad'; readonly problems: readonly string[] };

/** Ten thousand tenants take about one. */
export const MAX_CONFIG_BYTES = 4 * 1024 ** 2;

export function parseConfig(input: ConfigInput): ParsedConfig {
  const { text, file, env, readFile, isUnresolved = false } = input;
  const refuse = (problem: string): ParsedConfig => ({ kind: 'bad', problems: [`${file}: ${problem}`] });
  if (text.length > MAX_CONFIG_BYTES) return refuse('is larger than 4 MiB; a configuration is not');

  const { source, faults } = readYaml(text);
  const { value: root, asWritten, tell } = withCurrentKeys(withoutExtensions(source?.value));
  const position: ReportContext['position'] = (path, at) =>
    source?.position(path, at) ?? { line: 1, column: 1 };
  const locate = (path: string): string => (isAbsolute(path) ? path : join(dirname(file), path));
  const sources: Sources = { env, readFile, locate, isUnresolved };
  const keys = findKeys(root, sources);
  const redis = findRedisSecrets(root, sources);
  const engines = findEngineSecrets(root, sources);
  const secrets = [...keys, ...redisSecretTexts(root, redis), ...engineKeyTexts(engines)].flatMap(
    ({ text: written, looked }) => [
      ...(SECRET_REFERENCE.test(written) ? [] : [written]),
      ...(looked.kind === 'ok' ? [looked.value] : []),
    ],
  );
  const hide = hiding(secrets, SHORT_KEY);
  const report = createReport({ file, hide, position, asWritten });
  for (const fault of faults) report.problem(fault.path, fault.message, fault.position);
  if (source === undefined) return { kind: 'bad', problems: report.problems() };
  if (root === null || root === undefined) {
    return refuse(`is empty; it needs at least pools and tenants, see examples/existing-vllm.yaml`);
  }
  if (!isMapping(root)) {
    return refuse('is not a mapping of settings; it begins with lines such as "pools:" and "tenants:"');
  }
  tell(report, (path) => position(asWritten(path), 'key').line);

  const check: Check = { root, report, hide, env, isUnresolved, nowMs: input.nowMs };
  const checked = configSchema.safeParse(root);
  if (!checked.success) reportSchema(checked.error.issues, check);
  checkReferences(check);
  checkRoutes(check);
  checkMirrors(check);
  checkKeys(keys, check);
  checkRedis(redis, check);
  checkFields(check);
  checkEngineSecrets(engines, check);
  const endpoints = checkEndpoints(engines, check);
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
    poolNames: source.keys(asWritten(['pools'])),
  });
  checkSockets(config, check);
  checkEffects(config, checked.data, check);
  checkChoice(config, check);
  if (report.problems().length > 0) return { kind: 'bad', problems: report.problems() };
  return { kind: 'ok', config, warnings: report.warnings(), written: { root, hide } };
}
