/** `telemetry`: what the service tells about itself, besides its log. */
import { TENANT_HISTOGRAMS } from '../telemetry.ts';
import { choice, section } from './dsl.ts';

export const telemetry = section(
  {
    tenantHistograms: choice(
      TENANT_HISTOGRAMS,
      'Whether metrics that are histograms tell tenants apart: `on`; `off`, all in one with an empty tenant; `auto`, on for up to 200 tenants.',
    ).prefault('auto'),
  },
  'Metrics and traces.',
).prefault({});
