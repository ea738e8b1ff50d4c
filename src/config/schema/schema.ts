/**
 * How the configuration is written: the keys, their limits and defaults, and what each is for; a section a file.
 * Everything that is said here reaches the user: as the reference (reference.ts) and as problems (load.ts).
 */
import * as z from 'zod';
import { PICKER } from '../../domain/names.ts';
import { LOG_FORMATS } from '../log-format.ts';
import { admin } from './admin.ts';
import { attribution } from './attribution.ts';
import { cors } from './cors.ts';
import { cost } from './cost.ts';
import { choice, headerName, name, section, yes } from './dsl.ts';
import { envoy } from './envoy.ts';
import { fields } from './fields.ts';
import { identity } from './identity.ts';
import { lanes } from './lanes.ts';
import { ledger } from './ledger.ts';
import { listen } from './listen.ts';
import { media } from './media.ts';
import { adapters, aliases, models } from './models.ts';
import { pools } from './pools.ts';
import { prices } from './prices.ts';
import { queue } from './queue.ts';
import { rateLimit } from './rate-limit.ts';
import { redis } from './redis.ts';
import { routes } from './routes.ts';
import { service } from './service.ts';
import { telemetry } from './telemetry.ts';
import { tenantDirectory, tenants, tiers } from './tenants.ts';
import { webhooks } from './webhooks.ts';

export const configSchema = section(
  {
    mode: choice(
      ['sidecar', 'endpoint-picker'],
      'Who asks: `sidecar` an Envoy of Fairlane’s own configuration, `endpoint-picker` a gateway that speaks the Endpoint Picker Protocol. A gateway has its own listeners, keys and routes: then `listen`, `identity`, `envoy.admin`, `envoy.failureMode` and `keys` mean nothing.',
    ).prefault('sidecar'),
    picker: section(
      {
        fairnessHeader: headerName(
          'Request header that names the tenant. The gateway must set or remove it, or clients choose who they are.',
        ).prefault(PICKER.fairnessId),
        tenant: name('Tenant of requests whose header names none. Default: they are refused.').optional(),
        unknownModels: choice(
          ['route', 'refuse'],
          'What becomes of a request for a model that neither the configuration nor an engine names: `route`, it is limited, queued and sent on, its model counted as `(not configured)`, for tenants that may use all models; `refuse`, a 404. A model that is configured and that the tenant may not use is a 404 always.',
        ).prefault('route'),
        conformance: yes(
          'For the tests of the Gateway API Inference Extension: `test-epp-endpoint-selection` narrows the choice, and answers say in `x-conformance-test-served-endpoint` who served them. Any client may then choose its endpoint.',
        ).prefault(false),
      },
      'For `mode: endpoint-picker`.',
    ).prefault({}),
    listen,
    cors,
    identity,
    envoy,
    service,
    queue,
    pools,
    models,
    aliases,
    adapters,
    cost: cost.prefault({}),
    prices,
    lanes,
    tiers,
    tenants,
    tenantDirectory,
    admin,
    attribution,
    redis,
    ledger,
    webhooks,
    rateLimit,
    fields,
    media,
    routes,
    telemetry,
    log: section(
      {
        level: choice(['debug', 'info', 'warn', 'error'], 'Least severe lines that are written.').prefault(
          'info',
        ),
        format: choice(
          LOG_FORMATS,
          'How lines look: `json`, one object a line; `pretty`, for people; `auto`, pretty where the output is a terminal and JSON elsewhere. `--log-format` comes first.',
        ).prefault('auto'),
      },
      'The log.',
    ).prefault({}),
  },
  'Fairlane’s configuration.',
);

export type WrittenConfig = z.output<typeof configSchema>;

/** What a walk over the schema needs of JSON Schema. */
export interface SchemaNode {
  readonly description?: string;
  readonly shown?: string;
  readonly default?: unknown;
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: SchemaNode | boolean;
  readonly items?: SchemaNode;
  readonly anyOf?: readonly SchemaNode[];
  readonly allOf?: readonly unknown[];
  readonly deprecated?: boolean;
}

let made: SchemaNode | undefined;

/** The schema of what users write, before defaults. Made when it is first asked for: a good configuration does without. */
export const writtenSchema = (): SchemaNode =>
  (made ??= z.toJSONSchema(configSchema, { io: 'input' }) as SchemaNode);

/** The keys that may stand in the mapping at `path`; none where keys are names. */
export function knownKeys(path: readonly PropertyKey[]): readonly string[] {
  let nodes: readonly SchemaNode[] = formsOf(writtenSchema());
  for (const step of path) {
    nodes = nodes.flatMap(({ properties, additionalProperties, items }) => {
      const isSetting = typeof step === 'string' && properties && Object.hasOwn(properties, step);
      if (isSetting) return formsOf(properties[step]);
      return formsOf(typeof additionalProperties === 'object' ? additionalProperties : items);
    });
  }
  return [...new Set(nodes.flatMap(({ properties }) => Object.keys(properties ?? {})))];
}

/** Where a value may be written in several ways: each of them. */
export const formsOf = (node: SchemaNode | undefined): readonly SchemaNode[] =>
  node === undefined ? [] : [node, ...(node.anyOf ?? []).flatMap(formsOf)];
