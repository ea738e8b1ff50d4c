/** From the text that users write to the configuration that the program uses, or to everything that is wrong with it. */

import { dirname, isAbsolute, join } from 'node:path';
import { DEFAULT_MAX_BODY_BYTES } from './body-limit.ts';
import { buildConfig } from './build.ts';
import type { Written } from './changes.ts';
import { checkAddresses, checkSockets } from './checks/addresses.ts';
import { adminSecretTexts, checkAdmin, findAdmin } from './checks/admin.ts';
import { checkBudgets } from './checks/budgets.ts';
import type { Check } from './checks/check.ts';
import { checkChoice, checkChosenEndpoints } from './checks/choice.ts';
import { checkDemoKeys } from './checks/demo-keys.ts';
import { checkEffects } from './checks/effects.ts';
import { checkDrains, checkEndpoints } from './checks/endpoints.ts';
import { checkEngineSecrets, engineKeyTexts, findEngineSecrets } from './checks/engine-secrets.ts';
import { checkFields } from './checks/fields.ts';
import { checkIdentity, findJwt } from './checks/identity.ts';
import { checkKeys, findKeys, type KeyEntry } from './checks/keys.ts';
import { checkLedger, findLedgerUrl, ledgerSecretTexts } from './checks/ledger.ts';
import {
  checkListeners,
  checkServiceTls,
  findListeners,
  findTls,
  tlsOf,
  type Unshowable,
} from './checks/listeners.ts';
import { checkMemory } from './checks/memory.ts';
import { checkMirrors } from './checks/mirrors.ts';
import { checkOtlp, findOtlpHeaders } from './checks/otlp.ts';
import { checkPrices } from './checks/prices.ts';
import { checkRedis, findRedisSecrets, redisSecretTexts } from './checks/redis.ts';
import { checkReferences, knownNamesOf } from './checks/references.ts';
import { checkRoutes } from './checks/routes.ts';
import { reportSchema } from './checks/schema-issues.ts';
import { checkWebhooks, findWebhooks, webhookSecretTexts } from './checks/webhooks.ts';
import type { Config } from './config.ts';
import { withKeptValues } from './kept-values.ts';
import { withoutAbsent } from './optional-references.ts';
import { withCurrentKeys } from './renamed-keys.ts';
import { createReport, hiding, type ReportContext } from './report.ts';
import { envoy as envoySchema } from './schema/envoy.ts';
import { configSchema } from './schema/schema.ts';
import { type Looked, readFailure, SECRET_REFERENCE, SHORT_KEY, type Sources } from './secrets.ts';
import {
  type LoadedTenantFiles,
  loadTenantFiles,
  type TenantFile,
  type TenantFileCache,
} from './tenant-files.ts';
import { FILE_PATH } from './values.ts';
import { at, isMapping, type Mapping, withoutExtensions } from './written-data.ts';
import { type Path, readYaml } from './yaml-source.ts';

export interface ConfigInput {
  readonly text: string;
  /** As it is shown in problems; `file:` paths are relative to its folder. */
  readonly file: string;
  readonly defaults: { readonly directory: string };
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Reads a secret; throws what node:fs throws. */
  readonly readFile: (path: string) => string;
  /** The same as files are now, where `readFile` keeps what one held that is gone: for optional ones. Absent: `readFile`. */
  readonly readNow?: (path: string) => string;
  /** Whether secrets stay the references that they are: for what needs none of them. No file is read then. */
  readonly isUnresolved?: boolean;
  /** The files of a folder of tenants, in the order of their names; throws what node:fs throws. */
  readonly readFolder?: (path: string) => readonly TenantFile[];
  /** What is in use, as it was written: values of it stay where a variable is not set now. Absent: nothing is. */
  readonly before?: unknown;
  /** What was taken of each of those files before. */
  readonly tenantsBefore?: ReadonlyMap<string, string>;
  readonly tenantCache?: TenantFileCache;
  /** Wall clock: certificates end. Absent: whether they have is not looked at. */
  readonly nowMs?: number;
  /** PEM of the authorities that a system trusts. */
  readonly authorities?: () => string;
  /** Absent: it is not looked at. */
  readonly unshowable?: Unshowable;
}

export type ParsedConfig =
  | {
      readonly kind: 'ok';
      readonly config: Config;
      readonly warnings: readonly string[];
      readonly written: Written;
      /** What was taken of each file of `tenantDirectory`. */
      readonly tenantTexts: ReadonlyMap<string, string>;
    }
  | { readonly kind: 'bad'; readonly problems: readonly string[] };

/** Ten thousand tenants take about one. */
export const MAX_CONFIG_BYTES = 4 * 1024 ** 2;

export function parseConfig(input: ConfigInput): ParsedConfig {
  const { text, file, env, readFile, isUnresolved = false } = input;
  const refuse = (problem: string): ParsedConfig => ({ kind: 'bad', problems: [`${file}: ${problem}`] });
  if (text.length > MAX_CONFIG_BYTES) return refuse('is larger than 4 MiB; a configuration is not');

  const { source, faults } = readYaml(text);
  const locate = (path: string): string => (isAbsolute(path) ? path : join(dirname(file), path));
  const sources: Sources = { env, readFile, locate, isUnresolved };
  const now: Sources = { ...sources, readFile: input.readNow ?? readFile };
  const { root, asWritten, tell } = rootOf(source?.value, input.before, now);
  const position: ReportContext['position'] = (path, place) =>
    source?.position(path, place) ?? { line: 1, column: 1 };
  const keys = findKeys(root, sources);
  const redis = findRedisSecrets(root, sources);
  const ledgerUrl = findLedgerUrl(root, sources);
  const engines = findEngineSecrets(root, sources);
  const admin = findAdmin(root, sources, input.defaults.directory);
  const webhooks = findWebhooks(root, sources);
  const otlpHeaders = findOtlpHeaders(root, sources);
  const found = { keys, redis, ledgerUrl, engines, admin, webhooks, otlpHeaders };
  const hide = hiding(secretsIn(root, found), SHORT_KEY);
  const report = createReport({ file, hide, position, asWritten });
  for (const fault of faults) report.problem(fault.path, fault.message, fault.position);
  if (source === undefined) return { kind: 'bad', problems: report.problems() };
  if (!isMapping(root)) return refuse(noMapping(root));
  tell(report, (path) => position(asWritten(path), 'key').line);

  const tenantFiles = readTenantFiles(input, root, keys, sources);
  const tenantsInFiles = [...tenantFiles.tenants.keys()];
  const check: Check = { root, report, hide, env, tenantsInFiles, isUnresolved, nowMs: input.nowMs };
  if (tenantFiles.problem !== undefined) report.problem(['tenantDirectory'], tenantFiles.problem);
  const checked = configSchema.safeParse(root);
  if (!checked.success) reportSchema(checked.error.issues, check);
  checkWritten(check);
  checkKeys(keys, check);
  checkRedis(redis, check);
  checkLedger(ledgerUrl, check);
  checkReceivers({ webhooks, otlpHeaders }, check);
  const listeners = findListeners(root, sources);
  checkListeners(listeners, check);
  const serviceTls = findTls(at(root, 'service', 'tls'), sources);
  checkServiceTls(['service', 'tls'], serviceTls, check, input.unshowable ?? (() => undefined));
  checkAdmin(admin, check, input.unshowable ?? (() => undefined));
  const jwt = findJwt(root, sources, input.authorities ?? (() => ''));
  checkIdentity(jwt, keys, check);
  checkEngineSecrets(engines, check);
  const endpoints = checkEndpoints(engines, check);
  const drains = checkDrains(endpoints, check);
  const chosen = checkChosenEndpoints(endpoints, check);
  checkAddresses(listeners, endpoints, check);
  if (checked.success) checkMemory(checked.data, check);
  if (!checked.success || report.problems().length > 0) return { kind: 'bad', problems: report.problems() };

  const config = buildConfig(
    { ...checked.data, tenants: { ...checked.data.tenants, ...Object.fromEntries(tenantFiles.tenants) } },
    {
      ...found,
      directory: input.defaults.directory,
      locate,
      listeners,
      serviceTls: tlsOf(serviceTls),
      jwt,
      keys: [...keys, ...tenantFiles.keys],
      refusedTenantFiles: tenantFiles.refused,
      endpoints,
      drains,
      chosen,
      poolNames: source.keys(asWritten(['pools'])),
    },
  );
  checkSockets(config, check);
  checkDemoKeys(config, check);
  checkEffects(config, checked.data, check);
  checkChoice(config, check);
  if (report.problems().length > 0) return { kind: 'bad', problems: report.problems() };
  const warnings = [...report.warnings(), ...tenantFiles.warnings];
  return { kind: 'ok', config, warnings, written: { root, hide }, tenantTexts: tenantFiles.texts };
}

const noMapping = (root: unknown): string =>
  root === null || root === undefined
    ? 'is empty; it needs at least pools and tenants, see examples/existing-vllm.yaml'
    : 'is not a mapping of settings; it begins with lines such as "pools:" and "tenants:"';

/** Who is told of what. */
function checkReceivers(
  { webhooks, otlpHeaders }: Pick<FoundSecrets, 'webhooks' | 'otlpHeaders'>,
  check: Check,
): void {
  checkWebhooks(webhooks, check);
  checkOtlp(otlpHeaders, check);
}

/** What needs nothing but what was written. */
function checkWritten(check: Check): void {
  checkReferences(check);
  checkRoutes(check);
  checkPrices(check);
  checkBudgets(check);
  checkMirrors(check);
  checkFields(check);
}

/** The settings with the names of now, without what is optional and absent, and what is kept of those before. */
function rootOf(value: unknown, before: unknown, sources: Sources) {
  const current = withCurrentKeys(withoutExtensions(value));
  const present = withoutAbsent(current.value, sources);
  const { root, warnings } = withKeptValues(present.value, before, sources.env);
  const tell: typeof current.tell = (report, lineOf) => {
    current.tell(report, lineOf);
    for (const { path, message } of warnings) report.warning(path, message);
  };
  const asWritten = (path: Path): Path => current.asWritten(present.asWritten(path));
  return { root, asWritten, tell };
}

interface FoundSecrets {
  readonly keys: ReturnType<typeof findKeys>;
  readonly redis: ReturnType<typeof findRedisSecrets>;
  readonly ledgerUrl: ReturnType<typeof findLedgerUrl>;
  readonly engines: ReturnType<typeof findEngineSecrets>;
  readonly admin: ReturnType<typeof findAdmin>;
  readonly webhooks: ReturnType<typeof findWebhooks>;
  readonly otlpHeaders: ReturnType<typeof findOtlpHeaders>;
}

/** What must not be shown of a secret: what was written, unless it only says where it is kept, and what it stands for. */
const secretsIn = (root: unknown, found: FoundSecrets): readonly string[] =>
  [
    ...found.keys,
    ...redisSecretTexts(root, found.redis),
    ...ledgerSecretTexts(root, found.ledgerUrl),
    ...engineKeyTexts(found.engines),
    ...adminSecretTexts(root, found.admin),
    ...webhookSecretTexts(found.webhooks),
    ...found.otlpHeaders,
  ].flatMap(secretTextsOf);

const secretTextsOf = ({
  text,
  looked,
}: {
  readonly text: string;
  readonly looked: Looked;
}): readonly string[] => [
  ...(SECRET_REFERENCE.test(text) ? [] : [text]),
  ...(looked.kind === 'ok' ? [looked.value] : []),
];

const NO_TENANT_FILES: LoadedTenantFiles = {
  tenants: new Map(),
  keys: [],
  refused: [],
  texts: new Map(),
  warnings: [],
};

/** @returns with a problem: the folder itself cannot be read. */
function readTenantFiles(
  { readFolder, tenantsBefore = new Map(), tenantCache }: ConfigInput,
  root: Mapping,
  keys: readonly KeyEntry[],
  sources: Sources,
): LoadedTenantFiles & { readonly problem?: string } {
  const { tenantDirectory } = root;
  if (typeof tenantDirectory !== 'string' || !FILE_PATH.test(tenantDirectory) || readFolder === undefined) {
    return NO_TENANT_FILES;
  }
  if (sources.isUnresolved === true) return NO_TENANT_FILES;
  const folder = sources.locate(tenantDirectory);
  let files: readonly TenantFile[];
  try {
    files = readFolder(folder);
  } catch (error) {
    const problem = `cannot read ${folder} (${readFailure(error)}); create the folder or correct the path`;
    return { ...NO_TENANT_FILES, problem };
  }
  // With its default. One that is wrong is told elsewhere.
  const envoy = envoySchema.safeParse(at(root, 'envoy') ?? {});
  return loadTenantFiles({
    files,
    before: tenantsBefore,
    root,
    known: knownNamesOf(root),
    keys,
    // Files of tenants do not lower the default, as limits of the main file do.
    maxBodyBytes: envoy.success ? (envoy.data.maxBodySize ?? DEFAULT_MAX_BODY_BYTES) : undefined,
    sources,
    ...(tenantCache !== undefined && { cache: tenantCache }),
  });
}
