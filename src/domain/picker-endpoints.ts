/** Endpoints as gateways and tests name them: `ip:port`, or an IP address for all that it has. */

/** `[fd00::1]:80` → `fd00::1` */
const hostOf = (address: string): string => bare(address.slice(0, address.lastIndexOf(':')));
const bare = (host: string): string => host.replace(/^\[|\]$/g, '');

/** Without a port: `10.0.0.1`, `[fd00::1]`, `fd00::1`. */
const isHost = (entry: string): boolean =>
  !entry.includes(':') || entry.endsWith(']') || (!entry.startsWith('[') && entry.split(':').length > 2);

/**
 * The endpoints that a list names.
 *
 * @param addresses of all endpoints, `ip:port`. Asked only where an entry has no port.
 */
export function namedEndpoints(
  entries: ReadonlySet<string>,
  addresses: () => readonly string[],
): ReadonlySet<string> {
  const hosts = new Set([...entries].filter(isHost).map(bare));
  if (hosts.size === 0) return entries;
  return new Set([...entries, ...addresses().filter((address) => hosts.has(hostOf(address)))]);
}

/** `a, b,,c` → a, b, c */
export const entriesOf = (text: string): ReadonlySet<string> =>
  new Set(
    text
      .split(',')
      .map((entry) => entry.trim())
      .filter((entry) => entry !== ''),
  );
