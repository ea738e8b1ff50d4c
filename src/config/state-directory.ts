/** Where what must outlive a restart is kept unless the configuration says otherwise. */
import { join } from 'node:path';

type Env = Readonly<Record<string, string | undefined>>;

/**
 * `$STATE_DIRECTORY`, as systemd sets it, or `$XDG_STATE_HOME/fairlane`, or `~/.local/state/fairlane`.
 *
 * @param otherwise where there is no home.
 */
export function stateDirectoryOf(env: Env, otherwise: string): string {
  // Of several folders, as systemd has them, the first.
  const [given = ''] = (env['STATE_DIRECTORY'] ?? '').split(':');
  if (given.startsWith('/')) return given;
  const { XDG_STATE_HOME: state = '', HOME: home = '' } = env;
  if (state.startsWith('/')) return join(state, 'fairlane');
  return home.startsWith('/') ? join(home, '.local', 'state', 'fairlane') : otherwise;
}
