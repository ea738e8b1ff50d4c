/** How a server of plain HTTP listens, and takes a body: what a page or a call says is its own matter. */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';

const ignore = (): void => undefined;

/**
 * Resolves when it listens.
 *
 * @param setting that the address is from, to be named.
 * @throws when it cannot listen, saying which setting is wrong.
 */
export async function listenOn(
  server: Server,
  { host, port }: { readonly host: string; readonly port: number },
  setting: string,
): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const fail = (error: NodeJS.ErrnoException): void => {
      const where = `${host}:${port}`;
      reject(
        error.code === 'EADDRINUSE'
          ? new Error(`${setting}: ${where} is in use; stop what listens there or choose another port`)
          : new Error(`${setting}: cannot listen on ${where}: ${error.message}`),
      );
    };
    server.once('error', fail);
    server.listen(port, host, () => {
      server.off('error', fail);
      // A connection that could not be accepted, as with too many open files: the others go on.
      server.on('error', ignore);
      resolve();
    });
  });
}

const BEHIND = 'One request at a time on a connection.\n';

/**
 * Takes a connection's requests one by one. Those that come behind one that is not answered yet get a 503 after its answer, and the
 * connection ends: some thousand fit one packet, and each would be answered in the same turn of the event loop.
 */
export const oneByOne =
  (serve: (request: IncomingMessage, response: ServerResponse) => void) =>
  (request: IncomingMessage, response: ServerResponse): void => {
    // The connection is still the other answer's.
    if (response.socket === null) response.writeHead(503, { connection: 'close' }).end(BEHIND);
    else serve(request, response);
  };

/** The body; undefined when it is larger than it may be. @throws when it does not come. */
export async function bodyWithin(request: IncomingMessage, maxBytes: number): Promise<Buffer | undefined> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    length += part.length;
    if (length > maxBytes) return undefined;
    parts.push(part);
  }
  return Buffer.concat(parts);
}
