/** `identity`: who a client is, besides by its API key. */
import * as z from 'zod';
import { must } from '../values.ts';
import { about, filePath, integer, name, section, visible } from './dsl.ts';

const audience = visible(512, '1 to 512 visible characters, or a list of 1 to 16 of these', 'An audience.');
const audienceError = must('an audience, or a list of 1 to 16 of these');

const claim = (description: string) =>
  visible(
    256,
    'the name of a claim, 1 to 256 visible characters; a dot leads into a mapping, for example org.name',
    description,
  );

const jwt = section(
  {
    issuer: visible(
      512,
      '1 to 512 visible characters, as in the claim iss',
      'The claim `iss` that a token must have.',
    ),
    jwks: visible(
      512,
      'a URL (https://… or http://…) or a path of a file',
      'Public keys of the issuer (a JSON Web Key Set): a URL that Envoy reads every five minutes, or a file, relative to the configuration file’s folder, which is read again when it changes.',
    ),
    jwksCa: filePath(
      'idp-ca.pem',
      'Authorities (PEM) that the certificate behind `jwks` must be from. Default: those that Node.js trusts.',
    ).optional(),
    audience: z
      .union([audience, z.array(audience).min(1).max(16)], { error: audienceError })
      .meta(
        about(
          'Audiences: the claim `aud` must have one of them. Default: none is asked for.',
          'string, or list of strings',
        ),
      )
      .optional(),
    tenantClaim: claim('The claim whose value is the tenant’s name. A dot leads into a mapping: `org.name`.'),
    tierClaim: claim(
      'The claim that names the tier of a tenant that is not configured. Default: all of them get `unknownTenants`.',
    ).optional(),
    unknownTenants: name(
      'Tier of tenants that a token names and that are not configured; they may use all models. Default: they are refused with 403.',
    ).optional(),
    maxUnknownTenants: integer(
      1,
      100_000,
      'Such tenants that may be active within an hour; more are refused with 429.',
    ).prefault(1_000),
  },
  'Tokens (JWT) that name the tenant, besides API keys. A token goes as `Authorization: Bearer TOKEN`, must be signed, and must expire.',
);

export const identity = section({ jwt: jwt.optional() }, 'Who clients are, besides by API keys.').prefault(
  {},
);
