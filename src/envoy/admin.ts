/** Envoy's admin page: what reads is allowed, and nothing that changes Envoy, its logging or what it gives away of its memory. */
import type { AdminAddress } from '../config/config.ts';
import { type JsonMap, socketAddress } from './envoy-json.ts';

/** Paths without their query. All others are answered with 403, whoever asks and however. */
export const ADMIN_PATHS: readonly string[] = [
  '/',
  '/certs',
  '/clusters',
  '/config_dump',
  '/help',
  '/hot_restart_version',
  '/init_dump',
  '/listeners',
  '/memory',
  '/ready',
  '/runtime',
  '/server_info',
  '/stats',
  '/stats/prometheus',
];

/** For its owner only: whoever may open the socket reads what the page says. */
const SOCKET_MODE = 0o600;

export const adminOf = (address: AdminAddress): JsonMap => ({
  address: 'path' in address ? { pipe: { path: address.path, mode: SOCKET_MODE } } : socketAddress(address),
  allow_paths: ADMIN_PATHS.map((path) => ({
    // A query may follow.
    safe_regex: { regex: `${path.replaceAll('/', '[/]')}([?].*)?` },
  })),
});
