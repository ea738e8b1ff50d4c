/**
 * Ports for those who must know theirs before they listen, such as an Envoy. Test files run side by side, in this run and in
 * others on the same machine, so that a port is given out once:
 *
 * - All ports are below those that the system gives to connections and to `listen(0)` (32768 and up), so none is taken by
 *   chance between the moment it is given out and the moment it is listened on.
 * - A process owns a block of ports while it listens on the block's first one. The system frees it when the process ends,
 *   however it ends.
 */
import { createServer, type Server } from 'node:net';

const FIRST_PORT = 10_000;
const BLOCK = 100;
const BLOCKS = 225;
const HOST = '127.0.0.1';
/** Whoever listens here may use the ports that the demo and the examples have. */
const DEMO_LOCK = FIRST_PORT - 1;
const DEMO_WAIT_MS = 150_000;

/** A server on the port, or undefined when it is taken. */
const listen = (port: number): Promise<Server | undefined> =>
  new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(undefined));
    server.listen({ port, host: HOST, exclusive: true }, () => resolve(server));
  });

const close = (server: Server): Promise<unknown> => new Promise((resolve) => server.close(resolve));

/** The first port of a block that is this process's from now on. Processes begin to look at places of their own. */
async function claimBlock(): Promise<number> {
  for (let i = 0; i < BLOCKS; i += 1) {
    const port = FIRST_PORT + ((process.pid + i) % BLOCKS) * BLOCK;
    const lock = await listen(port);
    if (lock !== undefined) {
      lock.unref();
      return port;
    }
  }
  throw new Error('every block of ports is in use by other processes');
}

let block: Promise<number> | undefined;
let given = 0;

/** The next port of the block that nobody listens on. What was given out longest ago comes again last. */
async function freePort(): Promise<number> {
  block ??= claimBlock();
  const first = await block;
  for (let i = 1; i < BLOCK; i += 1) {
    const port = first + 1 + (given % (BLOCK - 1));
    given += 1;
    const server = await listen(port);
    if (server !== undefined) {
      await close(server);
      return port;
    }
  }
  throw new Error(`every port from ${first} to ${first + BLOCK - 1} is in use`);
}

let last: Promise<unknown> = Promise.resolve();

/** Ports on the loopback interface that nobody listens on, and that no other process of tests is given. */
export function freePorts(count: number): Promise<readonly number[]> {
  const ports = last.then(async () => {
    const found: number[] = [];
    while (found.length < count) found.push(await freePort());
    return found;
  });
  last = ports.catch(() => undefined);
  return ports;
}

/** Runs what listens on the ports of the demo or the examples, which are the same for everybody: one at a time. */
export async function withDemoPorts<T>(run: () => Promise<T>): Promise<T> {
  const untilMs = Date.now() + DEMO_WAIT_MS;
  for (;;) {
    const lock = await listen(DEMO_LOCK);
    if (lock !== undefined) {
      try {
        return await run();
      } finally {
        await close(lock);
      }
    }
    if (Date.now() > untilMs) throw new Error('other tests have the ports of the demo, and do not end');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
