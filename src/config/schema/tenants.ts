/** `tiers` and `tenants`: who may send requests, and how many. */
import * as z from 'zod';
import { must } from '../values.ts';
import { budgetLimits } from './budgets.ts';
import { about, filePath, integer, limit, list, model, name, named, number, section, size } from './dsl.ts';
import { tenantKeysOf } from './keys.ts';
import { keyLimitsOf, modelLimitsOf } from './limits.ts';

const limits = {
  weight: number(
    [0.01, 1_000],
    'Weight in the fair queue while several tenants have requests waiting, relative to the other tenants’. Default: 1.',
  ).optional(),
  requestsPerMinute: limit(10_000_000, 'Requests a minute. Default: unlimited.').optional(),
  requestBurst: integer(
    1,
    10_000_000,
    'Requests that may come at once after a pause. Default: `requestsPerMinute`.',
  ).optional(),
  tokensPerMinute: limit(1_000_000_000, 'Prompt plus output tokens a minute. Default: unlimited.').optional(),
  tokenBurst: integer(
    1,
    1_000_000_000,
    'Tokens that may be used at once after a pause; a change applies at once, and what was used stays used; a longer prompt never passes. Default: `tokensPerMinute`.',
  ).optional(),
  tokensPerMonth: limit(
    1_000_000_000_000_000,
    'Prompt plus output tokens a calendar month, in UTC; what is used is kept in Redis or in `rateLimit.snapshot`, and a change applies at once: left = limit − used. Default: unlimited.',
  ).optional(),
  ...budgetLimits,
  maxConcurrent: limit(
    100_000,
    'Requests in the engines at once; more wait in the queue. Default: unlimited.',
  ).optional(),
  maxContext: limit(10_000_000, 'Tokens of one request, prompt plus output. Default: unlimited.').optional(),
  maxOutputs: integer(
    1,
    128,
    'Outputs of one request: choices (`n`) times prompts. Each takes a slot, and a request waits until it has all of its slots. Default: 16.',
  ).optional(),
  maxQueued: integer(
    0,
    100_000,
    'Requests waiting in the queue; more are refused with 429, unless a slot is idle at that moment: then up to twice as many wait. Default: 100.',
  ).optional(),
  maxHeldSize: size(
    '1KiB',
    '1024GiB',
    '96MiB',
    'Request bodies that are being uploaded, wait, or are at an engine that has not begun to answer; without a `content-length` an upload counts as `envoy.maxUnsizedBodySize`, and one with a `content-encoding` as what it may become, too. Half as many bytes more wait for room for some seconds; what is more, or waits longer, is refused with 429. At least `envoy.maxBodySize`. Default: `96MiB`; where `envoy.maxBodySize` is written, `48MiB` or six times as much as that.',
  ).optional(),
};

export const tiers = named(
  name('Tier name.'),
  section(
    {
      ...limits,
      modelLimits: modelLimitsOf(
        limits,
        'Limits of what a tenant of the tier asks of single models, by model, within its others. Default: none.',
      ),
    },
    'Limits of each tenant of the tier.',
  ),
  [0, 256],
  'tiers',
  'Named sets of limits.',
).prefault({});

/** Of a key that is made while Fairlane runs. */
export const madeKeyLimits = keyLimitsOf(limits);

/** What a tenant has, in `tenants` or in a file of its own. */
const tenantSettings = {
  tier: name('Tier whose limits apply.').optional(),
  keys: tenantKeysOf(limits),
  models: z
    .union(
      [z.literal('*'), list(model('A model’s name.'), 1_000, 'models', 'Models that the tenant may use.')],
      { error: must('a list of model names, or "*" for all') },
    )
    .meta(about('Models that the tenant may use.', 'list of models, or `"*"` for all'))
    .prefault('*'),
  trustGroup: name(
    'Tenants of one group may share the engines’ prefix cache. Default: each is alone.',
  ).optional(),
  limits: section(
    limits,
    'Limits of this tenant; each overrides its tier’s. Default: its tier’s.',
    'the keys of `tiers.NAME`',
  ).prefault({}),
  modelLimits: modelLimitsOf(
    limits,
    'Limits of what the tenant asks of single models, by model, within its others; each key overrides the tier’s. Default: its tier’s.',
  ),
};

const tenant = section(tenantSettings, 'A tenant.');

/** A file of `tenantDirectory`. */
export const tenantFile = section(
  { name: name('Tenant name. Default: the file’s.').optional(), ...tenantSettings },
  'A tenant.',
);

export const tenants = named(
  name('Tenant name.'),
  tenant,
  [0, 10_000],
  'tenants',
  'Who may send requests, and how many. Required without `tenantDirectory` or `identity.jwt.unknownTenants`.',
).prefault({});

export const tenantDirectory = filePath(
  '/etc/fairlane/tenants.d',
  'Folder of tenants, a file (`NAME.yaml`) each, with the keys of `tenants.NAME` and, where the file’s name is not the tenant’s, `name`; relative to the configuration file’s folder. Read again when a file comes, changes or goes. A bad file is refused alone. Default: none.',
).optional();
