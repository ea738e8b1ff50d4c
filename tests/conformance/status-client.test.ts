/** What answers where a service should: none, one that hangs, another program, another version. */
import { createServer as createHttpServer, type RequestListener, type Server } from 'node:http';
import { type AddressInfo, createServer, type Server as NetServer } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { DEFAULT_STATUS_QUERY } from '../../src/admin/status.ts';
import { askStatus } from '../../src/cli/status-client.ts';
import { aStatus } from '../support/a-status.ts';
import { freePorts } from '../support/ports.ts';

let server: Server | NetServer | undefined;
afterEach(() => void server?.close());

const listening = (made: Server | NetServer): Promise<number> =>
  new Promise((resolve) => {
    server = made;
    made.listen(0, '127.0.0.1', () => resolve((made.address() as AddressInfo).port));
  });
const serving = (listener: RequestListener): Promise<number> => listening(createHttpServer(listener));
const ask = (port: number, timeoutMs?: number) =>
  askStatus({ host: '127.0.0.1', port }, DEFAULT_STATUS_QUERY, timeoutMs);
const answering =
  (status: number, body: string): RequestListener =>
  (_, response) =>
    void response.writeHead(status).end(body);

describe('a status that is asked for', () => {
  it('comes with what this version does not know', async () => {
    const document = { ...aStatus(), news: 1 };
    let asked = '';
    const port = await serving((request, response) => {
      asked = request.url ?? '';
      response.end(JSON.stringify(document));
    });
    const answer = await ask(port);
    expect(answer.document).toEqual(document);
    expect(answer.report.tenants.rows.map(({ name }) => name)).toEqual(['quiet', 'noisy']);
    expect(asked).toBe('/status?tenants=100&sort=waiting');
  });

  it.each([
    [200, JSON.stringify({ ...aStatus(), version: 2 }), 'has version 2 of the status, this command knows 1'],
    [200, '<html>', 'is no Fairlane: its status is not JSON'],
    [200, '', 'its status is not JSON'],
    [200, 'null', 'no status of Fairlane’s'],
    [200, '[]', 'no status of Fairlane’s'],
    [200, JSON.stringify({ ...aStatus(), pools: 'none' }), 'no status of Fairlane’s (pools: '],
    [404, 'Here are /metrics', 'an older Fairlane'],
    [403, JSON.stringify({ error: 'not here' }), 'answers with 403: not here'],
    [500, 'oops', 'answers with 500'],
    // It is not followed to somewhere else.
    [302, '', 'answers with 302'],
  ])('answered with %d %j is told of', async (status, body, said) => {
    const port = await serving(answering(status, body));
    await expect(ask(port)).rejects.toThrow(said);
  });

  it('of a port that fetch does not ask is told of in one line', async () => {
    await expect(ask(6_000)).rejects.toThrow(/is it running\? \(bad port\)$/);
  });

  it('where nobody listens is told of with the address', async () => {
    const [port = 0] = await freePorts(1);
    await expect(ask(port)).rejects.toThrow(
      `no service answers on 127.0.0.1:${port} (service.metrics): is it running? (ECONNREFUSED)`,
    );
  });

  it.each([
    ['says nothing', createServer(() => undefined)],
    [
      'stops in its answer',
      createHttpServer((_, response) => void response.writeHead(200).write('{"version":')),
    ],
  ])('where what listens %s is given up', async (_, made) => {
    const port = await listening(made.on('connection', (socket) => socket.unref()));
    await expect(ask(port, 200)).rejects.toThrow('does not answer within 0.2 s');
  });

  it('where what listens speaks another protocol is told of', async () => {
    const port = await listening(createServer((socket) => socket.end('SSH-2.0-OpenSSH\r\n')));
    await expect(ask(port)).rejects.toThrow('no service answers');
  });

  it('that does not end is cut', async () => {
    const part = 'x'.repeat(1024 * 1024);
    const port = await serving((_, response) => {
      const more = (): void => {
        while (!response.destroyed && response.write(part));
      };
      response.on('drain', more);
      more();
    });
    await expect(ask(port)).rejects.toThrow('answers with more than');
  });
});
