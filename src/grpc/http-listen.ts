/** How a server of plain HTTP listens, and takes a body: what a page or a call says is its own matter. */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';

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
export function oneByOne(
  serve: (request: IncomingMessage, response: ServerResponse) => void,
): (request: IncomingMessage, response: ServerResponse) => void {
  /** What each connection is answered last. */
  const answers = new WeakMap<Socket, ServerResponse>();
  return (request, response) => {
    const { socket } = request;
    const before = answers.get(socket);
    if (response.socket !== null) {
      answers.set(socket, response);
      serve(request, response);
    } else if (before?.writableEnded === true && socket instanceof TLSSocket) {
      // TLS says a turn later that all is sent: the client may have the answer, and ask for more, before the server knows.
      answers.set(socket, response);
      before.once('finish', () => serve(request, response));
    } else {
      // The connection is still the other answer's.
      response.writeHead(503, { connection: 'close' }).end(BEHIND);
    }
  };
}

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
