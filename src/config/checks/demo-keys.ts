/** The demo's keys, which everybody knows, are for this machine only. */
import { isLoopback } from '../../domain/loopback.ts';
import type { Config } from '../config.ts';
import type { Check } from './check.ts';

/** As examples/quickstart.yaml has them, by tenant. */
export const DEMO_KEYS = { quiet: 'demo-quiet-key', noisy: 'demo-noisy-key' };
const KNOWN: ReadonlySet<string> = new Set(Object.values(DEMO_KEYS));
/** Where a container's port is published: inside it every listener is on all addresses. */
const PUBLISHED_ON = 'FAIRLANE_PUBLISHED_ON';

/** Refuses demo keys that other machines could use; warns where only the listeners say so, which may be in a container. */
export function checkDemoKeys(config: Config, { report, env }: Check): void {
  const published = env[PUBLISHED_ON]?.trim() ?? '';
  const isSaid = published !== '';
  const hosts = isSaid ? [published] : config.listen.map(({ address }) => address.host);
  const open = hosts.find((host) => !isLoopback(host.trim().toLowerCase()));
  if (open === undefined) return;
  for (const [name, { keys }] of config.tenants) {
    if (!keys.some(({ secret }) => secret.kind === 'plain' && KNOWN.has(secret.value))) continue;
    const path = ['tenants', name, 'keys'];
    const known = 'has a key of the demo, which everybody knows';
    const own = 'make one of your own with `openssl rand -hex 24`';
    if (isSaid) {
      report.problem(
        path,
        `${known}, and ${open} is reachable from other machines; ${own}, or stay on 127.0.0.1`,
      );
    } else {
      report.warning(path, `${known}; if ${open} is reachable from other machines, ${own}`);
    }
  }
}
