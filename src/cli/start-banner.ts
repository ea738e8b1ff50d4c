/** What `fairlane start` says once it is up. Pure. */
import { isConsoleOn } from '../admin/command-source.ts';
import { type AdminAddress, apiUrlOf, type Config, urlOf } from '../config/config.ts';

const DEMO_TENANTS = ['quiet', 'noisy'];

const adminOf = (address: AdminAddress): string =>
  'path' in address ? `unix:${address.path}` : urlOf(address);

export interface Started {
  readonly config: Config;
  /** Of `service.metrics`, as it listens. */
  readonly metricsPort: number;
  /** Why requests get a 503 now; undefined: they do not. */
  readonly warning: string | undefined;
  /** In the demo: what is pasted to send load to its API. */
  readonly loadLine?: (api: string) => string;
}

/** Says where everything is: nothing that is not there. */
export function startBanner({ config, metricsPort, warning, loadLine }: Started): string {
  const { metrics, console: mode } = config.service;
  const metricsUrl = urlOf({ ...metrics, port: metricsPort });
  const [api = '', ...others] = config.listen.map(apiUrlOf);
  const lines = [
    '',
    'Fairlane is up.',
    `  API      ${api}/v1`,
    ...others.map((other) => `           ${other}/v1`),
    `  admin    ${adminOf(config.envoy.admin)}`,
    ...(isConsoleOn(mode, metrics.host) ? [`  console  ${metricsUrl}/`] : []),
    `  metrics  ${metricsUrl}/metrics`,
    '',
    ...(warning === undefined ? [] : [`WARNING: ${warning}`, '']),
  ];
  if (loadLine !== undefined) {
    lines.push('Try it as one of the demo tenants:');
    for (const name of DEMO_TENANTS) {
      const secret = config.tenants.get(name)?.keys[0]?.secret;
      const key = secret?.kind === 'plain' ? secret.value : '';
      lines.push(
        '',
        `curl ${api}/v1/chat/completions -H 'authorization: Bearer ${key}' -H 'content-type: application/json' -d '{"model":"demo","messages":[{"role":"user","content":"Hello from ${name}"}],"max_tokens":32}'`,
      );
    }
    const line = loadLine(api);
    // npm and npx know it in its folder alone.
    const where = line.startsWith('fairlane ') ? '' : ', in this folder';
    lines.push(
      '',
      `Watch noisy flood quiet in the console for a minute; in another terminal${where}:`,
      '',
      line,
      '',
    );
  }
  lines.push('Ctrl-C drains and stops.', '');
  return lines.join('\n');
}
