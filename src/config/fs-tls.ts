/** What Node.js makes of certificates that it is to listen with. It has rules of its own beside Envoy's. */
import { createSecureContext, type SecureContextOptions } from 'node:tls';

/** Why it listens with no such certificate; undefined: it does. @param tls PEM texts that can be read. */
export function unshowable(tls: Pick<SecureContextOptions, 'cert' | 'key' | 'ca'>): string | undefined {
  try {
    createSecureContext(tls);
    return undefined;
  } catch (error) {
    const reason = error instanceof Error ? error.message.replace(/^.*::/, '') : String(error);
    return `cannot be listened with (${reason}); renew it with SHA-256`;
  }
}
