/** Requests of one connection, one by one: who waits for the answer is served, who does not is not. */
import { once } from 'node:events';
import { createServer as createHttp, type RequestListener, type Server } from 'node:http';
import { createServer as createHttps } from 'node:https';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import { oneByOne } from '../../../src/grpc/http-listen.ts';
import { createSelfSigned } from '../../../src/grpc/self-signed.ts';

const GET = 'GET / HTTP/1.1\r\nhost: localhost\r\n\r\n';
const LAST = 'GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n';

let server: Server | undefined;
afterEach(() => {
  server?.closeAllConnections();
  server?.close();
});

/** A connection, and what is said on it until its end. */
async function open(isSecure: boolean, serve: RequestListener) {
  server = isSecure ? createHttps(createSelfSigned('localhost', Date.now()), serve) : createHttp(serve);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const socket: Socket = isSecure
    ? connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false })
    : connect(port, '127.0.0.1');
  await once(socket, isSecure ? 'secureConnect' : 'connect');
  let said = '';
  // A flood is cut: what was not read then is a reset.
  const closed = new Promise((resolve) => socket.on('error', () => undefined).on('close', resolve));
  socket.on('data', (part: Buffer) => {
    said += part.toString('latin1');
  });
  const statuses = async (): Promise<readonly string[] | null> => {
    await closed;
    return said.match(/(?<=HTTP\/1\.1 )\d+/g);
  };
  return { socket, statuses };
}

describe.each([
  ['without TLS', false],
  ['over TLS', true],
])('a connection %s', (_, isSecure) => {
  it('asks again as soon as the answer is written, also before the server hears that it is sent', async () => {
    const answered: string[] = [];
    const serve = oneByOne((_request, response) => {
      answered.push('');
      const rest = [GET, GET, LAST][answered.length - 1];
      setTimeout(() => {
        response.end('x');
        // As a client that was quick, before the next turn of the event loop.
        if (rest !== undefined) socket.write(rest);
      });
    });
    const { socket, statuses } = await open(isSecure, serve);
    socket.write(GET);
    expect(await statuses()).toEqual(['200', '200', '200', '200']);
  });

  it('with a thousand requests in one packet gets no thousand answers', async () => {
    let served = 0;
    const serve = oneByOne((_request, response) => {
      served += 1;
      response.end('x');
    });
    const { socket, statuses } = await open(isSecure, serve);
    socket.write(GET.repeat(1_000));
    await statuses();
    expect(served).toBeLessThanOrEqual(2);
  });

  it('that does not wait for an answer gets a 503 behind it', async () => {
    const serve = oneByOne((_request, response) => void setTimeout(() => response.end('x'), 20));
    const { socket, statuses } = await open(isSecure, serve);
    socket.write(GET + GET);
    expect(await statuses()).toEqual(['200', '503']);
  });
});
