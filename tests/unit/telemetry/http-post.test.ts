/** Who is sent to by name: look-ups that hang, fail and come late. */
import dns, { type LookupAddress } from 'node:dns';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, it, vi } from 'vitest';
import { post } from '../../../src/telemetry/http-post.ts';

type Answer = (error: Error | null, addresses?: readonly LookupAddress[]) => void;

/** Look-ups that hold a thread. */
const asked: { readonly host: string; readonly answer: Answer }[] = [];
function holdLookUps(): void {
  asked.length = 0;
  vi.spyOn(dns, 'lookup').mockImplementation(((host: string, _options: object, answer: Answer) => {
    asked.push({ host, answer });
  }) as typeof dns.lookup);
}
afterEach(() => {
  vi.restoreAllMocks();
});

const send = (url: string, timeoutMs: number): Promise<unknown> =>
  post<unknown>(url, {
    headers: {},
    body: 'x',
    timeoutMs,
    signal: new AbortController().signal,
    answered: ({ statusCode }, done) => done(statusCode),
    unanswered: (why) => (typeof why === 'string' ? why : (why as NodeJS.ErrnoException).code),
  });

it('a name server that does not answer holds one thread for a name, however often it is tried', async () => {
  holdLookUps();
  for (let tries = 0; tries < 5; tries += 1) expect(await send('http://away.test/', 10)).toBe('late');
  expect(await send('https://away.test/', 10)).toBe('late');
  expect(await send('http://other.test/', 10)).toBe('late');
  expect(asked.map(({ host }) => host)).toEqual(['away.test', 'other.test']);
  for (const { answer } of asked) answer(null, [{ address: '127.0.0.1', family: 4 }]);
});

it('all who wait for a name get its address, and the next look-up is a new one', async () => {
  const server = createServer((_request, response) => void response.writeHead(204).end());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  // A server looks its own address up.
  holdLookUps();
  const url = `http://here.test:${(server.address() as AddressInfo).port}/`;
  for (const look of [0, 1]) {
    const sent = [send(url, 5_000), send(url, 5_000)];
    await expect.poll(() => asked.length).toBe(look + 1);
    asked[look]?.answer(null, [{ address: '127.0.0.1', family: 4 }]);
    expect(await Promise.all(sent)).toEqual([204, 204]);
  }
  const failed = [send(url, 5_000), send(url, 5_000)];
  await expect.poll(() => asked.length).toBe(3);
  asked[2]?.answer(Object.assign(new Error('no'), { code: 'ENOTFOUND' }));
  expect(await Promise.all(failed)).toEqual(['ENOTFOUND', 'ENOTFOUND']);
  server.closeAllConnections();
  server.close();
});
