/** The port of metrics and commands, asked by what should and by what should not command. */
import { request } from 'node:http';
import { Registry } from 'prom-client';
import { afterEach, describe, expect, it } from 'vitest';
import { type MetricsServer, startMetricsServer } from '../../src/telemetry/http-metrics-server.ts';

let server: MetricsServer | undefined;
afterEach(async () => {
  await server?.close();
  server = undefined;
});

const start = async (
  explain: (question: unknown) => { status: number; answer: unknown },
): Promise<number> => {
  const health = () => ({ status: 'ok' as const, pools: {} });
  const commands = { drain: () => ({ kind: 'unknown' as const }), explain, maxBodyBytes: 1_000 };
  server = await startMetricsServer({ host: '127.0.0.1', port: 0 }, new Registry(), health, commands);
  return server.port;
};

const post = (
  port: number,
  body: string,
  headers: Readonly<Record<string, string>> = { 'x-fairlane-command': 'on' },
): Promise<{ readonly status: number; readonly text: string }> =>
  new Promise((resolve, reject) => {
    const sent = request({ port, host: '127.0.0.1', path: '/explain', method: 'POST', headers }, (answer) => {
      let text = '';
      answer.setEncoding('utf8').on('data', (part: string) => {
        text += part;
      });
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, text }));
    });
    sent.on('error', reject);
    sent.end(body);
  });

describe('a question to the service', () => {
  it('that finds a bug is answered, and the service goes on', async () => {
    const port = await start(() => {
      throw new Error('a bug');
    });
    for (let i = 0; i < 2; i += 1) {
      expect(await post(port, '{}')).toMatchObject({ status: 500, text: expect.stringContaining('a bug') });
    }
  });

  it('that is too large or no JSON is refused', async () => {
    const port = await start(() => ({ status: 200, answer: {} }));
    expect((await post(port, 'x'.repeat(5_000_000))).status).toBe(413);
    expect((await post(port, 'x')).status).toBe(400);
    expect((await post(port, '{}')).status).toBe(200);
  });

  it('is not taken from a web page, or under a name that was bound to this address', async () => {
    let asked = 0;
    const port = await start(() => {
      asked += 1;
      return { status: 200, answer: {} };
    });
    expect((await post(port, '{}', {})).status).toBe(403);
    for (const host of [
      'evil.test',
      '127.0.0.1.evil.test',
      'localhost.evil.test:80',
      '127.0.0.1@evil.test',
    ]) {
      expect((await post(port, '{}', { host, 'x-fairlane-command': 'on' })).status).toBe(403);
    }
    expect(asked).toBe(0);
  });
});
