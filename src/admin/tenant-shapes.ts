/** What the admin API takes and gives, as schemas: requests are checked by them, and the OpenAPI document is made of them. */
import * as z from 'zod';
import { duration, integer, name, openList } from '../config/schema/dsl.ts';
import { madeKeyLimits } from '../config/schema/tenants.ts';
import { runtimeSettings } from '../config/tenant-settings.ts';
import { must } from '../config/values.ts';
import { KEY_ROUTES } from '../tenant/merge-tenants.ts';
import { AUDIT_ACTIONS } from '../tenant/tenant-store.ts';

const MOST_LISTED = 1_000;
const MOST_SCOPES = 256;
const LAST_YEAR = Date.UTC(10_000, 0);

const mapping: z.core.$ZodErrorMap = (issue) =>
  issue.code === 'unrecognized_keys'
    ? `unknown setting ${issue.keys.map((key: string) => JSON.stringify(key.slice(0, 64))).join(', ')}`
    : 'must be a mapping';

const told = (description: string) => ({ description });
const text = (description: string) => z.string().meta(told(description));
const texts = (description: string) => z.array(z.string()).meta(told(description));
const time = (description: string) => z.iso.datetime().meta(told(description));

const expiry = z
  .union([z.iso.date(), z.iso.datetime({ offset: true })], {
    error: must('a date as 2027-01-31, or a time as 2027-01-31T12:00:00Z'),
  })
  .refine((written) => Date.parse(written) < LAST_YEAR, { error: must('a time before the year 10000') })
  .meta(told('When the key ends: a date (at its begin, UTC) or a time. Default: never.'));

const label = z
  .string({ error: must('1 to 64 characters that can be seen, spaces inside') })
  .regex(/^[^\p{C}\p{Z}](?:[^\p{C}\p{Zl}\p{Zp}]{0,62}[^\p{C}\p{Z}])?$/u, {
    error: must('1 to 64 characters that can be seen, spaces inside'),
  })
  .meta(told('What people call the key. No two keys of a tenant that are in force have one name.'));

const scopes = {
  models: openList(
    z.string().min(1).max(256),
    MOST_SCOPES,
    'models',
    'Of the tenant’s models, those that the key may be used for. Default: all.',
  )
    .min(1, { error: must('a list of at least one model; leave it out for all') })
    .optional(),
  routes: openList(
    z.enum(KEY_ROUTES as [string, ...string[]], { error: must(`one of ${KEY_ROUTES.join(', ')}`) }),
    MOST_SCOPES,
    'routes',
    'Routes that the key may be used for. Default: all.',
  )
    .min(1, { error: must('a list of at least one route; leave it out for all') })
    .optional(),
};

export const newTenant = runtimeSettings.extend({ name: name('Its name.') });

const { shape } = runtimeSettings;
type Shape = typeof shape;
const nullable = Object.fromEntries(
  Object.entries(shape).map(([key, schema]) => [key, z.union([schema, z.null()]).optional()]),
) as { [K in keyof Shape]: z.ZodOptional<z.ZodUnion<[Shape[K], z.ZodNull]>> };

/** Settings one by one (RFC 7396): null sets one back to its default. */
export const tenantPatch = z.strictObject({
  ...nullable,
  limits: z
    .record(z.string(), z.unknown())
    .nullable()
    .optional()
    .meta(told('Limits one by one; null sets one back to the tier’s.')),
  disabled: z.boolean().optional().meta(told('Whether its keys open nothing.')),
});

export const newKey = z.strictObject(
  { name: label.optional(), expires: expiry.optional(), ...scopes, limits: madeKeyLimits },
  { error: mapping },
);

export const keyRotation = z.strictObject(
  {
    graceFor: duration(
      '0s',
      '8760h',
      '24h',
      'How long the old key goes on; 0s: not at all. Default: 24h.',
    ).optional(),
    expires: expiry.optional(),
  },
  { error: mapping },
);

const count = (least: number, most: number, description: string) =>
  z.coerce.number().pipe(integer(least, most, description));

export const tenantPage = z.strictObject({
  after: z.string().max(64).optional().meta(told('Tenants after this name.')),
  limit: count(1, MOST_LISTED, 'At most so many.').optional(),
});

export const auditPage = z.strictObject({
  before: count(1, Number.MAX_SAFE_INTEGER, 'Changes before this one.').optional(),
  tenant: z.string().max(64).optional().meta(told('Of this tenant alone.')),
  limit: count(1, MOST_LISTED, 'At most so many.').optional(),
});

/** As it is told: open for what later versions add. */
export const shownTenant = z.object({
  name: text('Its name.'),
  source: z
    .enum(['made', 'file', 'both'])
    .meta(
      told(
        'Where it is: made here, in the configuration’s files, or both: then the file’s settings are in force.',
      ),
    ),
  disabled: z.boolean().meta(told('Whether what was made opens nothing.')),
  settings: z.record(z.string(), z.unknown()).optional().meta(told('As made here.')),
  inForce: z
    .record(z.string(), z.unknown())
    .optional()
    .meta(told('What is served now, with its tier’s limits. Absent: it is not served.')),
  differs: texts('What was made otherwise than the file says, and is not in force.').optional(),
  problems: texts('Why it is not served: the configuration no longer fits it.').optional(),
  keys: z.int().min(0).meta(told('Keys that open something now.')),
  version: z.int().min(0).optional().meta(told('Of its last change here; the ETag has it.')),
  createdAt: time('When it was made.').optional(),
  changedAt: time('When it was changed last.').optional(),
});

export const shownKey = z.object({
  id: text('Names it in records, logs and here. Nothing of the key can be told from it.'),
  name: text('What people call it.').optional(),
  source: z.enum(['made', 'file']).meta(told('Made here, or of the configuration’s files.')),
  state: z.enum(['active', 'expired', 'revoked']),
  models: texts('Models that it may be used for. Absent: all of the tenant’s.').optional(),
  routes: texts('Routes that it may be used for. Absent: all.').optional(),
  limits: z
    .record(z.string(), z.unknown())
    .optional()
    .meta(told('Limits of what is asked with it, within the tenant’s. Absent: none.')),
  originId: text(
    'Of a key with limits that was made in place of another: the first of that line. What was used of a month goes on.',
  ).optional(),
  createdAt: time('When it was made.').optional(),
  expiresAt: time('When it ends.').optional(),
  revokedAt: time('When it was revoked.').optional(),
  lastUsedAt: time('About when a request came with it last: told each minute.').optional(),
});

export const madeKey = shownKey.extend({ key: text('The key itself. It is told this once.') });

export const tenantList = z.object({
  tenants: z.array(shownTenant),
  next: text('Pass it as `after` for the next page. Absent: this is the last.').optional(),
});

export const keyList = z.object({ keys: z.array(shownKey) });

export const auditList = z.object({
  entries: z.array(
    z.object({
      version: z.int().min(1).meta(told('The number of the change.')),
      at: time('When.'),
      actor: text('Whose token it was: `admin`.'),
      action: z.enum(AUDIT_ACTIONS),
      tenant: z.string(),
      keyId: z.string().optional(),
      before: z.unknown().optional().meta(told('What there was.')),
      after: z.unknown().optional().meta(told('What there is.')),
    }),
  ),
  next: z.int().optional().meta(told('Pass it as `before` for the next page. Absent: this is the last.')),
});

export const apiError = z.object({
  error: z.object({
    code: text('For programs. Codes stay.'),
    message: text('What is wrong.'),
    hint: text('What to do.'),
  }),
});
